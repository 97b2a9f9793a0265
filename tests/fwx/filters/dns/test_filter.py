"""The filter in a firewall in memory, on TCP and on a published UDP port."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwx.datagram_listener import DatagramListener
from fwx.filter_loader import FilterOptionsError, make_filter
from fwx.filters.dns import DnsFilter
from fwx.filters.dns.stream import FrameError, Frames
from fwx.impl.deadline import DeadlineQueue
from fwx.interfaces import SocketAddress
from fwx.limits import AddressLimits, Figures, LimitTable
from fwx.testing import MemoryFirewall, Playbook
from tests.dns_wire import message, query, question, response

PORT = SocketAddress("192.0.2.1", 53)
SERVER = SocketAddress("198.51.100.53", 53)
IDLE_SECONDS = 60.0


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def refusal(number: int = 7) -> bytes:
    return message(question("www.bad"), number=number, flags=0x8105)


# TCP.


@pytest.fixture
def book(fwx_playbook: Any) -> Playbook:
    return fwx_playbook(DnsFilter, {"refuse_names": ["bad"]})


def test_queries_and_responses(book: Playbook) -> None:
    one, two = query(number=1), query("two.example", number=2)
    book.client_sends(framed(one) + framed(two)[:9]).server_gets(framed(one))
    book.client_sends(framed(two)[9:]).server_gets(framed(two))
    told = framed(response("two.example", number=2)) + framed(response(number=1))
    book.server_sends(told[:-1]).client_gets(framed(response("two.example", number=2)))
    book.server_sends(told[-1:]).client_gets(framed(response(number=1)))
    book.client_ends().server_sees_end().server_ends().client_sees_end()
    book.play()


def test_a_query_that_is_refused(book: Playbook, fwx_firewall: MemoryFirewall) -> None:
    book.client_sends(framed(query("www.bad")) + framed(query()))
    book.client_gets(framed(refusal())).server_gets(framed(query())).alerts(1)
    book.client_sends(framed(query() + b"x")).client_gets(framed(message(number=7, flags=0x8101, counts=(0, 0, 0, 0))))
    book.server_sends(framed(response()[:-1])).client_gets(framed(message(number=7, flags=0x8102, counts=(0, 0, 0, 0))))
    book.client_resets().server_sees_reset()
    book.play()
    assert fwx_firewall.records[0].reason == "reset by a peer; dns: name www.bad (and 2 more)"
    (alert,) = fwx_firewall.alerts
    assert (alert.event, alert.key, alert.message) == ("DNS refused", "192.0.2.1", "client 192.0.2.1: name www.bad")


@pytest.mark.parametrize("size", [0, 11])
def test_a_length_that_no_message_has(book: Playbook, fwx_firewall: MemoryFirewall, size: int) -> None:
    """What was right before it has passed; then the connection ends, for the rest has no beginning."""
    book.client_sends(framed(query()) + framed(bytes(size)) + framed(query()))
    book.server_gets(framed(query())).client_sees_reset().server_sees_reset().alerts(1)
    book.play()
    assert fwx_firewall.records[0].reason.endswith(f"dns: a message of {size} bytes")


def test_such_a_length_from_the_server(book: Playbook) -> None:
    book.client_sends(framed(query())).server_gets(framed(query()))
    book.server_sends(framed(b"")).client_sees_reset().server_sees_reset().alerts(1)
    book.play()


def test_half_a_message_is_not_passed_on(book: Playbook) -> None:
    book.client_sends(framed(query())[:-1])
    book.client_ends().server_sees_end().server_ends().client_sees_end()
    book.play()


def test_a_flood_of_refusals_to_one_that_does_not_read(fwx_firewall: MemoryFirewall) -> None:
    fwx_firewall.start(lambda: make_filter(DnsFilter, {"refuse_names": ["bad"]}))
    client, _ = fwx_firewall.open().established()
    with pytest.raises(AssertionError, match="takes no more"):
        client.send(framed(query("www.bad")) * (1 << 16))
    client.reset()


def frames_of(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    frames, taken = Frames(), []
    try:
        for piece in pieces:
            for one in frames.feed(piece):
                taken.append(one)  # noqa: PERF402  those before the fault count
    except FrameError:
        return taken, True
    return taken, False


@given(
    sizes=st.lists(st.sampled_from([0, 11, 12, 13, 300]), max_size=5), cuts=st.lists(st.integers(0, 900), max_size=4)
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_cut_gives_the_same_messages(sizes: list[int], cuts: list[int]) -> None:
    data = b"".join(framed(bytes([size & 255]) * size) for size in sizes)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole = frames_of([data])
    assert frames_of([data[start:stop] for start, stop in itertools.pairwise(edges)]) == whole
    assert frames_of([data[place : place + 1] for place in range(len(data))]) == whole


# UDP.


class Outside:
    """A datagram socket of the world."""

    def __init__(self, firewall: MemoryFirewall, address: SocketAddress) -> None:
        self._firewall = firewall
        self.datagrams = firewall.network.datagram(address.family)
        self.datagrams.bind(address.sockaddr)

    def send(self, data: bytes, target: SocketAddress = PORT) -> None:
        self.datagrams.send_to(data, target.sockaddr)
        self._firewall.loop.run()

    def receive(self) -> list[tuple[bytes, SocketAddress]]:
        self._firewall.loop.run()
        received = []
        while self.datagrams.has_data():
            data, source = self.datagrams.receive()
            received.append((data, SocketAddress.from_sockaddr(source)))
        return received

    def data(self) -> list[bytes]:
        return [data for data, _ in self.receive()]


class Published:
    """A name server behind a published port, with the filter between."""

    def __init__(self, firewall: MemoryFirewall) -> None:
        loop = firewall.loop
        self.idle = DeadlineQueue(IDLE_SECONDS, loop.time, loop.call_later)
        limits = AddressLimits(LimitTable(Figures()), loop.time)
        self.listener = DatagramListener(
            "dns", PORT, SERVER, firewall.network, firewall.gateway, self.idle, limits, lambda: True
        )
        self.listener.start()
        self.server = Outside(firewall, SERVER)
        self.client = Outside(firewall, SocketAddress("203.0.113.1", 1000))
        self._firewall = firewall

    def close(self) -> None:
        self.listener.close()
        self._firewall.loop.run()
        self.idle.close()


@pytest.fixture
def published(fwx_firewall: MemoryFirewall) -> Iterator[Published]:
    fwx_firewall.start(lambda: make_filter(DnsFilter, {"refuse_names": ["bad"]}))
    opened = Published(fwx_firewall)
    yield opened
    opened.close()


def test_datagrams(published: Published) -> None:
    published.client.send(query())
    ((asked, source),) = published.server.receive()
    assert asked == query()
    published.server.send(response(), source)
    assert published.client.receive() == [(response(), PORT)]
    published.server.send(response(), source)
    assert published.client.receive() == []


def test_datagrams_that_are_refused(published: Published, fwx_firewall: MemoryFirewall) -> None:
    published.client.send(query("www.bad"))
    published.client.send(query() + b"x")
    published.client.send(b"x")
    published.client.send(b"")
    published.client.send(response())
    published.client.send(query())
    told = published.client.receive()
    assert [data for data, _ in told] == [refusal(), message(flags=0x8101, counts=(0, 0, 0, 0))]
    assert {source for _, source in told} == {PORT}
    ((asked, source),) = published.server.receive()
    assert asked == query()
    published.server.send(b"garbage", source)
    published.server.send(response(number=8), source)
    published.server.send(response(), source)
    assert published.client.data() == [response()]
    published.listener.close()
    fwx_firewall.loop.run()
    (record,) = fwx_firewall.records
    assert (record.filters, record.reason) == ("filter", "its listener was closed; dns: name www.bad (and 6 more)")
    assert len(fwx_firewall.alerts) == 1


def test_a_playbook_of_datagrams(fwx_playbook: Any) -> None:
    """Through the proxy port: what is refused goes nowhere and is answered, the server's garbage is not passed on."""
    book = fwx_playbook(DnsFilter, {"refuse_names": ["bad"]}, target=SERVER, transport="udp")
    book.client_sends(query()).server_gets(query()).server_sends(response()).client_gets(response())
    book.client_sends(query("www.bad")).client_gets(refusal()).alerts(1)
    book.client_sends(query(number=8)).server_gets(query(number=8)).server_sends(b"garbage")
    book.server_sends(response(number=8)).client_gets(response(number=8))
    book.play()


def test_a_server_that_is_not_there(published: Published) -> None:
    """What the network reports is no fault of the filter."""
    published.server.datagrams.close(True)
    published.client.send(query())
    published.client.send(query(number=8))
    assert published.client.receive() == []


def test_datagrams_through_two_filters(fwx_firewall: MemoryFirewall) -> None:
    """The addresses go along the chain."""
    for name in ("one", "two"):
        fwx_firewall.start(lambda: make_filter(DnsFilter, {"refuse_names": ["bad"]}), name)
    opened = Published(fwx_firewall)
    opened.client.send(query("www.bad"))
    opened.client.send(query())
    assert opened.client.data() == [refusal()]
    ((asked, source),) = opened.server.receive()
    assert asked == query()
    opened.server.send(response(), source)
    assert opened.client.receive() == [(response(), PORT)]
    opened.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"types": ["B"]}, "types: 'B' expected a type of records"),
        ({"opcodes": ["ASK"]}, "opcodes"),
        ({"classes": ["XX"]}, "classes"),
        ({"refuse_names": ["a..b"]}, "refuse_names: 'a..b' expected a domain"),
        ({"refuse_names": ["bücher.example"]}, "expected a domain in ASCII"),
        ({"name_length": 256}, "name_length"),
        ({"udp_size": 100}, "udp_size"),
        ({"on_refusal": "shout"}, "on_refusal"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], words: str) -> None:
    with pytest.raises(FilterOptionsError) as error:
        make_filter(DnsFilter, options)
    assert words in str(error.value)


def test_a_type_that_is_named_is_not_refused(fwx_firewall: MemoryFirewall) -> None:
    fwx_firewall.start(lambda: make_filter(DnsFilter, {"types": ["ANY"]}))
    client, server = fwx_firewall.open().established()
    client.send(framed(query(kind=255)) + framed(query(kind=1)))
    assert server.receive() == framed(query(kind=255))
    client.close()
    server.close()
