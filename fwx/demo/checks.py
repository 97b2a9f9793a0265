"""The checks: what the firewall log, the alert and the collector have to say of the traffic."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from fwx.demo import DemoError
from fwx.demo.plan import DemoFilter
from fwx.demo.processes import LineSink, poll, read_all
from fwx.demo.traffic import PATTERN
from fwx.firewall_log import LogRow, read
from fwx.interfaces import SocketAddress

# The log's writer commits every quarter of a second.
_SECONDS = 10.0
_READ_SECONDS = 10.0

_SUMMARY = re.compile(
    r"^client \S+: (\d+) open, (\d+) ended, (\d+) bytes to servers, (\d+) bytes to clients$", re.MULTILINE
)


def connection_rows(database: Path, count: int, filters: Sequence[DemoFilter]) -> list[LogRow]:
    """Return the log's records of the *count* connections that came by the proxy port, oldest first.

    :raises DemoError: there are more or fewer, one did not end well, or one did not go through *filters* in order.
    """
    rows: list[LogRow] = []

    def complete() -> bool:
        rows[:] = read(database, where={"Interface": "proxy"})
        return len(rows) >= count

    poll(complete, _SECONDS)
    if len(rows) != count:
        raise DemoError(f"the log has {len(rows)} records of connections; {count} were made")
    names = ", ".join(one.name for one in filters)
    for row in rows:
        if row["resultcode"] or row["filters"] != names:
            raise DemoError(
                f"the log says of connection {row['connectionid']}: result {row['resultcode']:#x}, filters "
                f"{row['filters']!r}, {row['reason']!r}; expected result 0 and filters {names!r}"
            )
    return rows


def pattern_alerts(database: Path) -> list[LogRow]:
    """Return the alerts about the pattern.

    :raises DemoError: there is not exactly one.
    """
    alerts: list[LogRow] = []

    def complete() -> bool:
        alerts[:] = read(database, alerts=True, where={"filter": "data-monitor"})
        return bool(alerts)

    poll(complete, _SECONDS)
    if len(alerts) != 1 or PATTERN.decode() not in alerts[0]["message"]:
        raise DemoError(f"expected one alert about {PATTERN!r}; the log has {alerts}")
    return alerts


def collector_report(address: SocketAddress, sink: LineSink, rows: Sequence[LogRow]) -> tuple[str, int]:
    """Return the collector's report and the number of lines that its sessions sent to *sink*.

    :raises DemoError: one of them does not agree with the log's *rows*.
    """
    expected = (len(rows), sum(row["bytessent"] for row in rows), sum(row["bytesrecvd"] for row in rows))
    report = read_all(address, _READ_SECONDS)
    sums = [sum(column) for column in zip(*(map(int, found) for found in _SUMMARY.findall(report)), strict=True)]
    if sums != [0, *expected]:
        raise DemoError(f"the collector reports {report!r}; the log has {expected} connections, bytes sent, received")
    lines = [json.loads(line) for line in sink.wait(len(rows), _SECONDS)]
    told = (len(lines), sum(line["to_server"] for line in lines), sum(line["to_client"] for line in lines))
    if told != expected:
        raise DemoError(f"the collector's lines add up to {told}; the log has {expected}")
    return report, len(lines)
