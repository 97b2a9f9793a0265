"""Signals: the lines by which the two sides of a primary connection agree on a secondary one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator

from fwx import sdk

Side = Literal["client", "server"]

_GROUPS = frozenset({"host", "port", "transport"})
_TRANSPORTS = {"tcp": sdk.FWX_PROTOCOL_TCP, "udp": sdk.FWX_PROTOCOL_UDP}
# What is none of these is refused: a line that no pattern fits would pass.
_WHERE = r"(?P<transport>\S+) (?:(?P<host>\S+) )?(?P<port>\S+)"


def _pattern(text: str) -> str:
    try:
        groups = set(re.compile(text.encode()).groupindex)
    except re.error as error:
        raise ValueError(f"expected a regular expression: {error}") from error
    if "port" not in groups:
        raise ValueError("expected a group for the port: (?P<port>...)")
    if groups - _GROUPS:
        raise ValueError(f"group {min(groups - _GROUPS)!r}: expected host, port and transport alone")
    return text


class Signal(sdk.FilterOptions):
    """One kind of line that says that a secondary connection is to come; docs/filters/connector.rst explains it."""

    line: Annotated[str, AfterValidator(_pattern)]
    said_by: Side = "client"
    opens: Literal["to-server", "to-client"] = "to-server"
    transport: Literal["tcp", "udp"] = "tcp"
    times: Literal["once", "many"] = "once"
    lapses: bool = True

    @property
    def flags(self) -> int:
        """Those of the call that announces it."""
        many = sdk.FWX_FLAG_ALLOW_MULTIPLE if self.times == "many" else 0
        return many | (sdk.FWX_FLAG_TIMEOUT if self.lapses else 0)


CONNECTOR = (
    Signal(line=f"CONNECT {_WHERE}"),
    Signal(line=f"LISTEN {_WHERE}", opens="to-client"),
    Signal(line=f"CONNECT {_WHERE}", said_by="server"),
)
"""The signals of the Connector protocol."""


class SignalError(ValueError):
    """A line is a signal, and what it names is no address."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secondary connection is to go, as a line says it.

    :ivar host: a literal address; ``None`` where it names none. :ivar protocol: ``FWX_PROTOCOL_TCP`` or
        ``FWX_PROTOCOL_UDP``.
    """

    signal: Signal
    host: str | None
    port: int
    protocol: int
    _found: re.Match[bytes] = field(repr=False, compare=False)

    def line_with(self, address: sdk.SocketAddress) -> bytes:
        """Return the line with *address* in the place of what it names."""
        line, found = bytearray(self._found.string), self._found
        texts = {"port": str(address.port).encode()}
        if self.host is not None:
            texts["host"] = _written_as(found["host"], address)
        spans = sorted(((*found.span(name), text) for name, text in texts.items()), reverse=True)
        for start, end, text in spans:
            line[start:end] = text
        return bytes(line)

    def __str__(self) -> str:
        transport = "tcp" if self.protocol == sdk.FWX_PROTOCOL_TCP else "udp"
        return f"{transport} port {self.port}" + ("" if self.host is None else f" of {self.host}")


class Signals:
    """Finds the signals of a configuration in the lines of both sides."""

    def __init__(self, signals: tuple[Signal, ...]) -> None:
        self._known = [(signal, re.compile(signal.line.encode())) for signal in signals]

    def read(self, side: Side, line: bytes) -> Place | None:
        """Return the place that a whole *line* of one side announces, ``None`` if it announces none.

        :raises SignalError: it is a signal, and names no port, or a host or transport that is none.
        """
        for signal, pattern in self._known:
            found = pattern.fullmatch(line) if signal.said_by == side else None
            if found is not None:
                return _place_of(signal, found)
        return None


def _place_of(signal: Signal, found: re.Match[bytes]) -> Place:
    named = {name: text.decode("latin-1") for name, text in found.groupdict().items() if text is not None}
    port = named.get("port", "")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise SignalError(f"{port[:20]!r} is no port")
    transport = named.get("transport", signal.transport).lower()
    if transport not in _TRANSPORTS:
        raise SignalError(f"{transport[:20]!r} is no transport, expected tcp or udp")
    host = named.get("host")
    return Place(signal, None if host is None else _host_of(host), int(port), _TRANSPORTS[transport], found)


def _host_of(text: str) -> str:
    """Return the literal address that a line names; a number is an IPv4 address, as DCC writes it."""
    try:
        if "%" in text:
            raise ValueError("a zone means nothing to others")
        return str(IPv4Address(int(text)) if _is_number(text.encode()) else ip_address(text))
    except ValueError as error:
        raise SignalError(f"{text[:60]!r} is no address") from error


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= 10


def _written_as(before: bytes, address: sdk.SocketAddress) -> bytes:
    if _is_number(before) and isinstance(address.address, IPv4Address):
        return str(int(address.address)).encode()
    return address.host.encode()
