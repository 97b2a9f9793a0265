"""Packets and blocks, by a reader that knows nothing of how they were made."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.capture.flow import Flow
from fwx.filters.capture.packet import ACK, MOST_IN_PACKET, PSH, Ends, Segment, checksum
from fwx.filters.capture.pcapng import packet, section
from tests.pcapng_reader import _sum, packets_of, streams_of

CLIENT, SERVER = ("192.0.2.1", 40000), ("198.51.100.1", 80)


def written(path: Path, flow: Flow, *parts: object) -> Path:
    blocks = [section("fwx capture", "test")]
    for part in parts:
        blocks += [packet(7, flow.ends.packet(segment), flow.comment) for segment in part]  # type: ignore[attr-defined]
    path.write_bytes(b"".join(blocks))
    return path


@given(data=st.binary(max_size=70))
def test_the_checksum_is_that_of_the_text_of_the_rfc(data: bytes) -> None:
    slow = _sum(data) if any(data) else 0
    assert checksum(data) == (0xFFFF - slow if slow else 0) or (slow == 0 and checksum(data) == 0)
    if len(data) % 2 == 0 and any(data):
        assert _sum(data + checksum(data).to_bytes(2, "big")) == 0xFFFF


@pytest.mark.parametrize(
    ("client", "server", "shown"),
    [
        (CLIENT, SERVER, (CLIENT, SERVER)),
        (("2001:db8::1", 1), ("2001:db8::2", 2), (("2001:db8::1", 1), ("2001:db8::2", 2))),
        (CLIENT, ("2001:db8::2", 2), (("::ffff:192.0.2.1", 40000), ("2001:db8::2", 2))),
    ],
)
def test_a_conversation(tmp_path: Path, client: tuple[str, int], server: tuple[str, int], shown: object) -> None:
    flow = Flow(Ends(client, server), "rule: x, user: é" + "y" * 2000)
    large = bytes(range(256)) * 1000 + b"z"
    path = written(
        tmp_path / "f", flow, flow.opening(), flow.data(True, b"hello"), flow.data(False, large), flow.end(True),
        flow.data(False, b"more"), flow.end(False), flow.reset(False), flow.reset(True), flow.end(True),
    )  # fmt: skip
    packets = packets_of(path)
    assert [each.flags for each in packets[:4]] == ["S", "SA", "A", "PA"]
    assert [each.flags for each in packets[-4:]] == ["FA", "PA", "FA", "RA"]
    assert max(len(each.data) for each in packets) == MOST_IN_PACKET
    one, other = streams_of(packets).items()
    assert str(one[0]).replace("::ffff:c000:201", "::ffff:192.0.2.1") == str(shown)
    assert (one[1], other[1]) == (b"hello", large + b"more")
    assert {each.nanoseconds for each in packets} == {7}
    assert packets[0].comment.startswith("rule: x, user: éyyy")
    assert len(packets[0].comment.encode()) == 1000


def test_numbers_go_round() -> None:
    flow = Flow(Ends(CLIENT, SERVER), "")
    flow._next[True] = (1 << 32) - 3
    first, second = [*flow.data(True, b"hello"), *flow.data(True, b"x")]
    assert (first.number, second.number) == ((1 << 32) - 3, 2)
    flow.ends.packet(second)


@given(data=st.binary(max_size=300), number=st.integers(0, (1 << 32) - 1))
def test_any_packet_is_right(tmp_path_factory: pytest.TempPathFactory, data: bytes, number: int) -> None:
    path = tmp_path_factory.getbasetemp() / "any.pcapng"
    segment = Segment(False, PSH | ACK, number, number, data)
    block = packet(1 << 40, Ends(CLIENT, SERVER).packet(segment))
    path.write_bytes(section("fwx capture", "") + block)
    (read,) = packets_of(path)
    assert (read.source, read.target, read.number, read.data, read.comment) == (SERVER, CLIENT, number, data, "")
