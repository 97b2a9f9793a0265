"""The parts that a filter plays in the tests: completion objects, buffers, filters, data filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from zope.interface import implementer

from fwx.data_pump import DataPump
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FwxFilterHookEvents,
    IFWXAcceptCompletion,
    IFWXDataFilter,
    IFWXFilter,
    IFWXIOBuffer,
    IFWXIOCompletion,
    IFWXSessionFilter,
    SocketAddress,
    fwx_Connect_Tcp,
)


class Done(NamedTuple):
    """One completion as it arrived."""

    success: bool
    code: int
    buffer: Any
    tag: object

    @property
    def data(self) -> bytes:
        return bytes(self.buffer.GetBufferAndSize())


@implementer(IFWXIOCompletion)
class Recorder(Unknown):
    """A completion object that remembers; *then* is called with each completion and may raise or return."""

    def __init__(self, then: Callable[[Done], object] | None = None) -> None:
        self.calls: list[Done] = []
        self.then = then

    def CompleteAsyncIO(self, fSuccess, Win32ErrorCode, pIOBuffer, UserData, Address, Length):  # type: ignore[no-untyped-def]
        assert (Address, Length) == (None, 0), "B3.21: TCP has no external address"
        done = Done(fSuccess, Win32ErrorCode, pIOBuffer, UserData)
        self.calls.append(done)
        return self.then(done) if self.then is not None else None

    @property
    def tags(self) -> list[object]:
        return [done.tag for done in self.calls]

    @property
    def outcomes(self) -> list[tuple[object, bool, int]]:
        return [(done.tag, done.success, done.code) for done in self.calls]

    @property
    def received(self) -> bytes:
        return b"".join(done.data for done in self.calls if done.success and done.buffer is not None)


class Accepted(NamedTuple):
    success: bool
    code: int
    listening: Any
    socket: Any
    remote: SocketAddress
    local: SocketAddress
    tag: object


@implementer(IFWXAcceptCompletion)
class AcceptRecorder(Unknown):
    def __init__(self, then: Callable[[Accepted], object] | None = None) -> None:
        self.calls: list[Accepted] = []
        self.then = then

    def CompleteAsyncAccept(self, ok, code, listening, accepted, remote, remote_length, local, local_length, tag):  # type: ignore[no-untyped-def]
        assert (remote_length, local_length) == (remote.length, local.length)
        self.calls.append(Accepted(ok, code, listening, accepted, remote, local, tag))
        return self.then(self.calls[-1]) if self.then is not None else None


@implementer(IFWXIOBuffer)
class ForeignBuffer(Unknown):
    """A filter's own implementation of IFWXIOBuffer, of fixed capacity."""

    def __init__(self, data: bytes = b"", capacity: int | None = None) -> None:
        self.block = bytearray(data)
        self.capacity = len(data) if capacity is None else capacity

    def GetBufferAndSize(self) -> memoryview:
        return memoryview(bytes(self.block))

    def GetBufferSizes(self) -> tuple[int, int]:
        return self.capacity, len(self.block)

    def SetDataSize(self, dwDataSize: int) -> None:
        del self.block[dwDataSize:]

    def Append(self, pv: Any, cb: int | None = None) -> int:
        self.block += bytes(pv)[:cb]
        return len(pv)


@implementer(IFWXSessionFilter)
class ScriptedSessionFilter(Unknown):
    def __init__(self, script: ScriptedFilter, session: Any) -> None:
        self.script = script
        self.session = session

    def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
        self.script.journal.append((self.script.name, "event", pProxyEvent.EventType))
        return self.script.handle(pProxyEvent) if self.script.handle is not None else None

    def Detach(self) -> Any:
        self.script.journal.append((self.script.name, "session detached", None))
        return self.script.detach() if self.script.detach is not None else None


@implementer(IFWXFilter)
class ScriptedFilter(Unknown):
    """A filter whose methods do what the test says; every call is written into the journal."""

    def __init__(self, name: str, journal: list[Any], **script: Any) -> None:
        self.name = name
        self.journal = journal
        self.mask: int = script.pop("mask", fwx_Connect_Tcp | FWX_ALL_SOURCES)
        self.session_mask: int | None = script.pop("session_mask", None)
        self.handle: Any = script.pop("handle", None)
        self.detach: Any = script.pop("detach", None)
        self.init: Any = script.pop("init", None)
        self.attach: Any = script.pop("attach", None)
        self.shutdown: Any = script.pop("shutdown", None)
        assert not script, script

    def FilterInit(self, pIFWXFirewall: Any) -> Any:
        self.journal.append((self.name, "init", None))
        return FwxFilterHookEvents(self.mask) if self.init is None else self.init(pIFWXFirewall)

    def AttachToSession(self, piSession: Any, pFilterHookEvents: Any) -> Any:
        self.journal.append((self.name, "attach", pFilterHookEvents.dwGlobalEvents))
        if self.session_mask is not None:
            pFilterHookEvents.dwGlobalEvents = self.session_mask
        return ScriptedSessionFilter(self, piSession) if self.attach is None else self.attach(piSession)

    def FilterShutdown(self) -> Any:
        self.journal.append((self.name, "shutdown", None))
        return self.shutdown() if self.shutdown is not None else None


class Watcher(DataPump):
    """A data filter that passes everything on, waits for its Sends, and keeps what passed; *journal* gets its calls."""

    def __init__(self, name: str = "watcher", journal: list[Any] | None = None) -> None:
        super().__init__()
        self.name = name
        self.journal: list[Any] = [] if journal is None else journal
        self.passed: dict[bool, list[Any]] = {True: [], False: []}
        self.sockets: tuple[Any, Any] = (None, None)
        self.connection: Any = None
        self.detached = 0

    def inspect(self, to_server: bool, buffer: Any) -> Any:
        self.passed[to_server].append(buffer)
        return buffer

    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> Any:
        self.journal.append((self.name, "sockets", punkFilterContext))
        self.sockets = (piInternalSocket, pIExternalSocket)
        self.connection = piConnection
        return super().SetSockets(piInternalSocket, pIExternalSocket, piConnection, punkFilterContext)

    def ended(self) -> None:
        self.detached += 1
        self.journal.append((self.name, "detach", None))


@implementer(IFWXDataFilter)
class Keeper(Unknown):
    """A data filter that does nothing by itself: the test posts on its sockets."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> None:
        self.internal, self.external, self.connection = internal, external, connection

    def Detach(self) -> None:
        self.told.append("Detach")


@implementer(IFWXDataFilter, IFWXIOCompletion)
class Heedless(Unknown):
    """A data filter that sends without a completion and asks for more at once: only the service can hold it back."""

    def __init__(self) -> None:
        self.sockets: tuple[Any, Any] = (None, None)
        self.detached = 0

    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> None:
        self.sockets = (piInternalSocket, pIExternalSocket)
        piInternalSocket.Recv(None, self, 0)
        pIExternalSocket.Recv(None, self, 1)

    def Detach(self) -> None:
        self.detached += 1

    def CompleteAsyncIO(self, fSuccess, Win32ErrorCode, pIOBuffer, UserData, Address, Length):  # type: ignore[no-untyped-def]
        source, sink = self.sockets if UserData == 0 else self.sockets[::-1]
        if not fSuccess:
            source.Close(True)
            sink.Close(True)
        elif pIOBuffer.GetBufferSizes()[1]:
            sink.Send(pIOBuffer, None, 0)
            source.Recv(None, self, UserData)
        else:
            sink.Shutdown(False)
