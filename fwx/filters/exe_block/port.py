"""One data port that client and server have agreed on: what goes over it, and what has become of that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from fwx import sdk
from fwx.filters.ftp.command import VERBS, Command

LISTINGS = frozenset({"LIST", "NLST", "MLSD"})
UPLOADS = frozenset({"STOR", "STOU", "APPE"})
TRANSFERS = LISTINGS | UPLOADS | {"RETR"}
"""What has a data connection."""
ARRIVAL_SECONDS = 10.0
"""So long a reply that says that a transfer is complete waits for the data connection, which it may overtake."""
_LONGEST_NAME = 200


def may_transfer(verb: str) -> bool:
    """Tell whether the command may have a data connection: nobody knows what an unknown one does."""
    return verb in TRANSFERS or verb not in VERBS


def _normal(host: str) -> str:
    """Return the address *host* without a scope, an IPv4-mapped one as the IPv4 address that it is."""
    address = ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


class DataPort:
    """A data port, of the server or of the firewall, from when it is agreed on to the last connection to it.

    :ivar refusal: the reply in the place of the one that ends the transfer, empty for none.
    :ivar what: what is transferred, for the log.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        """*hosts* are addresses of the server that may be at the other end; none where that is not known."""
        self.refusal = ""
        self.what = "a transfer"
        self._hosts = frozenset(map(_normal, hosts))
        self._verbs: set[str] = set()
        self._unknown = 0
        self._undecided = 0
        self._has_come = False
        self._is_given_up = False
        # Set at every change, for the control connection alone.
        self._changed = asyncio.Event()

    def asks_for(self, command: Command) -> None:
        """The client asks for a transfer over it; called before the server hears of that."""
        self._verbs.add(command.verb)
        name = command.argument[:_LONGEST_NAME].decode("utf-8", "backslashreplace")
        self.what = f"{command.verb} {name}" if name else command.verb

    @property
    def may_download(self) -> bool:
        """Whether what the server sends may be a file: all that it was asked for counts, not the last command alone."""
        return not self._verbs or not self._verbs <= LISTINGS | UPLOADS

    def leads_here(self, connection: Any) -> bool:
        """Tell whether *connection*, to a port of the same number, is one to this port. In doubt it is."""
        record: Any = sdk.IRecorded
        if not self._hosts or record(connection).upstream:
            return True
        try:
            return _normal(connection.GetExternalPeerName().host) in self._hosts
        except sdk.COMError:
            return True

    # The stages of each data connection.

    def came(self) -> None:
        """A data connection is being made; :meth:`known` and :meth:`decided` follow."""
        self._unknown += 1
        self._undecided += 1
        self._has_come = True
        self._changed.set()

    def known(self) -> None:
        """What the server sends over that connection has begun, and with no program."""
        self._unknown -= 1
        self._changed.set()

    def decided(self) -> None:
        """It is known what becomes of all that the server sends over that connection."""
        self._undecided -= 1
        self._changed.set()

    # What the control connection waits for.

    @property
    def is_looked_at(self) -> bool:
        """Whether there is a connection of which it is not known yet what the server sends."""
        return self._unknown > 0

    @property
    def is_settled(self) -> bool:
        """Whether the client may hear how the transfer ended."""
        return self._is_given_up or (self._has_come and not self._undecided)

    async def recognise(self) -> None:
        """Wait as long as :attr:`is_looked_at`."""
        while self.is_looked_at:
            await self._change()

    async def settle(self) -> None:
        """Wait until :attr:`is_settled`."""
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                while not self._has_come:
                    await self._change()
        except TimeoutError:
            self._is_given_up = True
        while not self.is_settled:
            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
