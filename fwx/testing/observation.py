"""Watching a data filter: its sockets note every call, and what is wrong with it."""

# ruff: noqa: N802, N803, N806  the SDK's spelling, letter for letter

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from zope.interface import implementedBy, implementer

from fwx.impl.connection import FWXConnection
from fwx.impl.observedsocket import ObservedSocket
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    IFWXConnection,
    IFWXDataFilter,
    IFWXIOBuffer,
    IFWXIOCompletion,
    IFWXSlowDataFilter,
    IFWXSocket,
    SocketAddress,
)
from fwx.testing.buffers import PlainBuffer
from fwx.testing.verification import Breach, breaches


class Observer:
    """What the data filters of one firewall do with their sockets.

    :ivar calls: every call, such as ``external.Send(5)``, in order.
    :ivar faults: calls that the contract forbids.
    :ivar breaches: differences of the data filters and their completions from their interfaces.
    :ivar sides: of which sides sockets were handed out: one that emulates has no external one (B3.6).
    :ivar sockets: the sockets that were handed out, weakly; :attr:`connections`, the connections.
    :ivar keeps_data_filters: they outlive their connections, in :attr:`data_filters`.
    :ivar watches_buffers: what is received can be written to, and :attr:`changed` tells who did.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.faults: list[str] = []
        self.breaches: list[Breach] = []
        self.sides: set[str] = set()
        self.sockets: list[weakref.ref[ObservedSocket]] = []
        self.connections: list[weakref.ref[Any]] = []
        self.keeps_data_filters = False
        self.data_filters: list[Any] = []
        self.watches_buffers = False
        self._buffers: list[tuple[PlainBuffer, bytes]] = []
        self._verified: set[tuple[type, Any]] = set()

    def watch(self, registry: Any) -> None:
        """Have the data filters of the firewall of *registry* get observed sockets; called before it is frozen.

        The adapters are for the service's own class, which is more specific than the interface: they come first, and
        ask for the socket of the adapter that would have answered.
        """
        own_class: Any = implementedBy(FWXConnection)  # type: ignore[no-untyped-call]
        for side in ("internal", "external"):
            answers: Any = registry.adapters.lookup((IFWXConnection, IFWXDataFilter), IFWXSocket, side)
            factory = functools.partial(self._hand_out, answers, side)
            registry.register_adapter(factory, (own_class, IFWXDataFilter), IFWXSocket, side)

    def _hand_out(self, answers: Callable[..., Any], side: str, connection: Any, data_filter: Any) -> ObservedSocket:
        self._verify(data_filter, IFWXDataFilter)
        if IFWXSlowDataFilter.providedBy(data_filter):
            self._verify(data_filter, IFWXSlowDataFilter)
        if self.keeps_data_filters:
            self.data_filters.append(data_filter)
        self.sides.add(side)
        socket = ObservedSocket(self, answers(connection, data_filter), side)
        self.sockets.append(weakref.ref(socket))
        self.connections.append(weakref.ref(connection))
        return socket

    def called(self, side: str, words: str) -> None:
        self.calls.append(f"{side}.{words}")

    def fault(self, side: str, words: str) -> None:
        self.faults.append(f"{side}.{words}")

    def completion(self, completion: Any) -> Any:
        """Return what stands in for a filter's *completion* while buffers are watched, else itself."""
        if completion is None:
            return None
        self._verify(completion, IFWXIOCompletion)
        return _WatchingCompletion(self, completion) if self.watches_buffers else completion

    def keep_watch(self, data: bytes) -> PlainBuffer:
        """Return a buffer of *data* that can be written to, and remember what was in it."""
        buffer = PlainBuffer(len(data), data)
        self._buffers.append((buffer, data))
        return buffer

    @property
    def changed(self) -> list[bytes]:
        """What was received in the watched buffers that are not what they were."""
        return [
            data
            for buffer, data in self._buffers
            if bytes(buffer.block) != data or buffer.GetBufferSizes()[1] != len(data)
        ]

    def _verify(self, candidate: Any, interface: Any) -> None:
        key = (type(candidate), interface)
        if key not in self._verified:
            self._verified.add(key)
            self.breaches += breaches(candidate, interface)


@implementer(IFWXIOCompletion)
class _WatchingCompletion(Unknown):
    """Puts a watched buffer in the place of the one that was received."""

    def __init__(self, observer: Observer, completion: Any) -> None:
        self._observer = observer
        self._completion = completion

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: IFWXIOBuffer | None,
        UserData: object,
        ExternalAddress: SocketAddress | None,
        ExternalAddressLength: int,
    ) -> Any:
        if pIOBuffer is not None and not isinstance(pIOBuffer, PlainBuffer):
            pIOBuffer = self._observer.keep_watch(bytes(pIOBuffer.ReadAt(0, pIOBuffer.GetBufferSizes()[1])))
        complete = self._completion.CompleteAsyncIO
        return complete(fSuccess, Win32ErrorCode, pIOBuffer, UserData, ExternalAddress, ExternalAddressLength)
