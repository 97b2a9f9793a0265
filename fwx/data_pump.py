"""A data filter to start from: the pump that every filter of a byte stream needs."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXDataFilter, IFWXIOBuffer, IFWXIOCompletion, IFWXSocket

_TO_SERVER = "to server"
_TO_CLIENT = "to client"
_SENT = "sent "


@implementer(IFWXDataFilter, IFWXIOCompletion)
class DataPump(Unknown):
    """A data filter that passes everything on in both directions; override :meth:`inspect` to look at or change it.

    It is the pump of B3.29 and B3.30: one buffer at a time in each direction, the end of one direction shuts the other
    socket's sending side, both sockets are closed when both directions have ended or one has failed.
    """

    def __init__(self) -> None:
        self._internal: IFWXSocket | None = None
        self._external: IFWXSocket | None = None
        self._ended: set[str] = set()

    def inspect(self, to_server: bool, buffer: IFWXIOBuffer) -> IFWXIOBuffer | None:
        """Return what to pass on for *buffer*: itself, another buffer, or ``None`` to hold it back for now.

        Called for each received buffer; with a buffer of size 0 at the end of a direction, when what was held back may
        still be returned.
        """
        return buffer

    def ended(self) -> None:
        """The connection is gone; called once, from Detach."""

    def SetSockets(
        self,
        piInternalSocket: IFWXSocket,
        pIExternalSocket: IFWXSocket | None,
        piConnection: Any,
        punkFilterContext: Any,
    ) -> None:
        self._internal, self._external = piInternalSocket, pIExternalSocket
        if pIExternalSocket is not None:
            piInternalSocket.Recv(None, self, _TO_SERVER)
            pIExternalSocket.Recv(None, self, _TO_CLIENT)

    def Detach(self) -> None:
        self._internal = self._external = None
        self.ended()

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: IFWXIOBuffer | None,
        UserData: Any,
        ExternalAddress: Any,
        ExternalAddressLength: int,
    ) -> None:
        internal, external = self._internal, self._external
        if internal is None or external is None:
            return
        if not fSuccess:
            self._close(True)
            return
        if UserData.startswith(_SENT):
            direction = UserData[len(_SENT) :]
            if direction not in self._ended:
                (internal if direction == _TO_SERVER else external).Recv(None, self, direction)
            return
        assert pIOBuffer is not None
        self._received(pIOBuffer, UserData, internal, external)

    def _received(self, buffer: IFWXIOBuffer, direction: str, internal: IFWXSocket, external: IFWXSocket) -> None:
        source, sink = (internal, external) if direction == _TO_SERVER else (external, internal)
        at_end = not buffer.GetBufferSizes()[1]
        passed = self.inspect(direction == _TO_SERVER, buffer)
        if at_end:
            self._ended.add(direction)
            if passed is not None and passed.GetBufferSizes()[1]:
                sink.Send(passed, None, None)
            sink.Shutdown(False)
            if len(self._ended) == 2:
                self._close(False)
        elif passed is None:
            source.Recv(None, self, direction)
        else:
            sink.Send(passed, self, _SENT + direction)

    def _close(self, abortive: bool) -> None:
        """Close both sockets; completions that are under way find nothing left to do."""
        sockets = (self._internal, self._external)
        self._internal = self._external = None
        for socket in sockets:
            if socket is not None:
                socket.Close(abortive)
