"""What the table of one service guards; made from the configuration, given to the helper on its command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

Range = tuple[int, int]

_LONGEST_NAME = 40
INTERFACE = re.compile(r"[A-Za-z0-9_.:@-]{1,14}(?:\*|[A-Za-z0-9_.:@-])?")
TABLE = re.compile(f"fwx_[a-z0-9_]{{1,{_LONGEST_NAME}}}")


class Plan(NamedTuple):
    """The ports that are closed unless something opens them.

    :ivar table: the name of the table, in the family ``inet``.
    :ivar tcp: ranges of TCP ports. :ivar udp: ranges of UDP ports.
    :ivar interfaces: names of the interfaces whose traffic is looked at, ``eth*`` for several; none for every one but
        loopback.
    :ivar redirected: ranges of TCP ports that are open to what another table redirects to them, and to nothing else.
    """

    table: str
    tcp: tuple[Range, ...]
    udp: tuple[Range, ...]
    interfaces: tuple[str, ...] = ()
    redirected: tuple[Range, ...] = ()

    def guards(self, protocol: str, port: int) -> bool:
        """Tell whether *port* of ``tcp`` or ``udp`` is closed to new traffic."""
        return any(first <= port <= last for first, last in (self.tcp if protocol == "tcp" else self.udp))


def table_name(service_name: str) -> str:
    """Return the table's name for a service: its name in the letters that a table may have."""
    letters = re.sub(r"[^a-z0-9]+", "_", service_name.lower()).strip("_")[:_LONGEST_NAME]
    return f"fwx_{letters or 'service'}"


def without(ranges: Iterable[Range], exceptions: Iterable[Range]) -> tuple[Range, ...]:
    """Return what is in *ranges* and in no exception, sorted, in ranges that do not touch."""
    left: list[Range] = []
    for first, last in sorted(ranges):
        if left and first <= left[-1][1] + 1:
            left[-1] = (left[-1][0], max(left[-1][1], last))
        else:
            left.append((first, last))
    for start, end in exceptions:
        left = [
            piece
            for first, last in left
            for piece in ((first, min(last, start - 1)), (max(first, end + 1), last))
            if piece[0] <= piece[1]
        ]
    return tuple(left)


def write_ranges(ranges: Iterable[Range]) -> str:
    return ",".join(f"{first}-{last}" for first, last in ranges)


def read_ranges(text: str) -> tuple[Range, ...]:
    """Read what :func:`write_ranges` wrote. :raises ValueError: it is nothing of the kind."""
    found: list[Range] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        pair = int(first), int(last)
        if not 1 <= pair[0] <= pair[1] <= 0xFFFF:
            raise ValueError(f"{part!r} is no range of ports")
        found.append(pair)
    return tuple(found)
