"""The firewall log in a SQL database elsewhere, such as PostgreSQL, which may be slow or away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwx.firewall_log_schema import ALERT_COLUMNS, WRITTEN, Row, storable
from fwx.logs.retention import Keep
from fwx.logs.sink import Batch, in_steps, made_plain, made_storable
from fwx.logs.sqldatabase import LONGEST_KEY, SqlDatabase

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

_ALERT_NAMES = tuple(ALERT_COLUMNS)
_PRUNED_ROWS = 1000
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


class SqlSink:
    """Writes batches to a database by its URL; a :class:`fwx.logs.sink.Sink`. It connects when it has to."""

    def __init__(self, url: str, writer: str, keep: Keep | None = None) -> None:
        """Nothing is connected to.

        :param writer: tells this service from others that log to the same database.
        :param keep: for how many days rows are kept; a database looks after its size itself.
        :raises FirewallLogError: as :class:`fwx.logs.sqldatabase.SqlDatabase`.
        """
        self._database = SqlDatabase(url)
        self.name = self._database.name
        self._writer = writer[-LONGEST_KEY:]
        self._keep = Keep() if keep is None else keep
        self._connection: Connection | None = None
        self._token = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """None."""
        return ()

    def open(self) -> None:
        """Do nothing: the database need not answer yet."""

    def commit(self, batch: Batch) -> None:
        """Write *batch* in one transaction, or nothing; a batch that is there already is passed over.

        :raises FirewallLogError: the database refuses, or does not answer.
        """
        try:
            with self._database.errors():
                connection = self._connected()
                if batch.token == self._token:
                    return
                self._write_somehow(connection, batch)
                self._token = batch.token
        except BaseException:
            self._disconnect()
            raise

    def prune(self, now: float | None) -> bool:
        """Delete some of what is too old; tell whether there may be more. :raises FirewallLogError: it cannot."""
        oldest = self._keep.oldest(now)
        if oldest is None or self._connection is None:
            return False
        from sqlalchemy import delete, select

        deleted = 0
        try:
            with self._database.errors(), self._connection.begin():
                for table, column in ((self._database.records, "GmtLogTime"), (self._database.alerts, "time")):
                    old = select(table.c.id).where(table.c[column] < oldest).order_by(table.c.id).limit(_PRUNED_ROWS)
                    numbers = list(self._connection.scalars(old))
                    if numbers:
                        self._connection.execute(delete(table).where(table.c.id.in_(numbers)))
                    deleted += len(numbers)
        except BaseException:
            self._disconnect()
            raise
        return deleted > 0

    def close(self) -> None:
        """Close the connection."""
        self._disconnect()
        self._database.close()

    def _connected(self) -> Connection:
        if self._connection is not None:
            return self._connection
        from sqlalchemy import select

        self._database.prepare()
        connection = self._connection = self._database.engine.connect()
        state = self._database.state
        with connection.begin():
            self._token = connection.scalar(select(state.c.token).where(state.c.writer == self._writer)) or ""
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # whatever state it is in
            connection.close()

    def _write_somehow(self, connection: Connection, batch: Batch) -> None:
        """Write *batch*; where a value of it does not fit, all of it made fit. No client stops the log by a name."""
        for fit in (made_storable, made_plain):
            try:
                self._write(connection, batch)
            except self._database.value_errors:
                batch = fit(batch)
            else:
                return
        self._write(connection, batch)

    def _write(self, connection: Connection, batch: Batch) -> None:
        with connection.begin():
            _insert(connection, self._database.records, WRITTEN, batch.records)
            _insert(connection, self._database.alerts, _ALERT_NAMES, batch.alerts)
            self._remember(connection, batch.token)

    def _remember(self, connection: Connection, token: str) -> None:
        from sqlalchemy import insert, update

        state = self._database.state
        changed = connection.execute(update(state).where(state.c.writer == self._writer).values(token=token))
        if not changed.rowcount:
            connection.execute(insert(state).values(writer=self._writer, token=token))


def _insert(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row]) -> None:
    if not rows:
        return
    if connection.dialect.driver == "psycopg":
        _copy(connection, table, names, rows)
        return
    from sqlalchemy import insert

    connection.execute(insert(table), [dict(zip(names, storable(row), strict=True)) for row in rows])


def _copy(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert by COPY of PostgreSQL, which takes several times as many rows; it has no NUL in a text."""
    columns = ", ".join(f'"{name}"' for name in names)
    cursor: Any = connection.connection.cursor()  # psycopg's own
    with cursor, cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy:
        for some in in_steps(rows):
            copy.write(_copied(some))


def _copied(rows: Sequence[Row]) -> str:
    """Return *rows* as COPY reads them. Most need no escapes; those are made several times as fast."""
    text = "\n".join(["\t".join(map(str, row)) for row in rows])
    ends = text.count("\t"), text.count("\n")
    expected = len(rows) * (len(rows[0]) - 1), len(rows) - 1
    if ends != expected or "\\" in text or not text.replace("\t", "").replace("\n", "").isprintable():
        text = "\n".join(["\t".join(map(_escaped, storable(row))) for row in rows])
    return text + "\n"


def _escaped(value: str | int) -> str:
    return str(value).replace("\0", "\\x00").translate(_ESCAPES)
