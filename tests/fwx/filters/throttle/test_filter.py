"""The filter in a firewall in memory, where a second is as long as the test says."""

from __future__ import annotations

from typing import Any

import pytest

from fwx.filter_loader import FilterOptionsError, make_filter
from fwx.filters.throttle import Throttle
from fwx.testing import MemoryFirewall, Playbook

KB = 1000


def started(firewall: MemoryFirewall, **options: Any) -> None:
    firewall.start(lambda: make_filter(Throttle, options))


def test_the_burst_and_then_the_rate(fwx_playbook: Any) -> None:
    book: Playbook = fwx_playbook(Throttle, {"up": 1000, "burst": 600})
    book.client_sends(b"x" * 2600).server_gets(b"x" * 512)
    book.passes(0.95).server_gets(b"x" * 1024)
    book.passes(1.03).server_gets(b"x" * 1024)
    book.passes(0.1).server_gets(b"x" * 40)
    book.server_sends(b"y" * 5000).client_gets(b"y" * 5000)
    book.client_ends().server_sees_end().server_ends().client_sees_end()
    book.play()


def test_the_other_direction(fwx_playbook: Any) -> None:
    book: Playbook = fwx_playbook(Throttle, {"down": 100})
    book.client_sends(b"x" * 5000).server_gets(b"x" * 5000)
    book.server_sends(b"y" * 150).client_gets(b"y" * 100)
    book.passes(0.4)
    book.passes(0.11).client_gets(b"y" * 50)
    book.server_ends().client_sees_end().client_ends().server_sees_end()
    book.play()


def test_without_a_rate_it_stands_aside(fwx_firewall: MemoryFirewall) -> None:
    started(fwx_firewall)
    client, server = fwx_firewall.open().established()
    client.close()
    server.close()
    assert fwx_firewall.records[0].filters == ""


def received_in(firewall: MemoryFirewall, seconds: float, *servers: Any) -> list[int]:
    """How many bytes come to each server in that time."""
    counts = [0] * len(servers)
    for _ in range(20):
        firewall.loop.advance(seconds / 20)
        counts = [count + len(server.receive()) for count, server in zip(counts, servers, strict=True)]
    return counts


def filled(firewall: MemoryFirewall, count: int, **keys: Any) -> tuple[Any, Any]:
    """A connection with so many bytes on the way to the server."""
    client, server = firewall.open(**keys).established()
    client.send(b"x" * count)
    return client, server


def test_each_connection_by_itself(fwx_firewall: MemoryFirewall) -> None:
    started(fwx_firewall, up=10 * KB, burst=1 * KB)
    opened = [filled(fwx_firewall, 50 * KB) for _ in range(3)]
    counts = received_in(fwx_firewall, 2, *(server for _, server in opened))
    assert all(20 * KB <= count <= 21 * KB for count in counts), counts
    for client, _ in opened:
        client.reset()


@pytest.mark.parametrize(
    ("per", "same", "other"),
    [
        ("address", {"client": "192.0.2.7"}, {"client": "192.0.2.8"}),
        ("user", {"client": "192.0.2.7", "user": "ann"}, {"client": "192.0.2.7", "user": "bob"}),
        ("user", {"client": "192.0.2.7"}, {"client": "192.0.2.8"}),
    ],
)
def test_a_rate_that_is_shared(fwx_firewall: MemoryFirewall, per: str, same: Any, other: Any) -> None:
    """Two get the half each; another one has its own."""
    started(fwx_firewall, up=10 * KB, burst=1 * KB, per=per)
    opened = [filled(fwx_firewall, 60 * KB, **keys) for keys in (same, same, other)]
    one, two, three = received_in(fwx_firewall, 4, *(server for _, server in opened))
    assert 40 * KB <= one + two <= 41 * KB
    assert abs(one - two) <= 1024
    assert 40 * KB <= three <= 41 * KB
    for client, _ in opened:
        client.reset()


def test_a_new_connection_gets_no_new_burst(fwx_firewall: MemoryFirewall) -> None:
    started(fwx_firewall, up=1 * KB, burst=10 * KB, per="address")
    total = 0
    for _ in range(10):
        client, server = filled(fwx_firewall, 10 * KB)
        total += len(server.receive())
        client.reset()
    assert total <= 11 * KB


def test_a_fast_sender_is_held_back(fwx_firewall: MemoryFirewall) -> None:
    """Bounded buffers, not a growing queue."""
    started(fwx_firewall, up=1 * KB)
    client, _ = fwx_firewall.open().established()
    with pytest.raises(AssertionError, match="takes no more"):
        client.send(b"x" * (4 << 20))
    client.reset()


def test_a_reset_ends_the_wait(fwx_firewall: MemoryFirewall) -> None:
    started(fwx_firewall, up=1 * KB)
    client, server = fwx_firewall.open().established()
    client.send(b"x" * 10000)
    server.reset()
    assert (client.receive(), client.was_reset) == (b"", True)
    assert len(fwx_firewall.records) == 1


def test_the_end_comes_behind_the_data(fwx_playbook: Any) -> None:
    book: Playbook = fwx_playbook(Throttle, {"up": 1000, "burst": 512})
    book.client_sends(b"x" * 1024).server_gets(b"x" * 512)
    book.client_ends()
    book.passes(0.5)
    book.passes(0.1).server_gets(b"x" * 512).server_sees_end()
    book.server_ends().client_sees_end()
    book.play()


@pytest.mark.parametrize("options", [{"up": -1}, {"per": "planet"}, {"burst": "much"}])
def test_options_that_are_wrong(options: dict[str, Any]) -> None:
    with pytest.raises(FilterOptionsError):
        make_filter(Throttle, options)
