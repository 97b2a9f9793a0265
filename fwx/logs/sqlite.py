"""The firewall log in SQLite: the database of one service, which this sink alone writes."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fwx.firewall_log_schema import ALERT_COLUMNS, COLUMNS, WRITTEN, FirewallLogError, Row
from fwx.logs.retention import Keep
from fwx.logs.sink import Batch, made_storable

SCHEMA_VERSION: Final = 3
"""What ``PRAGMA user_version`` holds in a database of this layout."""

_OLDEST_VERSION = 2

BUSY_SECONDS: Final = 1.0
"""How long a statement of the writer waits for a lock of another process."""

_READ_BUSY_SECONDS = 5.0
# Rows per statement. Every step of a statement gives the interpreter lock away and a busy event loop is slow to hand it
# back, so few and large steps are what keeps the writer from falling behind.
_ROWS_PER_STATEMENT = (64, 8, 1)

# The low byte of an error code is its kind.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PRUNED_ROWS = 1000
_EXISTING_TABLES = {"firewall_log", "alerts"}


class SqliteSink:
    """Writes batches into a SQLite database; a :class:`fwx.logs.sink.Sink`."""

    def __init__(self, path: Path | str, keep: Keep | None = None) -> None:
        """Nothing is touched before :meth:`open`.

        :param keep: how long rows are kept, and how large the database may grow; ``None``: for ever.
        """
        self.path = Path(path).absolute()
        self.name = str(self.path)
        self._keep = Keep() if keep is None else keep
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._token = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The database, and what SQLite keeps beside it."""
        return (self.path, *(Path(f"{self.path}{suffix}") for suffix in ("-wal", "-shm")))

    def open(self) -> None:
        """Open or create the database (mode 0600), with every file it needs; one other thread may use it then.

        A database of the version before is brought to this one in place.

        :raises FirewallLogError: the file cannot be opened or written, is no firewall log, or has another version.
        """
        self._connection, self._token = open_database(self.path)
        self._identity = _identity(self.path)

    def commit(self, batch: Batch) -> None:
        """Write *batch* in one transaction, or nothing; a batch that is there already is passed over.

        :raises FirewallLogError: it is not written.
        """
        assert self._connection is not None
        self._check_file()
        if batch.token == self._token:
            return
        try:
            _insert(self._connection, batch)
        except sqlite3.Error as error:
            raise FirewallLogError(str(error)) from error
        self._token = batch.token

    def prune(self, now: float | None) -> bool:
        """Delete some of what is older, or more, than is to be kept; tell whether there may be more to delete.

        :raises sqlite3.Error: the database does not answer.
        """
        connection = self._connection
        assert connection is not None
        deleted = 0
        if (oldest := self._keep.oldest(now)) is not None:
            for table, column in (("firewall_log", "GmtLogTime"), ("alerts", "time")):
                deleted += connection.execute(
                    f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {column} < ? LIMIT ?)",  # noqa: S608
                    (oldest, _PRUNED_ROWS),
                ).rowcount
        if self._keep.bytes is not None and _used(connection) > self._keep.bytes:
            deleted += connection.execute(
                "DELETE FROM firewall_log WHERE id IN (SELECT id FROM firewall_log ORDER BY id LIMIT ?)",
                (_PRUNED_ROWS,),
            ).rowcount
        return deleted > 0

    def close(self) -> None:
        """Merge the write-ahead log into the database and close it.

        :raises FirewallLogError: the write-ahead log stays beside it.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise FirewallLogError(f"the write-ahead log stays beside the database: {error}") from error
        finally:
            connection.close()

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


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _used(connection: sqlite3.Connection) -> int:
    """Return the bytes of the pages that hold something; free ones are used again before the file grows."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    used: int = (pages - free) * size
    return used


def _insert(connection: sqlite3.Connection, batch: Batch) -> None:
    """Insert *batch*; where a value of it does not fit, all of it made fit."""
    try:
        insert(connection, batch.records, batch.alerts, batch.token)
    except (UnicodeEncodeError, OverflowError, sqlite3.ProgrammingError):
        fit = made_storable(batch)
        insert(connection, fit.records, fit.alerts, batch.token)


def insert(connection: sqlite3.Connection, records: list[Row], alerts: list[Row], token: str = "") -> None:
    """Write everything in one transaction, or nothing; *token* is the batch's."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        _insert_rows(connection, "firewall_log", WRITTEN, records)
        _insert_rows(connection, "alerts", tuple(ALERT_COLUMNS), alerts)
        connection.execute("INSERT OR REPLACE INTO log_state (id, token) VALUES (1, ?)", (token,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _insert_rows(connection: sqlite3.Connection, table: str, columns: Sequence[str], rows: list[Row]) -> None:
    names = ", ".join(f'"{name}"' for name in columns)
    marks = f"({', '.join('?' * len(columns))})"
    done = 0
    for size in _ROWS_PER_STATEMENT:
        statement = f"INSERT INTO {table} ({names}) VALUES {', '.join([marks] * size)}"  # noqa: S608 - names, not values
        while len(rows) - done >= size:
            connection.execute(statement, list(itertools.chain.from_iterable(rows[done : done + size])))
            done += size


def open_database(path: Path) -> tuple[sqlite3.Connection, str]:
    """Open the database for the writer, with every file it needs; it may then be used by one other thread.

    Return it, with the token of the last batch in it. One that is damaged is left as it is.

    :raises FirewallLogError: as :meth:`fwx.firewall_log.FirewallLog.open`.
    """
    connection: sqlite3.Connection | None = None
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if not path.is_file():
            raise FirewallLogError("it is not a regular file")
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        token = _prepare(connection)
    except (OSError, sqlite3.Error, FirewallLogError) as error:
        if connection is not None:
            connection.close()
        reason = error.strerror if isinstance(error, OSError) else error
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            reason = f"{reason}; it is left as it is: mend it, or move it away, and the service makes another"
        raise FirewallLogError(f"{path}: the firewall log cannot be opened: {reason}") from error
    return connection, token


def _prepare(connection: sqlite3.Connection) -> str:
    """Make what is not there, in one transaction; return the token of the last batch."""
    version = _version(connection)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise FirewallLogError(f"this file system allows no write-ahead log (journal mode {mode!r})")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("BEGIN IMMEDIATE")
    if version is None:
        for table, columns in (("firewall_log", COLUMNS), ("alerts", ALERT_COLUMNS)):
            declared = ", ".join(_declared(*column) for column in columns.items())
            connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {declared})")
        connection.execute("CREATE INDEX firewall_log_time ON firewall_log (GmtLogTime)")
    else:
        there = {row[1] for row in connection.execute("PRAGMA table_info(firewall_log)")}
        for column in COLUMNS.items():
            if column[0] not in there:
                connection.execute(f"ALTER TABLE firewall_log ADD COLUMN {_declared(*column)}")
    connection.execute("CREATE TABLE IF NOT EXISTS log_state (id INTEGER PRIMARY KEY, token TEXT)")
    row = connection.execute("SELECT token FROM log_state").fetchone()
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
    return "" if row is None else row[0]


def _declared(name: str, kind: str) -> str:
    default = "0" if kind == "INTEGER" else "''"
    return f'"{name}" {kind} DEFAULT {default}'


def open_read_only(path: Path, *, follow: bool = False) -> sqlite3.Connection:
    """Open the database for a reader; its rows come as mappings. A service may be writing to it.

    Where none writes (there is no write-ahead log) and the reader does not *follow*, no file is made beside it.

    :raises FirewallLogError: as :func:`fwx.firewall_log.read`.
    """
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        raise FirewallLogError(f"{path}: there is no such file; the service creates its log when it starts") from None
    except OSError as error:
        raise FirewallLogError(f"{path}: the firewall log cannot be read: {error.strerror}") from error
    if not is_regular:
        raise FirewallLogError(f"{path}: the firewall log cannot be read: it is not a regular file")
    if not os.access(path, os.R_OK):
        raise FirewallLogError(f"{path}: the firewall log cannot be read: {os.strerror(errno.EACCES)}")
    mode = "mode=ro" if follow or Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=_READ_BUSY_SECONDS)
    try:
        if _version(connection) is None:
            raise FirewallLogError("it is empty, not a firewall log")
    except (sqlite3.Error, FirewallLogError) as error:
        connection.close()
        raise FirewallLogError(f"{path}: the firewall log cannot be read: {error}") from error
    connection.row_factory = _as_mapping
    return connection


def _as_mapping(cursor: sqlite3.Cursor, row: tuple[str | int, ...]) -> dict[str, str | int]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


def _version(connection: sqlite3.Connection) -> int | None:
    """Return the schema's version, ``None`` for an empty database.

    :raises FirewallLogError: it is no firewall log, or of a version that is not ours.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if not tables and version == 0:
        return None
    if not tables >= _EXISTING_TABLES:
        raise FirewallLogError("it is a database, but not a firewall log")
    if not _OLDEST_VERSION <= version <= SCHEMA_VERSION:
        known = f"versions {_OLDEST_VERSION} to {SCHEMA_VERSION}"
        raise FirewallLogError(f"its schema has version {version}, this program knows {known}")
    return version
