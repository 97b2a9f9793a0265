"""RESOLVE and RESOLVE_PTR on the proxy port: who may ask, what filters see, what the client is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from fwx.entrance import Arrival, Entrance
from fwx.entries import ProxyEntry
from fwx.impl.deadline import DeadlineQueue
from fwx.impl.engine import Answer
from fwx.impl.gateway import Gateway
from fwx.impl.logrecord import Action
from fwx.impl.lookups import MOST_LOOK_UPS
from fwx.impl.policy import Rule
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    Hostent,
    SocketAddress,
    fwx_GetHostByAddr,
    fwx_GetHostByName,
    fwxSourceWSP,
)
from fwx.interfaces.hresult import (
    FWX_E_DNS_QUOTA_EXCEEDED,
    FWX_E_IS_BUSY,
    FWX_E_POLICY_RULES_DENIED,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAECONNRESET,
    WSAHOST_NOT_FOUND,
    WSANO_DATA,
    WSANO_RECOVERY,
    WSATRY_AGAIN,
)
from fwx.limits import AddressLimits, Figures, LimitTable
from tests.impl.conftest import Peer, Rig

CLIENT, PORT = SocketAddress("127.0.0.1", 40000), SocketAddress("127.0.0.1", 1080)
NAMES = fwx_GetHostByName | fwx_GetHostByAddr | FWX_ALL_SOURCES
HERE, THERE = IPv4Address("127.0.0.1"), IPv4Address("203.0.113.7")
RESOLVE, RESOLVE_PTR = 0xF0, 0xF1
TO_OUTSIDE = Rule("out", "allow", ("any",), ("localhost",), ("outside",))


@pytest.fixture
def rig() -> Iterator[Rig]:
    loop = asyncio.new_event_loop()
    rig = Rig(loop)
    yield rig
    rig.finish()
    watched = len(rig.poller)
    rig.poller.close()
    loop.close()
    assert not watched


class Door:
    """A proxy port."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.limits = AddressLimits(LimitTable(Figures(100, 1000)), rig.clock)
        queue = lambda: DeadlineQueue(10.0, rig.clock, rig.clock.call_later)  # noqa: E731
        deadlines = {name: queue() for name in ("handshake", "keep_alive", "bind", "farewell")}
        gateway = Gateway(rig.engine, rig.sessions, lambda _: None)
        self.entrance = Entrance("proxy", gateway, self.limits, None, "off", deadlines, None)  # type: ignore[arg-type]

    def ask(self, request: bytes) -> Peer:
        transport, peer = self.rig.pair()
        assert self.limits.admit(CLIENT.host) is None
        ProxyEntry(self.entrance, Arrival(transport, CLIENT, PORT))
        peer.send(request)
        return peer

    def resolve(self, name: str) -> Peer:
        packed = name.encode()
        return self.socks5(bytes((5, RESOLVE, 0, 3, len(packed))) + packed + b"\0\0")

    def reverse(self, address: IPv4Address | IPv6Address) -> Peer:
        kind = 1 if address.version == 4 else 4
        return self.socks5(bytes((5, RESOLVE_PTR, 0, kind)) + address.packed + b"\0\0")

    def socks5(self, request: bytes) -> Peer:
        peer = self.ask(b"\5\1\0")
        peer.expect(b"\5\0")
        peer.send(request)
        return peer

    def record(self, action: Action = Action.GHBN) -> Any:
        """The one record there is; the client's place is free, and nothing is under way."""
        self.rig.settle()
        (record,) = self.rig.records
        assert (record.action, record.source_ip, record.source_port) == (action, CLIENT.host, CLIENT.port)
        assert record.interface == "proxy"
        assert not self.entrance.pending
        assert not len(self.rig.engine.look_ups)
        assert self.limits.concurrent(CLIENT.host) == 0
        assert not self.rig.session().is_busy
        return record


@pytest.fixture
def door(rig: Rig) -> Door:
    return Door(rig)


def address_reply(address: IPv4Address | IPv6Address) -> bytes:
    return b"\5\0\0" + (b"\1" if address.version == 4 else b"\4") + address.packed + b"\0\0"


def name_reply(name: str) -> bytes:
    return b"\5\0\0\3" + bytes((len(name),)) + name.encode() + b"\0\0"


def failure(code: int) -> bytes:
    return bytes((5, code, 0, 1)) + bytes(6)


def ended(peer: Peer, reply: bytes) -> None:
    peer.expect(reply)
    peer.expect_end()
    peer.close()


@pytest.mark.parametrize("found", ["127.0.0.1", "::1"])
def test_a_name(rig: Rig, door: Door, found: str) -> None:
    """The first address that is found; the connection ends with the reply."""
    rig.names.table["www.example"] = [found, "127.0.0.9"]
    ended(door.resolve("www.example"), address_reply(SocketAddress(found).address or HERE))
    record = door.record()
    assert (record.resultcode, record.rule) == (S_OK, "everything")
    assert (record.destination_name, record.destination_ip) == ("www.example", found)


def test_an_address(rig: Rig, door: Door) -> None:
    """It answers for itself, as Tor has it."""
    ended(door.resolve("127.0.0.1"), address_reply(HERE))
    assert door.record().destination_ip == "127.0.0.1"


def test_the_name_of_an_address(rig: Rig, door: Door) -> None:
    """Known at once, or looked up."""
    peer = door.reverse(HERE)
    rig.until(lambda: rig.names.looking_up)
    rig.clock.advance(2.0)
    rig.names.answer(Answer(Hostent("here.example", (), (HERE,))))
    ended(peer, name_reply("here.example"))
    record = door.record(Action.GHBA)
    assert (record.destination_ip, record.destination_name, record.connection_time) == (str(HERE), "here.example", 2000)
    ended(door.reverse(HERE), name_reply("here.example"))
    rig.names.answers[IPv6Address("::1")] = Answer(Hostent("six.example", (), ()))
    ended(door.reverse(IPv6Address("::1")), name_reply("six.example"))


def test_socks4a(rig: Rig, door: Door) -> None:
    """It has room for IPv4 alone, and no reverse look-up."""
    rig.names.table["www.example"] = ["::1", "127.0.0.1"]
    rig.names.table["six.example"] = ["::1"]
    ended(door.ask(b"\4\xf0\0\0\0\0\0\1u\0www.example\0"), b"\0\x5a\0\0\x7f\0\0\1")
    ended(door.ask(b"\4\xf0\0\0\0\0\0\1u\0six.example\0"), b"\0\x5b" + bytes(6))
    assert [record.resultcode for record in rig.records] == [S_OK, HRESULT_FROM_WIN32(WSANO_DATA)]
    ended(door.ask(b"\4\xf1\0\0\x7f\0\0\1u\0"), b"\0\x5b" + bytes(6))


@pytest.mark.parametrize("code", [WSAHOST_NOT_FOUND, WSATRY_AGAIN])
def test_what_is_not_found(rig: Rig, door: Door, code: int) -> None:
    """RFC 1928 has no code for it; "host unreachable" is Tor's too."""
    rig.names.table["www.example"] = code
    ended(door.resolve("www.example"), failure(4))
    assert door.record().resultcode == HRESULT_FROM_WIN32(code)
    rig.names.answers[HERE] = Answer(None, code)
    ended(door.reverse(HERE), failure(4))


def test_the_deadline(rig: Rig, door: Door) -> None:
    peer = door.reverse(HERE)
    rig.until(lambda: rig.names.looking_up)
    rig.clock.advance(20.0)
    ended(peer, failure(6))
    assert door.record(Action.GHBA).reason == "127.0.0.1 was not resolved in time"
    assert rig.names.cancelled == 1


def test_the_rules(rig: Rig, door: Door) -> None:
    """Of the question, and of the addresses that are found: the client hears of none that it could never reach."""
    rig.engine.policy = rig.policy(TO_OUTSIDE)
    rig.names.table["inside.example"] = ["127.0.0.1"]
    rig.names.table["both.example"] = ["127.0.0.1", str(THERE)]
    ended(door.resolve("inside.example"), failure(2))
    assert door.record().resultcode == FWX_E_POLICY_RULES_DENIED
    ended(door.resolve("both.example"), address_reply(THERE))
    ended(door.resolve("127.0.0.1"), failure(2))
    ended(door.reverse(HERE), failure(2))
    assert rig.names.looking_up == []
    rig.engine.policy = rig.policy()
    ended(door.resolve("both.example"), failure(2))


def test_the_events(rig: Rig, door: Door) -> None:
    """B2.25 to B2.27: each twice, for who asks for them; the answer is in the second."""
    seen: list[Any] = []
    rig.host("watching", mask=NAMES, handle=lambda event: seen.append(event))
    rig.names.table["www.example"] = ["127.0.0.1"]
    rig.names.answers[HERE] = Answer(Hostent("here.example", (), (HERE,)))
    ended(door.resolve("www.example"), address_reply(HERE))
    ended(door.reverse(HERE), name_reply("here.example"))
    assert [event.EventType for event in seen] == [fwx_GetHostByName] * 2 + [fwx_GetHostByAddr] * 2
    assert {event.EventSource for event in seen} == {fwxSourceWSP}
    before, after = (event.Parameters.GetHostByAddr for event in seen[2:])
    assert (before.fBeforeAction, before.Hostent, before.Address, before.AddressType) == (True, None, HERE.packed, 2)
    assert (after.fBeforeAction, after.Hostent.name) == (False, "here.example")


@pytest.mark.parametrize("before", [True, False])
def test_a_filter_answers(rig: Rig, door: Door, before: bool) -> None:
    """B2.28: in the place of the name service, or of its answer."""

    def handle(event: Any) -> None:
        if event.EventType == fwx_GetHostByName:
            details, answer = event.Parameters.GetHostByName, Hostent("www.example", (), (HERE,))
        else:
            details, answer = event.Parameters.GetHostByAddr, Hostent("said.example", (), ())
        if details.fBeforeAction is before:
            details.piGetXByY.SetResult(answer)

    rig.host("answering", mask=NAMES, handle=handle)
    if not before:
        rig.names.table["www.example"] = WSAHOST_NOT_FOUND
        rig.names.answers[HERE] = Answer(Hostent("true.example", (), ()))
    ended(door.resolve("www.example"), address_reply(HERE))
    ended(door.reverse(HERE), name_reply("said.example"))
    assert rig.names.asked == rig.names.looking_up == []


@pytest.mark.parametrize("before", [True, False])
def test_a_filter_refuses(rig: Rig, door: Door, before: bool) -> None:
    """B2.28: to the client there is no such host."""

    def handle(event: Any) -> None:
        by_name = event.EventType == fwx_GetHostByName
        details = event.Parameters.GetHostByName if by_name else event.Parameters.GetHostByAddr
        if details.fBeforeAction is before:
            details.piGetXByY.Deny(0)

    rig.host("refusing", mask=NAMES, handle=handle)
    rig.names.table["www.example"] = ["127.0.0.1"]
    rig.names.answers[HERE] = Answer(Hostent("here.example", (), ()))
    ended(door.resolve("www.example"), failure(4))
    assert door.record().reason == "looking up www.example was denied by filter 'refusing'"
    ended(door.reverse(HERE), failure(4))
    assert rig.records[-1].resultcode == HRESULT_FROM_WIN32(WSAHOST_NOT_FOUND)


@pytest.mark.parametrize("name", ["a\r\nb.example", "", "a" * 64, "127.0.0.1", "b\xfccher.example", "a." * 130])
def test_a_hostile_name(rig: Rig, door: Door, name: str) -> None:
    """Whoever owns the address has written it: what no host can be called is not passed on."""
    rig.names.answers[HERE] = Answer(Hostent(name, (), (HERE,)))
    ended(door.reverse(HERE), failure(4))
    assert door.record(Action.GHBA).resultcode == HRESULT_FROM_WIN32(WSANO_RECOVERY if name else WSANO_DATA)


def test_so_many_at_a_time(rig: Rig, door: Door) -> None:
    """B5.17: forward and reverse together."""
    peers = [door.resolve(f"{number}.example") for number in range(MOST_LOOK_UPS - 1)] + [door.reverse(HERE)]
    rig.until(lambda: len(rig.names.asked) == MOST_LOOK_UPS - 1 and rig.names.looking_up)
    ended(door.reverse(THERE), failure(1))
    ended(door.resolve("more.example"), failure(1))
    assert {record.resultcode for record in rig.records} == {FWX_E_DNS_QUOTA_EXCEEDED}
    for peer in peers:
        peer.close()
    rig.settle()
    assert rig.names.cancelled == MOST_LOOK_UPS
    assert not len(rig.engine.look_ups)


def test_a_client_that_goes_away(rig: Rig, door: Door) -> None:
    peer = door.resolve("slow.example")
    rig.until(lambda: rig.names.asked)
    peer.close()
    rig.settle()
    assert rig.names.cancelled == 1
    assert door.record().resultcode == HRESULT_FROM_WIN32(WSAECONNRESET)
    rig.names.asked.pop()([SocketAddress(HERE)], 0)


def test_when_the_service_stops(rig: Rig, door: Door) -> None:
    peer = door.resolve("slow.example")
    rig.until(lambda: rig.names.asked)
    door.entrance.close()
    peer.expect_end()
    assert (rig.names.cancelled, rig.records) == (1, [])
    assert not rig.session().is_busy


def test_while_the_log_fails(rig: Rig, door: Door) -> None:
    """B9.18."""
    rig.engine.accepting = lambda: False
    ended(door.resolve("www.example"), failure(1))
    assert rig.records[-1].resultcode == FWX_E_IS_BUSY
    assert rig.names.asked == []


def test_the_session(rig: Rig, door: Door) -> None:
    """It lasts as long as the look-up, and a minute more (B1.16)."""
    rig.host("watching", mask=NAMES)
    peer = door.resolve("slow.example")
    rig.until(lambda: rig.names.asked)
    session = rig.session()
    rig.sessions.rest(session)
    rig.clock.advance(19.0)
    assert session.is_busy
    rig.names.asked.pop()([SocketAddress(HERE)], 0)
    ended(peer, address_reply(HERE))
    rig.clock.advance(59.0)
    assert not session.terminated
    rig.clock.advance(1.0)
    assert session.terminated
