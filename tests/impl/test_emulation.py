"""A filter plays the server: no connection outward, one socket, its own name and count (B3.6, B3.33 to B3.40)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.raw import Ref, raw
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    IFWXConnection,
    IFWXDataFilter,
    IFWXIOCompletion,
    IFWXSocket,
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_ConnectionTerminating,
    fwx_dfpc_Emulation,
    fwx_dfpc_Internal,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_OUTOFMEMORY,
    E_POINTER,
    E_UNEXPECTED,
    FWX_E_ALREADY_EMULATED,
    FWX_E_ALREADY_EXISTS,
    FWX_E_BAD_CONTEXT,
    FWX_E_INVALID_ARG,
    FWX_E_NOT_EMULATED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAEINVAL,
    COMError,
)
from tests.impl.door import Door

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.impl.conftest import Rig

NAME = SocketAddress("192.0.2.1", 4321)
SERVER = SocketAddress("203.0.113.80", 80)


@implementer(IFWXDataFilter, IFWXIOCompletion)
class Cache(Unknown):
    """Answers each block of the client with ``cached: `` and the block, as a cache would; ends when the client does."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.internal: Any = None
        self.connection: Any = None
        self.answers = True

    def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> None:
        self.calls.append(("SetSockets", external, context))
        self.internal, self.connection = internal, connection
        internal.Recv(None, self, 0)

    def CompleteAsyncIO(self, fSuccess, code, buffer, UserData, address, length):  # type: ignore[no-untyped-def]
        if UserData:
            return
        data = bytes(buffer.GetBufferAndSize()) if fSuccess else b""
        if data and self.answers:
            self.internal.Send(FWXIOBuffer(b"cached: " + data), self, 1)
            self.internal.Recv(None, self, 0)
        elif self.answers:
            self.internal.Close(not fSuccess)

    def Detach(self) -> None:
        self.calls.append("Detach")
        self.internal = self.connection = None


def emulating(data_filter: Any, then: Callable[[Any], object] | None = None, context: Any = None) -> Any:
    """A handler that has *data_filter* play the server, and then does something with the connection."""

    def handle(event: Any) -> None:
        if event.EventType == fwx_Connect_Tcp:
            connection = event.Parameters.Connect.piConnection
            connection.EmulateForConnect(data_filter, context)
            if then is not None:
                then(connection)

    return handle


def code_of(call: Any, *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


@pytest.fixture
def door(rig: Rig) -> Iterator[Door]:
    door = Door(rig)
    yield door
    door.gateway.close()
    door.listener.close()


def open_door(rig: Rig, door: Door, target: SocketAddress = SERVER, **more: Any) -> None:
    door.open(target, **more)
    rig.until(lambda: door.bound)


def test_the_data_filter_is_the_server(rig: Rig, door: Door) -> None:
    """B2.14, B3.6, B3.33, B3.40: nothing is dialled, not even where somebody listens; the external socket is NULL."""
    cache, context = Cache(), Unknown()
    rig.host(handle=emulating(cache, context=context))
    open_door(rig, door, door.address, early=b"GET /")
    assert cache.calls == [("SetSockets", None, context)]
    door.client.expect(b"cached: GET /")
    door.client.send(b"more")
    door.client.expect(b"cached: more")
    door.client.shutdown()
    door.client.expect_end()
    rig.until(lambda: door.ended)
    assert cache.calls[1:] == ["Detach"]
    door.listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        door.listener.accept()
    assert not len(rig.packet_filter)
    (record,) = rig.records
    assert (record.action, record.resultcode, record.filters) == (Action.Terminate, S_OK, "filter")


def test_other_filters_stand_between_it_and_the_client(rig: Rig, door: Door, watcher: Any) -> None:
    """B3.7, B3.37: it is the last of the last class, and its neighbours do not notice."""
    cache, first, last = Cache(), watcher("first"), watcher("last")
    rig.host(handle=emulating(cache))
    rig.attaching((last, fwx_dfpc_Emulation), (first, fwx_dfpc_Internal), name="watching")
    open_door(rig, door)
    door.client.send(b"x")
    door.client.expect(b"cached: x")
    for watching in (first, last):
        assert [bytes(each.GetBufferAndSize()) for each in watching.passed[False]] == [b"cached: x"]
        assert watching.sockets[1] is not None
    door.client.shutdown()
    rig.until(lambda: door.ended)
    assert rig.records[0].filters == "watching, watching, filter"


def test_the_name_that_the_filter_gives_is_what_the_client_hears(rig: Rig, door: Door) -> None:
    """B3.39."""
    names: list[Any] = []
    cache = Cache()

    def name(connection: Any) -> None:
        connection.SetSocketName(NAME)
        names.append(connection.GetExternalSocketName())
        assert code_of(connection.SetSocketName, NAME) == FWX_E_ALREADY_EXISTS
        assert code_of(connection.GetExternalPeerName) == HRESULT_FROM_WIN32(WSAEINVAL)

    rig.host(handle=emulating(cache, name))
    open_door(rig, door)
    assert (door.bound, names) == ([NAME], [NAME])
    cache.internal.Close(False)
    rig.until(lambda: door.ended)


def test_without_a_name_the_client_hears_where_it_reached_the_firewall(rig: Rig, door: Door) -> None:
    cache = Cache()
    rig.host(handle=emulating(cache))
    open_door(rig, door)
    assert door.bound == [SocketAddress.from_sockaddr(door.client._sock.getpeername())]
    assert code_of(cache.connection.GetExternalSocketName) == HRESULT_FROM_WIN32(WSAEINVAL)


def test_the_log_shows_what_the_filter_counts(rig: Rig, door: Door) -> None:
    """B3.39, B9.16: the sum of the increments; received is what the client got."""
    cache = Cache()
    rig.host(handle=emulating(cache))
    open_door(rig, door)
    for count in (1000, 234, 0):
        cache.connection.IncrementBytesSentCounter(count)
    for wrong in (-1, 1 << 32, "1"):
        assert code_of(cache.connection.IncrementBytesSentCounter, wrong) == E_INVALIDARG
    door.client.send(b"x")
    door.client.expect(b"cached: x")
    door.client.shutdown()
    rig.until(lambda: door.ended)
    (record,) = rig.records
    assert (record.bytes_sent, record.bytes_received) == (1234, len(b"cached: x"))


def test_no_connection_is_emulated_twice(rig: Rig, door: Door) -> None:
    """B3.38: neither by the same filter nor by another one, and in no way."""
    codes: list[int] = []

    def again(event: Any) -> None:
        connection = event.Parameters.Connect.piConnection
        codes.append(code_of(connection.EmulateForConnect, Cache(), None))

    rig.host("first", handle=emulating(Cache(), lambda connection: codes.append(_again(connection))))
    rig.host("second", handle=again)
    open_door(rig, door)
    assert codes == [FWX_E_ALREADY_EMULATED] * 2


def _again(connection: Any) -> int:
    return code_of(connection.EmulateForConnect, Cache(), None)


def test_only_the_handler_of_a_connect_may_emulate(rig: Rig) -> None:
    """B3.33: and what is not emulated has no name and no count to be set (B3.39)."""
    codes: list[int] = []

    def handle(event: Any) -> None:
        connection = event.Parameters.Connect.piConnection
        codes.append(code_of(connection.EmulateForConnect, None, None))
        codes.append(code_of(connection.EmulateForConnect, Unknown(), None))
        codes.append(code_of(connection.EmulateForBind))

    opened = rig.open(hosts=(rig.host(handle=handle),))
    assert codes == [E_POINTER, E_INVALIDARG, FWX_E_BAD_CONTEXT]
    connection = opened.connection
    assert code_of(connection.EmulateForConnect, Cache(), None) == FWX_E_BAD_CONTEXT
    assert code_of(connection.EmulateForBind) == FWX_E_BAD_CONTEXT
    assert code_of(connection.SetSocketName, NAME) == FWX_E_NOT_EMULATED
    assert code_of(connection.IncrementBytesSentCounter, 1) == FWX_E_NOT_EMULATED
    assert code_of(connection.EmulateConnection, Cache(), NAME, None, NAME) == HRESULT_FROM_WIN32(WSAEINVAL)


@pytest.mark.parametrize("name", [None, "192.0.2.1:80", SocketAddress("www.example", 80)])
def test_a_name_has_to_be_an_address(rig: Rig, door: Door, name: Any) -> None:
    codes: list[int] = []
    rig.host(handle=emulating(Cache(), lambda connection: codes.append(code_of(connection.SetSocketName, name))))
    open_door(rig, door)
    assert codes == [FWX_E_INVALID_ARG]


def test_nothing_works_when_it_is_over(rig: Rig, door: Door) -> None:
    """B1.35: the connection is still in the filter's hands at its terminating event, and no use."""
    seen: list[int] = []

    def handle(event: Any) -> None:
        if event.EventType == fwx_Connect_Tcp:
            event.Parameters.Connect.piConnection.EmulateForConnect(cache, None)
        else:
            connection = event.Parameters.EndConnect.piConnection
            seen.append(code_of(connection.IncrementBytesSentCounter, 1))
            seen.append(code_of(connection.SetSocketName, NAME))
            seen.append(code_of(connection.EmulateForConnect, cache, None))
            seen.append(code_of(connection.EmulateConnection, cache, NAME, None, NAME))
            seen.append(code_of(connection.GetExternalSocketName))

    cache = Cache()
    mask = fwx_Connect_Tcp | fwx_ConnectionTerminating | FWX_ALL_SOURCES
    rig.host(handle=handle, session_mask=mask)
    open_door(rig, door)
    cache.connection.Kill()
    rig.until(lambda: door.ended)
    assert seen == [FWX_E_TERMINATING] * 5


def test_a_name_may_still_be_denied_to_it(rig: Rig, door: Door) -> None:
    """B1.30: what a later filter denies is not emulated either; the data filter is detached without sockets."""
    cache = Cache()
    rig.host("first", handle=emulating(cache))
    rig.host("second", handle=lambda event: event.Parameters.Connect.piConnection.Deny(0))
    door.open(SERVER)
    assert door.refusal() == HRESULT_FROM_WIN32(WSAECONNREFUSED)
    assert cache.calls == ["Detach"]


def test_a_handler_that_fails_has_not_emulated(rig: Rig, door: Door) -> None:
    """With ``on_error = "open"`` the connection is made after all, without what the handler did."""
    cache = Cache()
    rig.host(handle=emulating(cache, lambda connection: 1 / 0), opens=True)
    door.open(door.address, early=b"hello")
    server = door.accept()
    server.expect(b"hello")
    assert cache.calls == ["Detach"]


def test_a_filter_without_memory_for_the_sockets_ends_it(rig: Rig, door: Door) -> None:
    """B1.27."""

    class Poor(Cache):
        def SetSockets(self, *args: Any) -> Any:
            return E_OUTOFMEMORY

    rig.host(handle=emulating(Poor()))
    open_door(rig, door)
    door.client.expect_reset()
    rig.until(lambda: door.ended)
    assert rig.records[0].resultcode == E_UNEXPECTED


def test_a_client_that_resets_ends_it(rig: Rig, door: Door) -> None:
    cache = Cache()
    rig.host(handle=emulating(cache))
    open_door(rig, door)
    door.client.reset()
    rig.until(lambda: door.ended)
    assert rig.records[0].resultcode == HRESULT_FROM_WIN32(WSAECONNRESET)


def test_a_client_that_left_before_it_heard(rig: Rig, door: Door) -> None:
    cache = Cache()
    rig.host(handle=emulating(cache))
    door.client_is_there = False
    door.open(SERVER)
    rig.until(lambda: door.ended)
    assert (cache.calls, rig.records[0].resultcode) == (["Detach"], HRESULT_FROM_WIN32(WSAECONNABORTED))
    assert not door.gateway.opening


def test_a_filter_that_kills_it_meanwhile(rig: Rig, door: Door) -> None:
    rig.host(handle=emulating(Cache(), lambda connection: connection.Kill()))
    door.open(SERVER)
    assert door.refusal() == HRESULT_FROM_WIN32(WSAECONNABORTED)


@pytest.mark.parametrize("client_first", [False, True])
def test_a_filter_that_says_its_last_and_does_not_close(rig: Rig, door: Door, client_first: bool) -> None:
    """Both have said all they will: it does not live on for ever, whoever was first."""
    cache = Cache()
    cache.answers = False
    rig.host(handle=emulating(cache))
    open_door(rig, door)
    steps = [door.client.shutdown, lambda: cache.internal.Shutdown(False)]
    for step in steps if client_first else reversed(steps):
        step()
        rig.settle()
    rig.clock.advance(60.0)
    rig.until(lambda: door.ended)


def test_a_filter_that_has_not_answered_yet_is_waited_for(rig: Rig, door: Door) -> None:
    """A client that has said all it will is a client that waits."""
    cache = Cache()
    cache.answers = False
    rig.host(handle=emulating(cache))
    open_door(rig, door)
    door.client.shutdown()
    rig.settle()
    rig.clock.advance(3600.0)
    rig.settle()
    cache.internal.Send(FWXIOBuffer(b"late"), None, 0)
    cache.internal.Close(False)
    door.client.expect(b"late")
    door.client.expect_end()
    rig.until(lambda: door.ended)


def test_the_registry_has_no_external_socket_for_it(rig: Rig, door: Door) -> None:
    cache = Cache()
    rig.host(handle=emulating(cache))
    open_door(rig, door)
    pair = (cache.connection, cache)
    assert rig.registry.getMultiAdapter(pair, IFWXSocket, name="internal") is cache.internal
    with pytest.raises(COMError) as failure:
        rig.registry.getMultiAdapter(pair, IFWXSocket, name="external")
    assert failure.value.hresult == FWX_E_BAD_CONTEXT


def test_the_com_face(rig: Rig, door: Door) -> None:
    """B3.33, B3.39: the same codes, never an exception."""
    results: list[int] = []

    def handle(event: Any) -> None:
        face = raw(event.Parameters.Connect.piConnection, IFWXConnection)
        results.extend(
            (
                face.SetSocketName(NAME, NAME.length),
                face.IncrementBytesSentCounter(1),
                face.EmulateForConnect(None, None),
                face.EmulateForConnect(Cache(), None),
                face.EmulateForConnect(Cache(), None),
                face.SetSocketName(NAME, NAME.length),
                face.SetSocketName(NAME, NAME.length),
                face.IncrementBytesSentCounter(1),
            )
        )
        name, length = Ref(), Ref(128)
        results.append(face.GetExternalSocketName(name, length))
        assert (name.value, length.value) == (NAME, NAME.length)

    rig.host(handle=handle)
    open_door(rig, door)
    assert results == [
        FWX_E_NOT_EMULATED,
        FWX_E_NOT_EMULATED,
        E_POINTER,
        S_OK,
        FWX_E_ALREADY_EMULATED,
        S_OK,
        FWX_E_ALREADY_EXISTS,
        S_OK,
        S_OK,
    ]
