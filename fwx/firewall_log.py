"""The firewall log: records and alerts in one SQLite database, written by a thread of its own; and its reader."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, Final

from fwx.firewall_log_schema import (
    ALERT_COLUMNS,
    BUSY_SECONDS,
    COLUMNS,
    FirewallLogError,
    RowMaker,
    insert,
    open_database,
    open_read_only,
    storable,
)
from fwx.impl.alert import Alert
from fwx.impl.logrecord import LogRecord

logger = logging.getLogger("fwx.firewall_log")

POLL_SECONDS: Final = 0.25
"""How often a reader that follows the log looks for new rows."""

_RETRY_SECONDS = 1.0
_CLOSING_RETRY_SECONDS = 0.05
_BATCH = 8192
_READ_ROWS = 1000

LogRow = dict[str, Any]
"""A row as :func:`read` yields it: column to ``str`` or ``int``, with the row's ``id``."""


class _Mark(threading.Event):
    """Stands in the queue for a caller of ``flush``; set once everything before it is committed."""


class FirewallLog:
    """The log of a running service.

    The service makes one, opens it before it drops root, hands it every record and alert, asks :attr:`accepting` before
    it accepts a connection (a firewall that cannot log takes no new ones, B9.18), and closes it last.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        clock: Callable[[], float] = time.time,
        flush_interval: float = 0.25,
        capacity: int = 65536,
        on_failure: Callable[[str], object] | None = None,
        on_recovery: Callable[[], object] | None = None,
    ) -> None:
        """Prepare a log; nothing is touched before :meth:`open`.

        :param path: the database file.
        :param clock: returns seconds since the epoch; used to say how long a failure lasted.
        :param flush_interval: seconds between two transactions, and so the most that a crash can lose.
        :param capacity: records that may wait before :attr:`accepting` turns false.
        :param on_failure: called with the reason when writing starts to fail, on the writer's thread.
        :param on_recovery: called when it works again, on the writer's thread.
        """
        self.path = Path(path).absolute()
        self._clock = clock
        self._flush_interval = flush_interval
        self._capacity = capacity
        self._on_failure = on_failure
        self._on_recovery = on_recovery
        self._queue: deque[LogRecord | Alert | _Mark] = deque()
        self._batch: list[LogRecord | Alert | _Mark] = []
        self._failed: str | None = None
        self._failed_since = 0.0
        self._due = threading.Condition()
        self._urgent = False
        self._deadline: float | None = None
        self._finished = False
        self._rows = RowMaker()
        self._identity = (0, 0)
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Open or create the database (mode 0600) and start the writer; called once, before root is dropped.

        A first transaction is written here, so that every file the database needs is open from now on.

        :raises FirewallLogError: the file cannot be opened or written, is no firewall log, or has another version.
        """
        if self._thread is not None:
            raise FirewallLogError(f"{self.path}: this log is open already")
        connection = open_database(self.path)
        self._identity = _identity(self.path)
        self._thread = threading.Thread(target=self._run, args=(connection,), name="fwx-firewall-log", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> str | None:
        """Why writing fails at the moment, or ``None``."""
        return self._failed

    @property
    def accepting(self) -> bool:
        """Whether new connections may be accepted: the log is open, does not fail, and its queue has room."""
        return (
            self._failed is None
            and self._thread is not None
            and self._deadline is None
            and len(self._queue) + len(self._batch) < self._capacity
        )

    def write(self, record: LogRecord) -> None:
        """Queue *record*; never blocks, from any thread.

        A record is taken whatever :attr:`accepting` says: the connections that live on still end, and those records
        must not be lost.
        """
        self._queue.append(record)
        if self._finished:
            self._refuse_late(record)

    def write_alert(self, alert: Alert) -> None:
        """Queue *alert*; a sink for :class:`fwx.impl.alert.Alerts`. Never blocks, from any thread."""
        self._queue.append(alert)
        if self._finished:
            self._refuse_late(alert)

    def flush(self, timeout: float) -> bool:
        """Wait until everything queued so far is committed; not for the event loop's thread.

        :param timeout: seconds.
        :returns: whether it is.
        """
        mark = _Mark()
        self._queue.append(mark)
        with self._due:
            self._urgent = True
            self._due.notify_all()
        return mark.wait(timeout)

    def close(self, timeout: float) -> int:
        """Write what is queued, merge the write-ahead log into the database, close it and end the writer's thread.

        A failing database is tried again until the time is up.

        :param timeout: seconds.
        :returns: the number of records and alerts that could not be written; it is also logged as an error.
        """
        with self._due:
            self._deadline = time.monotonic() + timeout
            self._due.notify_all()
        if self._thread is not None:
            self._thread.join(timeout + BUSY_SECONDS + 1.0)
        self._finished = True
        lost = sum(not isinstance(item, _Mark) for item in [*self._batch, *self._queue])
        if lost:
            why = self._failed or "the database did not answer in time"
            logger.error("%d record(s) of the firewall log %s are lost: %s", lost, self.path, why)
        self._queue.clear()
        self._batch = []
        return lost

    def _refuse_late(self, item: LogRecord | Alert) -> None:
        try:
            self._queue.remove(item)
        except ValueError:  # close() has seen it: written, or counted as lost
            return
        logger.error("the firewall log %s is closed, this is lost: %r", self.path, item)

    # The writer's thread.

    def _run(self, connection: sqlite3.Connection) -> None:
        stopping = False
        while not stopping:
            stopping = self._pause()
            self._drain(connection)
            if self._failed is not None:
                stopping = self._is_late()
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            logger.warning("%s: the write-ahead log stays beside the database: %s", self.path, error)
        finally:
            connection.close()

    def _pause(self) -> bool:
        """Wait until there is a reason to write; tell whether the log is being closed."""
        with self._due:
            if self._deadline is not None and self._failed is not None:
                self._due.wait(_CLOSING_RETRY_SECONDS)
            else:
                patience = self._flush_interval if self._failed is None else _RETRY_SECONDS
                self._due.wait_for(lambda: self._urgent or self._deadline is not None, patience)
            self._urgent = False
            return self._deadline is not None

    def _drain(self, connection: sqlite3.Connection) -> None:
        while self._batch or self._queue:
            self._take()
            try:
                self._check_file()
                self._commit(connection)
            except (sqlite3.Error, FirewallLogError) as error:
                self._fail(str(error))
                return
            except Exception as error:
                logger.exception("the writer of the firewall log %s failed", self.path)
                self._fail(repr(error))
                return
            self._committed()
            if self._is_late():
                return

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _take(self) -> None:
        """Fill the batch; it is kept until it is committed."""
        with contextlib.suppress(IndexError):
            while len(self._batch) < _BATCH:
                self._batch.append(self._queue.popleft())

    def _check_file(self) -> None:
        """SQLite goes on writing to a file that has lost its name, and nobody would ever see those records."""
        try:
            identity = _identity(self.path)
        except FileNotFoundError:
            raise FirewallLogError("the file was removed; put it back or restart the service") from None
        except PermissionError:  # root has been dropped and the folder is closed: nobody but root can have moved it
            return
        if identity != self._identity:
            raise FirewallLogError("the file was replaced; put the old one back or restart the service")

    def _commit(self, connection: sqlite3.Connection) -> None:
        records = [self._rows.record_row(item) for item in self._batch if isinstance(item, LogRecord)]
        alerts = [self._rows.alert_row(item) for item in self._batch if isinstance(item, Alert)]
        try:
            insert(connection, records, alerts)
        except (UnicodeEncodeError, OverflowError, sqlite3.ProgrammingError):
            insert(connection, [storable(row) for row in records], [storable(row) for row in alerts])

    def _committed(self) -> None:
        for item in self._batch:
            if isinstance(item, _Mark):
                item.set()
        self._batch = []
        if self._failed is None:
            return
        self._failed = None
        logger.warning("%s: writes again after %.1f s", self.path, self._clock() - self._failed_since)
        _report(self._on_recovery)

    def _fail(self, error: str) -> None:
        reason = f"{self.path}: {error}"
        first, self._failed = self._failed is None, reason
        if first:
            self._failed_since = self._clock()
            logger.error("the firewall log cannot be written, new connections are refused: %s", reason)
            if self._on_failure is not None:
                _report(self._on_failure, reason)


def read(
    path: Path | str,
    *,
    alerts: bool = False,
    limit: int | None = None,
    where: Mapping[str, str | int] | None = None,
    follow: bool = False,
    wait: Callable[[], object] = lambda: time.sleep(POLL_SECONDS),
) -> Generator[LogRow, None, None]:
    """Yield the rows of a log, oldest first, as mappings of column to value; the service may be writing meanwhile.

    :param path: the database file, opened for reading only.
    :param alerts: the ``alerts`` table in place of ``firewall_log``.
    :param limit: only the newest so many of those that are there.
    :param where: columns and the values that they must have.
    :param follow: go on with what is written later, for ever.
    :param wait: called between two looks when following.
    :raises FirewallLogError: at the first row: the file is missing, cannot be read, is no firewall log or of another
        version, or *where* names a column that does not exist.
    """
    query = _Query("alerts" if alerts else "firewall_log", dict(where or {}))
    path = Path(path)
    try:
        with contextlib.closing(open_read_only(path, follow=follow)) as connection:
            last = 0
            if limit is not None:
                last = query.last_id(connection)
                yield from query.newest(connection, limit, last)
            while follow or limit is None:
                rows, last = query.after(connection, last)
                yield from rows
                if rows:
                    continue
                if not follow:
                    return
                wait()
    except sqlite3.Error as error:
        raise FirewallLogError(f"{path}: {error}") from error


class _Query:
    """The statements that read one table."""

    def __init__(self, table: str, where: Mapping[str, str | int]) -> None:
        columns, self._time = (ALERT_COLUMNS, "time") if table == "alerts" else (COLUMNS, "GmtLogTime")
        unknown = [name for name in where if name not in columns]
        if unknown:
            raise FirewallLogError(f"{table} has no column {unknown[0]!r}; it has {', '.join(columns)}")
        self._values = tuple(where.values())
        condition = " AND ".join(["id > ? AND id <= ?", *(f'"{name}" = ?' for name in where)])
        self._select = f"SELECT * FROM {table} WHERE {condition} ORDER BY id"  # noqa: S608 - names, not values
        self._last = f"SELECT coalesce(max(id), 0) AS id FROM {table}"  # noqa: S608 - a name

    def last_id(self, connection: sqlite3.Connection) -> int:
        row: dict[str, int] = connection.execute(self._last).fetchone()
        return row["id"]

    def newest(self, connection: sqlite3.Connection, limit: int, last: int) -> list[LogRow]:
        rows = connection.execute(f"{self._select} DESC LIMIT ?", (0, last, *self._values, limit)).fetchall()
        return sorted(rows, key=lambda row: (row[self._time], row["id"]))

    def after(self, connection: sqlite3.Connection, last: int) -> tuple[list[LogRow], int]:
        """Return rows written after the row *last*, and the row that has been looked at last."""
        end = self.last_id(connection)
        rows = connection.execute(f"{self._select} LIMIT ?", (last, end, *self._values, _READ_ROWS)).fetchall()
        return rows, (rows[-1]["id"] if len(rows) == _READ_ROWS else end)


def _report(callback: Callable[..., object] | None, *arguments: str) -> None:
    if callback is None:
        return
    try:
        callback(*arguments)
    except Exception:
        logger.exception("%r failed", callback)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
