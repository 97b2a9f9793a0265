"""A message of DNS, read to its last byte; and what the filter makes of it from either side."""

from __future__ import annotations

from fwx.filters.dns.filter import DnsFilter, DnsOptions
from fwx.filters.dns.guard import Guard
from fwx.filters.dns.message import MessageError, parse


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does, or where the filter's own answer is no message or is longer."""
    guard = Guard(DnsFilter(DnsOptions())._rules, stream=True)
    verdict = guard.query(data)
    if verdict.reply:
        assert len(verdict.reply) <= len(data)
        assert parse(verdict.reply).is_response
    guard.response(data)
    fault = ""
    try:
        parse(data)
    except MessageError as error:
        fault = str(error)
    assert fault.isprintable()
    assert not (fault and verdict.passes)
