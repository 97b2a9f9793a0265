"""``fwx log``: the newest records or alerts of a firewall log, and what is written next."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwx.firewall_log import LogRow, read
from fwx.firewall_log_schema import FirewallLogError
from fwx.impl.alert import Severity
from fwx.logs.actions import action_name, result_name
from fwx.logs.filters import between, conditions, parse_time

_RECORD_FIELDS = (
    "time",
    "action",
    "result",
    "rule",
    "user",
    "source",
    "destination",
    "bytes",
    "ms",
    "filters",
    "reason",
)
_ALERT_FIELDS = ("time", "severity", "event", "source", "key", "count", "message")
_ALWAYS_BARE = {"time", "action", "severity", "event"}


@click.command("log", short_help="Show the firewall log.")
@click.option("--database", metavar="FILE|URL", help="The log's database: a SQLite file, or the URL of another one.")
@click.option("--config", type=click.Path(path_type=Path), help="The configuration whose log is shown.")
@click.option("--sql", is_flag=True, help="Read the database that log.sql of the configuration names, not SQLite.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is written next, until interrupted.")
@click.option(
    "--limit", "-n", type=click.IntRange(0, 1 << 32), default=50, show_default=True, help="Show the newest N."
)
@click.option("--alerts", is_flag=True, help="Show alerts in place of connections and denials.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, keyed by column.")
@click.option("--since", metavar="TIME", help="From this time on: 2026-01-02 03:04, or an age such as 15m, 2h, 3d.")
@click.option("--until", metavar="TIME", help="Before this time.")
@click.option("--user", "users", multiple=True, help="Of this user. This and what follows may be repeated.")
@click.option("--rule", "rules", multiple=True, help="That this rule decided.")
@click.option("--address", "addresses", multiple=True, help="From, to or by this address, or to this name.")
@click.option("--result", "results", multiple=True, help="With this result: a name, or a number such as 0xC004000D.")
@click.option("--action", "actions", multiple=True, help="With this action, such as Terminate or Denied.")
def log(
    database: str | None,
    config: Path | None,
    sql: bool,
    follow: bool,
    limit: int,
    alerts: bool,
    as_json: bool,
    since: str | None,
    until: str | None,
    **chosen: tuple[str, ...],
) -> None:
    """Show the newest records of the firewall log, oldest first.

    Without --database and --config it is the log of the embedded default configuration. Records are shown that meet
    each of the options given, in one of its values.
    """
    if database == "":
        raise click.UsageError("--database names nothing")
    if database is not None and (config is not None or sql):
        raise click.UsageError("give --database or --config, not both")
    if alerts and any(chosen.values()):
        raise click.UsageError("alerts can be chosen by --since and --until only")
    try:
        now = datetime.now(UTC)
        since, until = (None if text is None else parse_time(text, now) for text in (since, until))
        met = [*between("time" if alerts else "GmtLogTime", since, until), *conditions(**chosen)]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    source = database if database is not None else _configured(config, sql)
    rows = read(source, alerts=alerts, limit=limit, conditions=met, follow=follow)
    try:
        if as_json:
            _print_lines(rows, lambda row: json.dumps(row, ensure_ascii=True))
        elif sys.stdout.isatty() and not follow:
            Console().print(table(rows, alerts=alerts))
        else:
            _print_lines(rows, alert_line if alerts else record_line)
    except FirewallLogError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        return


def record_line(row: LogRow) -> str:
    """Return one line for a row of ``firewall_log``."""
    return _line(_record_cells(row))


def alert_line(row: LogRow) -> str:
    """Return one line for a row of ``alerts``; further lines, indented, hold the traceback."""
    traceback = [f"    {_printable(line)}" for line in row["traceback"].splitlines()]
    return "\n".join([_line(_alert_cells(row)), *traceback])


def table(rows: Iterable[LogRow], *, alerts: bool = False) -> Table:
    """Return *rows* as a table for a terminal."""
    result = Table(box=None, pad_edge=False, header_style="bold")
    for name in _ALERT_FIELDS if alerts else _RECORD_FIELDS:
        result.add_column(name, overflow="fold", justify="right" if name in ("bytes", "ms", "count") else "left")
    cells = _alert_cells if alerts else _record_cells
    for row in rows:
        result.add_row(*(Text(_printable(value)) for value in cells(row).values()))
    return result


def _configured(config: Path | None, sql: bool) -> Path | str:
    from fwx.config import ConfigurationError, load

    try:
        configuration = load(config)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    if not sql:
        return configuration.log_database
    if configuration.log.sql is None:
        raise click.ClickException("the configuration names no database in log.sql")
    return configuration.log.sql


def _print_lines(rows: Iterator[LogRow], line: Callable[[LogRow], str]) -> None:
    for row in rows:
        click.echo(line(row))


def _line(cells: dict[str, str]) -> str:
    bare = (value for name, value in cells.items() if name in _ALWAYS_BARE)
    named = (f"{name}={_quoted(value)}" for name, value in cells.items() if value and name not in _ALWAYS_BARE)
    return " ".join(itertools.chain(map(_printable, bare), named))


def _record_cells(row: LogRow) -> dict[str, str]:
    values = (
        row["logTime"].replace("T", " "),
        action_name(row["Action"]),
        result_name(row["resultcode"]),
        row["rule"],
        row["ClientUserName"],
        _end_point(row["SourceIP"], row["SourcePort"]),
        _destination(row),
        f"{row['bytessent']}/{row['bytesrecvd']}",
        str(row["connectiontime"]),
        row["filters"],
        row["reason"],
    )
    return dict(zip(_RECORD_FIELDS, values, strict=True))


def _alert_cells(row: LogRow) -> dict[str, str]:
    local = datetime.fromisoformat(row["time"]).astimezone().replace(tzinfo=None)
    values = (
        local.isoformat(" ", "milliseconds"),
        Severity(row["severity"]).name.lower(),
        row["event"],
        row["filter"],
        row["key"],
        str(row["count"]),
        row["message"],
    )
    return dict(zip(_ALERT_FIELDS, values, strict=True))


def _destination(row: LogRow) -> str:
    end_point = _end_point(row["DestinationIP"] or row["DestinationName"], row["DestinationPort"])
    return f"{end_point} ({row['DestinationName']})" if row["DestinationIP"] and row["DestinationName"] else end_point


def _end_point(host: str, port: int) -> str:
    if not host or not port:  # a look-up has no ports
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _quoted(value: str) -> str:
    text = _printable(value)
    if text == value and not any(character in text for character in ' "='):
        return text
    return '"' + text.replace('"', r"\"") + '"'


def _printable(text: str) -> str:
    """Escape what could forge a line or drive a terminal: names in the log come from the network."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        character if character.isprintable() and character != "\\" else character.encode("unicode_escape").decode()
        for character in text
    )
