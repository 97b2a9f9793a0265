"""The data filter of one destination of a UDP socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fwx import sdk
from fwx.filters.dns.guard import Guard, Rules

_TO_SERVER, _TO_CLIENT = "to server", "to client"


@sdk.implementer(sdk.IFWXDataFilter, sdk.IFWXIOCompletion)
class DnsDatagrams(sdk.Unknown):
    """Passes queries and responses on, one datagram at a time in each direction; drops or answers the others."""

    def __init__(self, firewall: sdk.IFWXFirewall, rules: Rules, report: Callable[[str], None]) -> None:
        """*report* is told in words what does not pass."""
        self._firewall: Any = firewall
        self._guard = Guard(rules, stream=False)
        self._report: Callable[[str], None] | None = report
        self._internal: Any = None
        self._external: Any = None

    def SetSockets(
        self,
        piInternalSocket: sdk.IFWXSocket,
        pIExternalSocket: sdk.IFWXSocket | None,
        piConnection: sdk.IFWXConnection,
        punkFilterContext: object,
    ) -> None:
        self._internal, self._external = piInternalSocket, pIExternalSocket
        if pIExternalSocket is not None:
            self._internal.Recv(None, self, _TO_SERVER)
            self._external.Recv(None, self, _TO_CLIENT)

    def Detach(self) -> None:
        self._internal = self._external = self._firewall = self._report = None

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: sdk.IFWXIOBuffer | None,
        UserData: Any,
        ExternalAddress: sdk.SocketAddress | None,
        ExternalAddressLength: int,
    ) -> None:
        """A datagram has come; or one has been sent, and *UserData* says which direction may go on."""
        source = self._internal if UserData == _TO_SERVER else self._external
        if source is None or not fSuccess:
            return
        if (
            ExternalAddress is not None
            and pIOBuffer is not None
            and self._pass_on(pIOBuffer, UserData, ExternalAddress)
        ):
            return
        source.Recv(None, self, UserData)

    def _pass_on(self, buffer: sdk.IFWXIOBuffer, direction: str, external: sdk.SocketAddress) -> bool:
        """Send what follows from a datagram; ``False`` when nothing does, and nothing will complete."""
        data = bytes(buffer.GetBufferAndSize())
        from_client = direction == _TO_SERVER
        verdict = self._guard.query(data) if from_client else self._guard.response(data)
        if verdict.passes:
            sink = self._external if from_client else self._internal
            sink.SendTo(buffer, external, None, self, direction)
            return True
        if self._report is not None:
            self._report(verdict.words)
        if not verdict.reply:
            return False
        # As if the server had said it.
        reply = self._firewall.CreateConstBuffer(verdict.reply)
        self._internal.SendTo(reply, external, None, self, direction)
        return True
