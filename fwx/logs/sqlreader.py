"""Reads the firewall log of a SQL database by its URL."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fwx.firewall_log_schema import FirewallLogError
from fwx.logs.sqldatabase import SqlDatabase

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

    from fwx.logs.reader import AnyOf, LogRow

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    ">=": operator.ge,
    "<": operator.lt,
    "~": lambda column, value: _lower(column) == value,
}


def _lower(column: Any) -> Any:
    from sqlalchemy import func

    return func.lower(column)


class SqlReader:
    """One table of the database; what :func:`fwx.logs.reader.read` asks."""

    def __init__(self, url: str, name: str, columns: Mapping[str, str], conditions: Sequence[AnyOf]) -> None:
        """Connect. :raises FirewallLogError: the database does not answer, or has no such table."""
        from sqlalchemy import inspect, or_, select

        self._database = SqlDatabase(url)
        self._connection: Connection | None = None
        try:
            self._connection = self._run(self._database.engine.connect)
            if not self._ask(lambda connection: inspect(connection).has_table(name)):
                raise FirewallLogError(f"{self._database.name}: it is a database, but not a firewall log")
        except FirewallLogError:
            self.close()
            raise
        table = self._table = self._database.table(name)
        self._select = select(table.c.id, *(table.c[column] for column in columns))
        for condition in conditions:
            tests = (_OPERATORS[comparison](table.c[column], value) for column, comparison, value in condition.tests)
            self._select = self._select.where(or_(*tests))

    def last_id(self) -> int:
        from sqlalchemy import func, select

        asked = select(func.coalesce(func.max(self._table.c.id), 0))
        last: int = self._ask(lambda connection: connection.scalar(asked))
        return last

    def is_another(self) -> bool:
        return False

    def rows(self, after: int, until: int, limit: int, *, newest: bool) -> list[LogRow]:
        """Return rows with *after* < id <= *until* that meet the conditions, the first or *newest* ones."""
        key = self._table.c.id
        asked: Select[Any] = self._select.where(key > after, key <= until).limit(limit)
        asked = asked.order_by(key.desc() if newest else key)
        found: list[LogRow] = self._ask(lambda connection: [dict(row) for row in connection.execute(asked).mappings()])
        return found

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._database.close()

    def _ask(self, ask: Callable[[Connection], Any]) -> Any:
        """Ask in a transaction of its own, which sees what has been written until now."""
        connection = self._connection
        assert connection is not None
        with self._database.errors(), connection.begin():
            return ask(connection)

    def _run(self, ask: Callable[[], Any]) -> Any:
        with self._database.errors():
            return ask()
