"""Which of the inside servers take a client, by what is known of it, and in which order they are tried."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from fwx.filters.server_split.options import Server, SplitOptions

REST_SECONDS = 10.0
"""So long a server that did not answer is tried last."""


class Choice:
    """Chooses among the servers of a configuration. Of several that fit the first one of the table is tried first."""

    def __init__(self, options: SplitOptions, clock: Callable[[], float]) -> None:
        """*clock* gives seconds that only grow."""
        self._clock = clock
        self._servers = options.servers
        self._lines = {
            server.address: [re.compile(line.encode()) for line in server.lines] for server in options.servers
        }
        self._resting: dict[str, float] = {}
        self._turn = 0

    def by_host(self, name: str | None) -> list[str]:
        """Return the servers for the host *name*, or for who asks for none: those that have the most exact name."""
        for candidate in _candidates(name):
            found = [server for server in self._servers if candidate in server.hosts]
            if found:
                return self._in_order(found)
        return []

    def by_line(self, line: bytes) -> list[str]:
        """Return the servers that have a pattern for the whole of *line*."""
        fits = (server for server in self._servers if any(each.fullmatch(line) for each in self._lines[server.address]))
        return self._in_order(list(fits))

    def by_address(self, client: str) -> list[str]:
        """Return the servers for the address *client*."""
        address = ip_address(client)
        return self._in_order([server for server in self._servers if any(address in each for each in server.clients)])

    def in_turn(self) -> list[str]:
        """Return all servers, the next one in turn first."""
        turn, self._turn = self._turn, (self._turn + 1) % len(self._servers)
        return self._in_order([*self._servers[turn:], *self._servers[:turn]])

    def failed(self, address: str) -> None:
        """The server did not answer."""
        self._resting[address] = self._clock() + REST_SECONDS

    def answered(self, address: str) -> None:
        """The server is there."""
        self._resting.pop(address, None)

    def _in_order(self, servers: list[Server]) -> list[str]:
        now = self._clock()
        return sorted((server.address for server in servers), key=lambda each: self._resting.get(each, now) > now)


def _candidates(name: str | None) -> list[str]:
    """Return what may stand in ``hosts`` for *name*, the most exact first."""
    if name is None:
        return ["*"]
    labels = name.lower().removesuffix(".").split(".")
    return [".".join(labels), *("*." + ".".join(labels[place:]) for place in range(1, len(labels))), "*"]
