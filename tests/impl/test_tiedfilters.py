"""AttachDataFilterWithDestination: every datagram of a UDP connection, for as long as one destination is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces import (
    COMError,
    IFWXConnection,
    SocketAddress,
    fwx_Bind_Udp,
    fwx_ConnectionTerminating,
    fwx_dfpc_External,
    fwx_dfpc_Internal,
    fwx_dfpc_Middle,
    fwx_Udp_Destination,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_BAD_CONTEXT,
    FWX_E_TERMINATING,
    S_OK,
)
from tests.impl.test_datagramconnection import UDP_MASK, Association, Passing, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.impl.conftest import Rig


@pytest.fixture
def servers() -> Iterator[Callable[[], Server]]:
    made: list[Server] = []

    def make() -> Server:
        made.append(Server())
        return made[-1]

    yield make
    for server in made:
        server.sock.close()


def tying(rig: Rig, attach: Callable[[Any], object], name: str = "filter", **script: Any) -> Any:
    """A filter that calls *attach* with the details of each ``fwx_Udp_Destination``."""

    def handle(told: Any) -> None:
        if told.EventType == fwx_Udp_Destination:
            attach(told.Parameters.UdpDest)

    return rig.host(name, handle=handle, mask=UDP_MASK, **script)


def tied(details: Any, data_filter: Any, priority: int = fwx_dfpc_Middle) -> None:
    connection: IFWXConnection = details.piConnection
    connection.AttachDataFilterWithDestination(data_filter, priority, None, details.Address, details.AddressLength)


def code_of(call: Any, *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return int(failure.value.hresult)


class Scene:
    """A connection whose filter attaches what *wanted* has for a server, tied to it; most of its places are taken."""

    def __init__(self, rig: Rig, *more: Any, **options: Any) -> None:
        self.rig = rig
        self.wanted: dict[SocketAddress, list[Any]] = {}
        host = tying(rig, self._attach, "tied")
        self.made = Association(rig, *more, host, **options)

    def _attach(self, details: Any) -> None:
        for data_filter, priority in self.wanted.get(details.Address, ()):
            tied(details, data_filter, priority)

    def tie(self, server: Server, *data_filters: Any, priority: int = fwx_dfpc_Middle) -> None:
        self.wanted.setdefault(server.address, []).extend((each, priority) for each in data_filters)

    def ask(self, server: Server, data: bytes = b"x") -> tuple[bytes, bytes]:
        """What the server gets of *data*, and the client of the answer in capitals."""
        self.made.client.got.clear()
        self.made.say(data, server.address)
        got = server.answer()
        self.rig.until(lambda: self.made.client.got)
        ((answer, source),) = self.made.client.got
        assert source == server.address
        return got, answer


def test_it_sees_all_destinations(rig: Rig, servers: Any) -> None:
    """B2.18, B3.21: those from before too, each with its address; what caused the event goes through it."""
    scene, before, its, after = Scene(rig), servers(), servers(), servers()
    data_filter = Passing(b"!")
    scene.tie(its, data_filter)
    assert scene.ask(before) == (b"x", b"X")
    assert scene.ask(its) == (b"x!", b"X!!")
    assert scene.ask(before) == (b"x!", b"X!!")
    assert scene.ask(after) == (b"x!", b"X!!")
    assert data_filter.seen == [
        (side, server.address) for server in (its, before, after) for side in ("internal", "external")
    ]


def test_it_goes_with_its_destination(rig: Rig, servers: Any) -> None:
    """B2.16, B2.18: detached once, with its destination; the others go on without it, and the record names it."""
    scene, its, other, third = Scene(rig, most_destinations=2), servers(), servers(), servers()
    data_filter = Passing(b"!")
    scene.tie(its, data_filter)
    scene.ask(its)
    assert scene.ask(other) == (b"x!", b"X!!")
    assert scene.ask(third) == (b"x", b"X")
    assert scene.ask(other) == (b"x", b"X")
    assert data_filter.detached == 1
    (record,) = rig.records
    assert (record.destination_port, record.filters, record.resultcode) == (its.address.port, "tied", S_OK)
    internal = data_filter.sockets["internal"][0]
    assert code_of(internal.Recv, None, data_filter, "internal") == FWX_E_TERMINATING
    scene.made.end()
    assert data_filter.detached == 1


def test_what_it_holds_when_it_goes_is_lost(rig: Rig, servers: Any) -> None:
    """B3.31: what is pending at it fails before it is detached, and no datagram that it has reaches anybody late."""

    class Holding(Passing):
        def CompleteAsyncIO(self, success: bool, code: int, buffer: Any, side: Any, address: Any, length: int) -> None:
            self.seen.append((side, success, self.detached))

    scene, its, other = Scene(rig, most_destinations=2), servers(), servers()
    data_filter = Holding()
    scene.tie(its, data_filter)
    scene.made.say(b"held", its.address)
    scene.made.say(b"waits", other.address)
    assert data_filter.seen == [("internal", True, 0)]
    scene.made.say(b"room", servers().address)
    rig.settle()
    assert data_filter.seen == [("internal", True, 0), ("external", False, 0)]
    assert data_filter.detached == 1
    assert scene.ask(other) == (b"x", b"X")


def test_the_order(rig: Rig, servers: Any) -> None:
    """B3.7, B3.9: by class, whoever came first; the socket's own filters before, those of one destination behind."""
    scene_filter, own = Passing(b"s"), Passing(b"d")

    def handle(told: Any) -> None:
        if told.EventType == fwx_Bind_Udp:
            told.Parameters.Bind.piConnection.AttachDataFilter(scene_filter, fwx_dfpc_External, None)
        elif told.EventType == fwx_Udp_Destination and told.Parameters.UdpDest.Address == third.address:
            told.Parameters.UdpDest.piConnection.AttachDataFilter(own, fwx_dfpc_Internal, None)

    first, second, third = servers(), servers(), servers()
    scene = Scene(rig, rig.host("more", handle=handle, mask=UDP_MASK))
    scene.tie(first, Passing(b"5"), priority=fwx_dfpc_External)
    scene.tie(second, Passing(b"3"), Passing(b"3"), priority=fwx_dfpc_Middle)
    scene.tie(second, Passing(b"1"), priority=fwx_dfpc_Internal)
    assert scene.ask(first) == (b"xs5", b"XS55s")
    assert scene.ask(second) == (b"xs1335", b"XS13355331s")
    assert scene.ask(third) == (b"xs1335d", b"XS1335Dd5331s")


def test_whom_it_can_reach(rig: Rig, servers: Any) -> None:
    """Every destination that was judged, and none that was not, or that was refused."""
    judged, refused, unknown, its = servers(), servers(), servers(), servers()

    class Spreading(Passing):
        def CompleteAsyncIO(self, success: bool, code: int, buffer: Any, side: Any, address: Any, length: int) -> None:
            if success:
                targets = [each.address for each in (unknown, refused, judged)] if address == its.address else [address]
                for target in targets:
                    self.sockets[side][1].SendTo(buffer, target, None, None, 0)
                self.sockets[side][0].Recv(None, self, side)

    def refuse(details: Any) -> None:
        if details.Address == refused.address:
            details.piUdpDestination.Deny(0)

    scene = Scene(rig, tying(rig, refuse, "refusing"))
    scene.tie(its, Spreading())
    scene.made.say(b"r", refused.address)
    scene.ask(judged)
    scene.made.say(b"x", its.address)
    assert judged.sock.recv(10) == b"x"
    for server in (unknown, refused, its):
        server.sock.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.sock.recv(10)


def test_without_an_address(rig: Rig, servers: Any) -> None:
    """B2.18: NULL is legal and its effect not documented; here it is AttachDataFilter, of one destination alone."""
    data_filter, its, other = Passing(b"!"), servers(), servers()

    def attach(details: Any) -> None:
        if details.Address == its.address:
            details.piConnection.AttachDataFilterWithDestination(data_filter, fwx_dfpc_Middle, None, None, None)

    made = Association(rig, tying(rig, attach))
    made.say(b"x", its.address)
    made.say(b"x", other.address)
    assert (its.answer(), other.answer()) == (b"x!", b"x")


def test_a_name(rig: Rig, servers: Any) -> None:
    """The destination goes by the name that the client used, and by the address that it stands for."""
    server, attached = servers(), list[Passing]()
    target = SocketAddress("server.example", server.address.port)
    rig.names.table["server.example"] = ["127.0.0.1"]

    def attach(details: Any) -> None:
        assert details.Address == target
        for address in (target, server.address):
            attached.append(Passing(b"!"))
            connection = details.piConnection
            connection.AttachDataFilterWithDestination(attached[-1], fwx_dfpc_Middle, None, address, None)

    made = Association(rig, tying(rig, attach))
    made.say(b"x", target)
    assert server.answer() == b"x!!"
    rig.until(lambda: made.client.got)
    assert made.client.got == [(b"X!!!!", server.address)]
    assert [each[1] for each in attached[0].seen] == [target, server.address]


def test_wrong_calls(rig: Rig, servers: Any) -> None:
    """B2.34: the event alone, its destination alone, a data filter, once."""
    server, other, kept, answers = servers(), servers(), list[Any](), list[int]()

    def attach(details: Any) -> None:
        connection = details.piConnection
        attach_to = connection.AttachDataFilterWithDestination
        kept.append(connection)
        answers.extend(
            (
                code_of(attach_to, None, fwx_dfpc_Middle, None, details.Address, None),
                code_of(attach_to, object(), fwx_dfpc_Middle, None, details.Address, None),
                code_of(attach_to, Passing(), 9, None, details.Address, None),
                code_of(attach_to, Passing(), fwx_dfpc_Middle, None, details.Address, 17),
                code_of(attach_to, Passing(), fwx_dfpc_Middle, None, "127.0.0.1", None),
                code_of(attach_to, Passing(), fwx_dfpc_Middle, None, other.address, None),
            )
        )
        data_filter = Passing()
        attach_to(data_filter, fwx_dfpc_Middle, None, details.Address, None)
        answers.append(code_of(attach_to, data_filter, fwx_dfpc_Middle, None, details.Address, None))

    made = Association(rig, tying(rig, attach))
    made.say(b"x", server.address)
    assert answers == [E_POINTER, *[E_INVALIDARG] * 6]
    late = (Passing(), fwx_dfpc_Middle, None, server.address, None)
    assert code_of(kept[0].AttachDataFilterWithDestination, *late) == FWX_E_BAD_CONTEXT
    made.end()
    assert code_of(kept[0].AttachDataFilterWithDestination, *late) == FWX_E_TERMINATING


def test_a_refused_destination_keeps_none(rig: Rig, servers: Any) -> None:
    """B1.30, B2.19: another filter denies it: detached without sockets, and nobody else's datagrams pass it."""
    data_filter, its, other = Passing(b"!"), servers(), servers()

    def attach(details: Any) -> None:
        if details.Address == its.address:
            tied(details, data_filter)

    def refuse(details: Any) -> None:
        if details.Address == its.address:
            details.piUdpDestination.Deny(0)

    made = Association(rig, tying(rig, attach), tying(rig, refuse, "refusing"))
    made.say(b"x", its.address)
    made.say(b"x", other.address)
    assert other.answer() == b"x"
    assert (data_filter.detached, data_filter.sockets) == (1, None)
    assert rig.records[0].action == Action.Denied


@pytest.mark.parametrize("opens", [False, True])
def test_a_handler_that_fails_afterwards(rig: Rig, servers: Any, opens: bool) -> None:
    """What it has attached is taken back."""
    data_filter, its = Passing(b"!"), servers()

    def attach(details: Any) -> None:
        tied(details, data_filter)
        raise ValueError("a fault")

    made = Association(rig, tying(rig, attach, opens=opens))
    made.say(b"x", its.address)
    rig.settle()
    assert data_filter.detached == 1
    if opens:
        assert its.answer() == b"x"
    else:
        assert rig.records[0].action == Action.Denied


@pytest.mark.parametrize("method", ["SetSockets", "CompleteAsyncIO"])
def test_it_fails(rig: Rig, servers: Any, method: str) -> None:
    """B1.27: the connection ends, as with every data filter, and everything is detached."""

    def fail(*_: Any) -> None:
        raise MemoryError

    scene, its = Scene(rig), servers()
    data_filter, kept = Passing(), Passing()
    setattr(data_filter, method, fail)
    scene.tie(its, data_filter, kept)
    scene.made.say(b"x", its.address)
    rig.until(lambda: scene.made.ended)
    assert (data_filter.detached, kept.detached) == (1, 1)
    assert rig.alerts
    assert not rig.session().connections


def test_the_end(rig: Rig, servers: Any) -> None:
    """B1.29, B2.29, B3.31: what is pending fails, then it is detached, then the connection terminates."""
    journal: list[Any] = []

    class Noting(Passing):
        def CompleteAsyncIO(self, success: bool, *rest: Any) -> None:
            if not success:
                journal.append("failed")
            else:
                super().CompleteAsyncIO(success, *rest)

        def Detach(self) -> None:
            super().Detach()
            journal.append("detached")

    def handle(told: Any) -> None:
        if told.EventType == fwx_Udp_Destination:
            tied(told.Parameters.UdpDest, Noting())
        elif told.EventType == fwx_ConnectionTerminating:
            journal.append("terminating")

    mask = UDP_MASK | fwx_ConnectionTerminating
    made, server = Association(rig, rig.host(handle=handle, mask=mask, session_mask=mask)), servers()
    made.say(b"x", server.address)
    server.answer()
    rig.until(lambda: made.client.got)
    made.end()
    assert journal == ["failed", "failed", "detached", "terminating"]
