"""A connection with 0 to 3 data filters between real sockets: streams, ends, resets, readers that stop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from fwx.data_pump import DataPump
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    IFWXNetworkSocket,
    IFWXSocket,
    fwx_dfpc_Emulation,
    fwx_dfpc_External,
    fwx_dfpc_Internal,
    fwx_dfpc_Middle,
    fwx_dfpc_NAT,
    fwx_dfpc_PostTrust,
    fwx_dfpc_PreTrust,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_NOINTERFACE,
    FWX_E_BAD_CONTEXT,
    HRESULT_FROM_WIN32,
    S_FALSE,
    WSAECONNRESET,
    COMError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.impl.conftest import Rig

CHAINS = [pytest.param(count, id=f"{count} filters") for count in range(4)]
FILTERED = CHAINS[1:]
LARGE = bytes(range(256)) * 40_000  # 10 MiB


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


# ---- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", CHAINS)
def test_both_directions_whole_and_in_order(rig: Rig, watcher: Any, count: int) -> None:
    """B3.1, B3.3, B3.5: every byte, in order, both ways, at any length of the chain."""
    _, client, server = rig.open(*(watcher() for _ in range(count)))
    for near, far in ((client, server), (server, client)):
        sender = threading.Thread(target=_send_blocking, args=(near._sock, LARGE))
        sender.start()
        far.expect(LARGE)
        sender.join()
    client.shutdown()
    server.expect_end()
    server.shutdown()
    client.expect_end()


def _send_blocking(sock: Any, data: bytes) -> None:
    sock.setblocking(True)
    sock.sendall(data)
    sock.setblocking(False)


@pytest.mark.parametrize("count", CHAINS)
def test_what_came_with_the_request_goes_first(rig: Rig, watcher: Any, count: int) -> None:
    opened = rig.open(*(watcher() for _ in range(count)), prefix=b"early ")
    opened.server.expect(b"early ")
    opened.client.send(b"late")
    opened.server.expect(b"late")


@pytest.mark.parametrize("count", FILTERED)
def test_one_buffer_object_travels_down_the_chain(rig: Rig, watcher: Any, count: int) -> None:
    """B3.12: the same buffer object with the same block, at every filter, in both directions."""
    filters = [watcher() for _ in range(count)]
    opened = rig.open(*filters)
    opened.client.send(b"to the server")
    opened.server.expect(b"to the server")
    opened.server.send(b"to the client")
    opened.client.expect(b"to the client")
    for to_server in (True, False):
        buffers = {id(each.passed[to_server][0]) for each in filters}
        blocks = {id(each.passed[to_server][0].GetBufferAndSize().obj) for each in filters}
        assert (len(buffers), len(blocks)) == (1, 1)


def test_an_earlier_filter_changes_what_the_later_ones_see(rig: Rig, watcher: Any) -> None:
    """B3.9, B3.11: the client's data meets the lower class first, the server's data the higher."""

    class Marking(DataPump):
        def __init__(self, mark: bytes) -> None:
            super().__init__()
            self.mark = mark

        def inspect(self, to_server: bool, buffer: Any) -> Any:
            return FWXIOBuffer(bytes(buffer.GetBufferAndSize()) + self.mark) if buffer.GetBufferSizes()[1] else buffer

    opened = rig.open((Marking(b"P"), fwx_dfpc_PreTrust), (Marking(b"I"), fwx_dfpc_Internal))
    opened.client.send(b"up ")
    opened.server.expect(b"up IP")
    opened.server.send(b"down ")
    opened.client.expect(b"down PI")


def test_priority_classes_are_the_order_of_the_chain(rig: Rig, watcher: Any) -> None:
    """B3.7, B3.10: from the client's side to the server's by class, in one class in the order of attaching."""
    order = [
        fwx_dfpc_NAT,
        fwx_dfpc_Internal,
        fwx_dfpc_PostTrust,
        fwx_dfpc_Middle,
        fwx_dfpc_PreTrust,
        fwx_dfpc_External,
        fwx_dfpc_Emulation,
    ]
    seen: list[str] = []

    class Noting(DataPump):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def inspect(self, to_server: bool, buffer: Any) -> Any:
            seen.append(self.name)
            return buffer

    wanted = [*((Noting(each.name), each) for each in order), (Noting("second middle"), fwx_dfpc_Middle)]
    opened = rig.open(*reversed(wanted[:-1]), wanted[-1])
    names = [each.name for each in order]
    names.insert(4, "second middle")
    opened.client.send(b"x")
    opened.server.expect(b"x")
    assert seen == names
    seen.clear()
    opened.server.send(b"x")
    opened.client.expect(b"x")
    assert seen == names[::-1]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_buffer_size(rig: Rig, watcher: Any, size: int) -> None:
    """B3.20: SetBufferSize is the most that one Recv brings."""
    watching = watcher()
    opened = rig.open(watching)
    opened.connection.SetBufferSize(size)
    opened.client.send(b"z" * 5000)
    opened.server.expect(b"z" * 5000)
    assert {buffer.GetBufferSizes()[1] for buffer in watching.passed[True]} <= set(range(1, size + 1))
    assert code_of(opened.connection.SetBufferSize, 0) == E_INVALIDARG
    assert code_of(opened.connection.SetBufferSize, (1 << 20) + 1) == E_INVALIDARG


def test_buffer_size_asked_for_in_the_event(rig: Rig, watcher: Any) -> None:
    """B3.20: before the connection is there."""
    watching = watcher()

    def handle(event: Any) -> None:
        event.Parameters.Connect.piConnection.AttachDataFilter(watching, fwx_dfpc_Middle, None)
        event.Parameters.Connect.piConnection.SetBufferSize(2)

    opened = rig.open(hosts=(rig.host(handle=handle),))
    opened.client.send(b"abcd")
    opened.server.expect(b"abcd")
    assert {buffer.GetBufferSizes()[1] for buffer in watching.passed[True]} == {2}


# ---- blindness -------------------------------------------------------------------------------------------------------


def test_no_filter_can_tell_its_neighbours(rig: Rig, watcher: Any) -> None:
    """B3.4, B4.1: network on the left, filter on the right, or the reverse: one class, the same answers."""
    filters = [watcher(), watcher(), watcher()]
    rig.open(*filters)
    sockets = [socket for each in filters for socket in each.sockets]
    assert len(set(map(id, sockets))) == 6
    assert len({type(socket) for socket in sockets}) == 1
    for socket in sockets:
        assert code_of(socket.QueryInterface, IFWXNetworkSocket) == E_NOINTERFACE
        assert IFWXNetworkSocket(socket, None) is None
        assert socket._IsDataAvailable() == S_FALSE
        assert socket.QueryInterface(IFWXSocket) is socket


def test_the_sockets_come_from_the_registry(rig: Rig, watcher: Any) -> None:
    """DESIGN 4: looked up by connection and data filter, the same ones that SetSockets brought."""
    watching = watcher()
    opened = rig.open(watching)
    found = [
        rig.registry.getMultiAdapter((opened.connection, watching), IFWXSocket, name=name)
        for name in ("internal", "external")
    ]
    assert tuple(found) == watching.sockets
    with pytest.raises(LookupError, match="not attached"):
        rig.registry.getMultiAdapter((opened.connection, watcher()), IFWXSocket, name="internal")


def test_sockets_asked_for_before_there_are_any(rig: Rig, watcher: Any) -> None:
    """DESIGN 4: a look-up in the event's handler is refused, and spoils nothing."""
    watching = watcher()
    refused: list[int] = []

    def handle(event: Any) -> None:
        connection = event.Parameters.Connect.piConnection
        connection.AttachDataFilter(watching, fwx_dfpc_Middle, None)
        refused.extend(
            code_of(rig.registry.getMultiAdapter, (connection, watching), IFWXSocket, name)
            for name in ("internal", "external")
        )

    opened = rig.open(hosts=(rig.host(handle=handle),))
    assert refused == [FWX_E_BAD_CONTEXT, FWX_E_BAD_CONTEXT]
    opened.client.send(b"works")
    opened.server.expect(b"works")


def test_the_context_is_handed_on(rig: Rig, watcher: Any) -> None:
    """B1.26: exactly what was given to AttachDataFilter."""
    watching, context = watcher(), Unknown()
    rig.open(
        hosts=(
            rig.host(
                handle=lambda event: event.Parameters.Connect.piConnection.AttachDataFilter(
                    watching, fwx_dfpc_Middle, context
                )
            ),
        )
    )
    assert watching.journal == [("watcher", "sockets", context)]


# ---- half close, end, reset ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", CHAINS)
@pytest.mark.parametrize("first", ["client", "server"])
def test_half_close_is_kept(rig: Rig, watcher: Any, count: int, first: str) -> None:
    """B3.24, B3.25, B3.29: one side ends, the other goes on for long, then ends as well."""
    filters = [watcher() for _ in range(count)]
    opened = rig.open(*filters)
    near, far = (opened.client, opened.server) if first == "client" else (opened.server, opened.client)
    near.send(b"request")
    near.shutdown()
    far.expect(b"request")
    far.expect_end()
    for part in (b"one", b"two", b"three"):
        far.send(part)
        near.expect(part)
        rig.settle()
    far.shutdown()
    near.expect_end()
    rig.until_gone(opened.connection)
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Terminate, 0)
    sent, received = (7, 11) if first == "client" else (11, 7)
    assert (record.bytes_sent, record.bytes_received) == (sent, received)
    assert [each.detached for each in filters] == [1] * count


@pytest.mark.parametrize("count", CHAINS)
@pytest.mark.parametrize("first", ["client", "server"])
def test_a_reset_is_passed_on(rig: Rig, watcher: Any, count: int, first: str) -> None:
    """B3.26, B3.30: a real RST of one side is a real RST at the other side."""
    filters = [watcher() for _ in range(count)]
    opened = rig.open(*filters)
    near, far = (opened.client, opened.server) if first == "client" else (opened.server, opened.client)
    near.send(b"x")
    far.expect(b"x")
    near.reset()
    far.expect_reset()
    rig.until_gone(opened.connection)
    assert rig.records[-1].resultcode == HRESULT_FROM_WIN32(WSAECONNRESET)
    assert [each.detached for each in filters] == [1] * count
    assert not rig.alerts


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_reset_is_passed_on_by_a_filter_that_closes_in_order(rig: Rig, first: str) -> None:
    """B3.30: a filter need not know that its other side was reset; what was cut off must not look whole."""

    class Gentle(DataPump):
        def _close(self, abortive: bool) -> None:
            super()._close(False)

    opened = rig.open(Gentle())
    near, far = (opened.client, opened.server) if first == "client" else (opened.server, opened.client)
    near.reset()
    far.expect_reset()
    rig.until_gone(opened.connection)


@pytest.mark.parametrize("count", FILTERED)
def test_a_reset_of_a_side_that_has_ended(rig: Rig, watcher: Any, count: int) -> None:
    """B3.30: after its FIN a client can still be reset; when the filters do not see it, the connection ends in time."""
    opened = rig.open(*(watcher() for _ in range(count)))
    opened.client.shutdown()
    opened.server.expect_end()
    opened.client.reset()
    rig.settle()
    rig.clock.advance(30.0)
    rig.until_gone(opened.connection)


@pytest.mark.parametrize("count", CHAINS)
def test_kill(rig: Rig, watcher: Any, count: int) -> None:
    """B3.32: from any thread; both sides are reset, the filters are detached."""
    filters = [watcher() for _ in range(count)]
    opened = rig.open(*filters)
    killer = threading.Thread(target=opened.connection.Kill)
    killer.start()
    killer.join()
    opened.client.expect_reset()
    opened.server.expect_reset()
    rig.until_gone(opened.connection)
    opened.connection.Kill()
    assert rig.records[-1].reason == "killed by a filter"
    assert len(rig.records) == 1
    assert [each.detached for each in filters] == [1] * count


def test_a_filter_that_ends_one_side_only(rig: Rig, watcher: Any) -> None:
    """DESIGN 5: a connection that one side has left and that stands still is ended."""

    class Deserter(DataPump):
        def CompleteAsyncIO(self, *args: Any) -> None:
            self._external.Close(False)  # type: ignore[union-attr]

    opened = rig.open(Deserter())
    opened.client.send(b"x")
    opened.server.expect_end()
    rig.settle()
    assert rig.records == []
    rig.clock.advance(30.0)
    rig.until_gone(opened.connection)
    assert "did not end the other" in rig.records[0].reason


# ---- a reader that stops ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("chain", ["none", "waiting", "waiting 3", "heedless", "heedless 3", "mixed"])
def test_a_reader_that_stops_costs_a_bounded_number_of_buffers(
    rig: Rig, watcher: Any, heedless: Any, direction: str, chain: str
) -> None:
    """DESIGN 5, B3.14: with filters that wait for their Sends and with filters that do not, in both directions."""
    kinds = {
        "none": [],
        "waiting": [watcher],
        "waiting 3": [watcher] * 3,
        "heedless": [heedless],
        "heedless 3": [heedless] * 3,
        "mixed": [heedless, watcher, heedless],
    }
    opened = rig.open(*(kind() for kind in kinds[chain]), small=True)
    near, far = (opened.client, opened.server) if direction == "up" else (opened.server, opened.client)
    taken = near.push()
    # The kernel's buffers of both sockets, and for each filter its high water mark and the block that reached it.
    assert taken <= (2 + len(kinds[chain])) * (1 << 19) + (1 << 19)
    far.expect(bytes(taken))
    near.send(b"more")
    far.expect(b"more")
