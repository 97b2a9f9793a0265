"""The database of the firewall log: its tables, how rows are made and written, and how it is opened.

The columns of ``firewall_log`` carry the SQL names of the TMG firewall log and come in its order (B9.8); ``filters``
and ``reason`` are ours.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sqlite3
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from fwx.impl.alert import Alert
from fwx.impl.logrecord import LogRecord

SCHEMA_VERSION: Final = 2
"""What ``PRAGMA user_version`` holds in a database of this layout."""

COLUMNS: Final[Mapping[str, str]] = {
    "servername": "TEXT",
    "logTime": "TEXT",
    "protocol": "TEXT",
    "SourceIP": "TEXT",
    "SourcePort": "INTEGER",
    "DestinationIP": "TEXT",
    "DestinationPort": "INTEGER",
    "OriginalClientIP": "TEXT",
    "SourceNetwork": "TEXT",
    "DestinationNetwork": "TEXT",
    "Action": "INTEGER",
    "resultcode": "INTEGER",
    "rule": "TEXT",
    "ApplicationProtocol": "TEXT",
    "Bidirectional": "INTEGER",
    "bytessent": "INTEGER",
    "bytesrecvd": "INTEGER",
    "connectiontime": "INTEGER",
    "SourceProxy": "TEXT",
    "DestinationProxy": "TEXT",
    "DestinationName": "TEXT",
    "ClientUserName": "TEXT",
    "ClientAgent": "TEXT",
    "sessionid": "INTEGER",
    "connectionid": "INTEGER",
    "Interface": "TEXT",
    "GmtLogTime": "TEXT",
    "filters": "TEXT",
    "reason": "TEXT",
}
"""The columns of ``firewall_log`` after its ``id``. ``logTime`` is local time (B9.3), ``GmtLogTime`` UTC."""

ALERT_COLUMNS: Final[Mapping[str, str]] = {
    "time": "TEXT",
    "event": "TEXT",
    "severity": "INTEGER",
    "filter": "TEXT",
    "key": "TEXT",
    "message": "TEXT",
    "traceback": "TEXT",
    "count": "INTEGER",
}
"""The columns of ``alerts`` after its ``id``. ``time`` is UTC."""

BUSY_SECONDS: Final = 1.0
"""How long a statement of the writer waits for a lock of another process."""

_READ_BUSY_SECONDS = 5.0
# Rows per statement. Every step of a statement gives the interpreter lock away and a busy event loop is slow to hand it
# back, so few and large steps are what keeps the writer from falling behind.
_ROWS_PER_STATEMENT = (64, 8, 1)

Row = Sequence[str | int]
"""The values of one row, in the order of the columns."""


class FirewallLogError(Exception):
    """The database cannot be used; the text names the file and says what is wrong with it."""


class RowMaker:
    """Makes rows. The text of a time is made once per second, most records share it."""

    def __init__(self) -> None:
        self._second = -1
        self._local = ""
        self._gmt = ""

    def _stamp(self, when: float) -> tuple[str, str]:
        second, millisecond = divmod(int(when * 1000 + 0.5), 1000)
        if second != self._second:
            self._local = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(second))
            self._gmt = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._local}.{millisecond:03}", f"{self._gmt}.{millisecond:03}Z"

    def record_row(self, record: LogRecord) -> Row:
        local, gmt = self._stamp(record.time)
        return (
            record.servername,
            local,
            record.protocol,
            record.source_ip,
            record.source_port,
            record.destination_ip,
            record.destination_port,
            record.original_client_ip,
            record.source_network,
            record.destination_network,
            int(record.action),
            int(record.resultcode),
            record.rule,
            record.application_protocol,
            0,  # Bidirectional: not logged (field 13)
            record.bytes_sent,
            record.bytes_received,
            record.connection_time,
            record.source_proxy,
            record.destination_proxy,
            record.destination_name,
            record.username,
            record.agent,
            record.session_id,
            record.connection_id,
            record.interface,
            gmt,
            record.filters,
            record.reason,
        )

    def alert_row(self, alert: Alert) -> Row:
        gmt = self._stamp(alert.time)[1]
        severity, text = int(alert.severity), (alert.source, alert.key, alert.message, alert.traceback)
        return (gmt, alert.event, severity, *text, alert.count)


def storable(row: Row) -> Row:
    """Make every value fit for SQLite: 64 bits, no lone surrogates (names from the network have them), no objects."""
    return [
        max(-(2**63), min(value, 2**63 - 1))
        if isinstance(value, int)
        else str(value).encode("utf-8", "backslashreplace").decode()
        for value in row
    ]


def insert(connection: sqlite3.Connection, records: list[Row], alerts: list[Row]) -> None:
    """Write everything in one transaction, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        _insert_rows(connection, "firewall_log", COLUMNS, records)
        _insert_rows(connection, "alerts", ALERT_COLUMNS, alerts)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _insert_rows(connection: sqlite3.Connection, table: str, columns: Mapping[str, str], rows: list[Row]) -> None:
    names = ", ".join(f'"{name}"' for name in columns)
    marks = f"({', '.join('?' * len(columns))})"
    done = 0
    for size in _ROWS_PER_STATEMENT:
        statement = f"INSERT INTO {table} ({names}) VALUES {', '.join([marks] * size)}"  # noqa: S608 - names, not values
        while len(rows) - done >= size:
            connection.execute(statement, list(itertools.chain.from_iterable(rows[done : done + size])))
            done += size


def open_database(path: Path) -> sqlite3.Connection:
    """Open the database for the writer, with every file it needs; it may then be used by one other thread.

    :raises FirewallLogError: as :meth:`fwx.firewall_log.FirewallLog.open`.
    """
    connection: sqlite3.Connection | None = None
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if not path.is_file():
            raise FirewallLogError("it is not a regular file")
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        _prepare(connection)
    except (OSError, sqlite3.Error, FirewallLogError) as error:
        if connection is not None:
            connection.close()
        reason = error.strerror if isinstance(error, OSError) else error
        raise FirewallLogError(f"{path}: the firewall log cannot be opened: {reason}") from error
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    is_new = _version(connection) is None
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise FirewallLogError(f"this file system allows no write-ahead log (journal mode {mode!r})")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("BEGIN IMMEDIATE")
    if is_new:
        for table, columns in (("firewall_log", COLUMNS), ("alerts", ALERT_COLUMNS)):
            declared = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
            connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {declared})")
        connection.execute("CREATE INDEX firewall_log_time ON firewall_log (GmtLogTime)")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


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
    if not tables >= {"firewall_log", "alerts"}:
        raise FirewallLogError("it is a database, but not a firewall log")
    if version != SCHEMA_VERSION:
        raise FirewallLogError(f"its schema has version {version}, this program knows version {SCHEMA_VERSION}")
    return version
