"""``fwx log``: the newest records or alerts of a firewall log, and what is written next."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwx.firewall_log import LogRow, read
from fwx.firewall_log_schema import FirewallLogError
from fwx.impl.alert import Severity
from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FAILED, HRESULT, HRESULT_FROM_WIN32

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
@click.option("--database", type=click.Path(path_type=Path), help="The log's database file.")
@click.option("--config", type=click.Path(path_type=Path), help="The configuration whose log is shown.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is written next, until interrupted.")
@click.option("--limit", "-n", type=click.IntRange(min=0), default=50, show_default=True, help="Show the newest N.")
@click.option("--alerts", is_flag=True, help="Show alerts in place of connections and denials.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, keyed by column.")
def log(database: Path | None, config: Path | None, follow: bool, limit: int, alerts: bool, as_json: bool) -> None:
    """Show the newest records of the firewall log, oldest first.

    Without --database and --config it is the log of the embedded default configuration.
    """
    if database is not None and config is not None:
        raise click.UsageError("give --database or --config, not both")
    path = database if database is not None else _configured(config)
    rows = read(path, alerts=alerts, limit=limit, follow=follow)
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


def _configured(config: Path | None) -> Path:
    from fwx.config import ConfigurationError, load

    try:
        return load(config).log_database
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error


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
        _action(row["Action"]),
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


def result_name(code: int) -> str:
    """Return the name of a result code, a Windows error number or an HRESULT; empty for success."""
    if code == 0:
        return ""
    name = (HRESULT(code) if FAILED(code) else HRESULT_FROM_WIN32(code)).name
    return name.removeprefix("HRESULT_FROM_WIN32(").removesuffix(")") if name.startswith("HRESULT") else name


def _action(number: int) -> str:
    try:
        return Action(number).name
    except ValueError:
        return f"Action({number})"


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
