"""Reads the firewall log: the rows of a SQLite database, or of another one by its URL, filtered, and what follows."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from fwx.firewall_log_schema import ALERT_COLUMNS, COLUMNS, FirewallLogError
from fwx.logs.sqlite import open_read_only
from fwx.logs.sqlreader import SqlReader

POLL_SECONDS: Final = 0.25
"""How often a reader that follows the log looks for new rows."""

_READ_ROWS = 1000

LogRow = dict[str, Any]
"""A row as :func:`read` yields it: column to ``str`` or ``int``, with the row's ``id``."""

Operator = Literal["=", ">=", "<", "~"]
"""How a column is compared; ``~`` is equality but for the case of ASCII letters, with a value in lower case."""


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A condition on rows: at least one of *tests*, each a column, how it is compared and with what, holds."""

    tests: tuple[tuple[str, Operator, str | int], ...]


def equals(column: str, *values: str | int) -> AnyOf:
    """Return the condition that *column* has one of *values*."""
    return AnyOf(tuple((column, "=", value) for value in values))


class _Table(Protocol):
    """One table of an open database. Errors of the database come as :class:`FirewallLogError`."""

    def last_id(self) -> int: ...

    def is_another(self) -> bool:
        """Look, when following: tell whether all is another table now, which begins anew."""

    def rows(self, after: int, until: int, limit: int, *, newest: bool) -> list[LogRow]:
        """Return rows with *after* < id <= *until* that meet the conditions, the first or *newest* ones."""

    def close(self) -> None: ...


def read(
    source: Path | str,
    *,
    alerts: bool = False,
    limit: int | None = None,
    where: Mapping[str, str | int] | None = None,
    conditions: Iterable[AnyOf] = (),
    follow: bool = False,
    wait: Callable[[], object] = lambda: time.sleep(POLL_SECONDS),
) -> Generator[LogRow, None, None]:
    """Yield the rows of a log, oldest first, as mappings of column to value; the service may be writing meanwhile.

    :param source: the SQLite file, opened for reading only, or the URL of another database.
    :param alerts: the ``alerts`` table in place of ``firewall_log``.
    :param limit: only the newest so many of those that are there.
    :param where: columns and the values that they must have; *conditions*: what else must hold.
    :param follow: go on with what is written later, for ever.
    :param wait: called between two looks when following.
    :raises FirewallLogError: at the first row: the file is missing, the database cannot be read, is no firewall log or
        of another version, or a condition names a column that does not exist.
    """
    name, columns, by_time = ("alerts", ALERT_COLUMNS, "time") if alerts else ("firewall_log", COLUMNS, "GmtLogTime")
    met = [*conditions, *(equals(column, value) for column, value in (where or {}).items())]
    for column in (test[0] for condition in met for test in condition.tests):
        if column not in columns:
            raise FirewallLogError(f"{name} has no column {column!r}; it has {', '.join(columns)}")
    with contextlib.closing(_open(source, name, columns, met, follow)) as table:
        last = 0
        if limit is not None:
            last = table.last_id()
            rows = table.rows(0, last, limit, newest=True)
            yield from sorted(rows, key=lambda row: (row[by_time], row["id"]))
        while follow or limit is None:
            end = table.last_id()
            # Where all that was there has been deleted for its age, SQLite counts from 1 again.
            if follow and (end < last or table.is_another()):
                last, end = 0, table.last_id()
            rows = table.rows(last, end, _READ_ROWS, newest=False)
            last = rows[-1]["id"] if len(rows) == _READ_ROWS else max(end, last)
            yield from rows
            if rows:
                continue
            if not follow:
                return
            wait()


def _open(
    source: Path | str, name: str, columns: Mapping[str, str], conditions: Sequence[AnyOf], follow: bool
) -> _Table:
    if isinstance(source, str) and "://" in source:
        return SqlReader(source, name, columns, conditions)
    return _SqliteTable(Path(source), name, columns, conditions, follow)


class _SqliteTable:
    """A :class:`_Table` of a SQLite file."""

    def __init__(
        self, path: Path, name: str, columns: Mapping[str, str], conditions: Sequence[AnyOf], follow: bool
    ) -> None:
        self._path, self._name, self._columns = path, name, columns
        tests = [" OR ".join(_test(column, operator) for column, operator, _ in each.tests) for each in conditions]
        self._values = [value for each in conditions for _, _, value in each.tests]
        self._condition = " AND ".join(["id > ? AND id <= ?", *(f"({test})" for test in tests)])
        self._last = f"SELECT coalesce(max(id), 0) AS id FROM {name}"  # noqa: S608 - a name
        self._identity = _identity(path)
        self._use(open_read_only(path, follow=follow))

    def _use(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        known = {row["name"] for row in self._run("SELECT name FROM pragma_table_info(?)", (self._name,))}
        # A database of the version before has fewer columns, until a service writes to it.
        selected = ", ".join(
            [
                "id",
                *(
                    f'"{column}"' if column in known else f'{_default(kind)} AS "{column}"'
                    for column, kind in self._columns.items()
                ),
            ]
        )
        # Names, not values.
        self._select = f"SELECT {selected} FROM {self._name} WHERE {self._condition} ORDER BY id"  # noqa: S608

    def is_another(self) -> bool:
        """The file was moved away, and the service has made another; until then the old one is looked at."""
        identity = _identity(self._path)
        if identity in (None, self._identity):
            return False
        try:
            connection = open_read_only(self._path, follow=True)
        except FirewallLogError:  # it is being made
            return False
        self._connection.close()
        self._identity = identity
        self._use(connection)
        return True

    def last_id(self) -> int:
        last: int = self._run(self._last, ())[0]["id"]
        return last

    def rows(self, after: int, until: int, limit: int, *, newest: bool) -> list[LogRow]:
        order = " DESC" if newest else ""
        return self._run(f"{self._select}{order} LIMIT ?", (after, until, *self._values, limit))

    def close(self) -> None:
        self._connection.close()

    def _run(self, statement: str, values: Sequence[str | int]) -> list[LogRow]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise FirewallLogError(f"{self._path}: {error}") from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _test(column: str, operator: Operator) -> str:
    return f'lower("{column}") = ?' if operator == "~" else f'"{column}" {operator} ?'


def _default(kind: str) -> str:
    return "0" if kind == "INTEGER" else "''"
