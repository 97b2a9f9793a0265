"""A SQL database of the firewall log, by its URL: its tables, and how its errors are told. Needs SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from fwx.firewall_log_schema import ALERT_COLUMNS, COLUMNS, FirewallLogError

if TYPE_CHECKING:
    from sqlalchemy import Column, Engine, MetaData, Table

CONNECT_SECONDS: Final = 5
"""How long PostgreSQL may take to let somebody in."""

STATEMENT_SECONDS: Final = 30
"""How long one statement may take in PostgreSQL (B9.19)."""

LONGEST_KEY: Final = 250


class SqlDatabase:
    """The tables ``firewall_log`` and ``alerts`` of a database, with the columns of SQLite's, and ``log_state``."""

    def __init__(self, url: str) -> None:
        """Nothing is connected to.

        :param url: an SQLAlchemy URL, such as ``postgresql+psycopg://fwx@/fwx``.
        :raises FirewallLogError: SQLAlchemy or the database's driver is not installed, or the URL is none.
        """
        try:
            import sqlalchemy
        except ImportError:
            raise FirewallLogError("a SQL database needs SQLAlchemy: install fwx[sql]") from None
        try:
            parsed = sqlalchemy.make_url(url)
            self.name = parsed.render_as_string(hide_password=True)
            self.engine: Engine = sqlalchemy.create_engine(parsed, pool_size=1, connect_args=_arguments(parsed))
        except sqlalchemy.exc.ArgumentError as error:
            raise FirewallLogError(f"SQLAlchemy does not know this URL: {error}") from None
        except ImportError as error:
            raise FirewallLogError(f"{self.name}: the database's driver is not installed: {error.name}") from None
        except TypeError:  # SQLite has another pool
            self.engine = sqlalchemy.create_engine(parsed)
        self.metadata: MetaData = sqlalchemy.MetaData()
        self.records = self._table("firewall_log", COLUMNS)
        sqlalchemy.Index("firewall_log_time", self.records.c.GmtLogTime)
        self.alerts = self._table("alerts", ALERT_COLUMNS)
        self.state = sqlalchemy.Table(
            "log_state",
            self.metadata,
            sqlalchemy.Column("writer", sqlalchemy.String(LONGEST_KEY), primary_key=True),
            sqlalchemy.Column("token", sqlalchemy.String(64), nullable=False),
        )

    @property
    def value_errors(self) -> tuple[type[Exception], ...]:
        """What is raised for a value that the database has no room for, or that its encoding has not."""
        import sqlalchemy

        return (sqlalchemy.exc.DataError, self._driver.DataError, UnicodeEncodeError)

    @property
    def _driver(self) -> Any:
        return self.engine.dialect.loaded_dbapi

    def table(self, name: str) -> Table:
        return self.metadata.tables[name]

    def prepare(self) -> None:
        """Make the tables that are not there, and add the columns that a table of an earlier version lacks.

        :raises FirewallLogError: the database refuses, or does not answer.
        """
        import sqlalchemy
        from sqlalchemy.schema import CreateColumn

        with self.errors():
            self.metadata.create_all(self.engine)
            with self.engine.begin() as connection:
                inspector = sqlalchemy.inspect(connection)
                for table in (self.records, self.alerts):
                    there = {column["name"] for column in inspector.get_columns(table.name)}
                    for column in table.columns:
                        if column.name not in there:
                            declared = CreateColumn(column).compile(dialect=self.engine.dialect)
                            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {declared}")

    def ask(self) -> None:
        """Connect and go. :raises FirewallLogError: the database does not answer, or lets this user not in."""
        with self.errors(), self.engine.connect():
            pass

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the database says into a :class:`FirewallLogError` that names it, without statement or password."""
        import sqlalchemy

        try:
            yield
        except (sqlalchemy.exc.SQLAlchemyError, self._driver.Error) as error:
            cause: BaseException = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig else error
            words = " ".join(str(cause).split()) or type(cause).__name__
            raise FirewallLogError(f"{self.name}: {words}") from error

    def close(self) -> None:
        self.engine.dispose()

    def _table(self, name: str, columns: Mapping[str, str]) -> Table:
        import sqlalchemy

        key = sqlalchemy.BigInteger().with_variant(sqlalchemy.Integer, "sqlite")
        return sqlalchemy.Table(
            name,
            self.metadata,
            sqlalchemy.Column("id", key, primary_key=True),
            *(_column(*column) for column in columns.items()),
        )


def _column(name: str, kind: str) -> Column[Any]:
    import sqlalchemy

    if kind == "INTEGER":
        return sqlalchemy.Column(name, sqlalchemy.BigInteger, server_default="0")
    # What is indexed has a bound; some databases ask for one.
    text = sqlalchemy.String(32) if name in ("GmtLogTime", "logTime", "time") else sqlalchemy.Text()
    return sqlalchemy.Column(name, text, server_default="")


def _arguments(url: Any) -> dict[str, Any]:
    """Return what has a connection to PostgreSQL take any text, and not wait for ever; the URL has the last word."""
    if url.get_backend_name() != "postgresql" or url.get_driver_name() not in ("psycopg", "psycopg2"):
        return {}
    bounds = {
        "client_encoding": "utf8",  # else that of the database, which may have no encoding at all
        "connect_timeout": CONNECT_SECONDS,
        "tcp_user_timeout": STATEMENT_SECONDS * 1000,
        "application_name": "fwx",
        "options": f"-c statement_timeout={STATEMENT_SECONDS * 1000}",
    }
    return {name: value for name, value in bounds.items() if name not in url.query}
