"""What the service and its helper say to each other, and what neither takes from the other."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.packetfilter.hole import Hole, check_hole
from fwx.packetfilter.messages import (
    LARGEST_BODY,
    MOST_RECORDS,
    MOST_TEXT,
    ORDERS,
    Answer,
    Change,
    Frames,
    Kind,
    MessageError,
    Order,
    pack_answer,
    pack_order,
    unpack_answer,
    unpack_order,
)

PORTS = st.integers(1, 0xFFFF)
HOLES = st.one_of(
    *(
        st.builds(
            lambda protocol, local, port, far: Hole(protocol, local, port, *far),
            st.sampled_from((6, 17)),
            addresses,
            PORTS,
            st.one_of(
                st.just((None, 0)), st.tuples(addresses.filter(lambda address: not address.is_unspecified), PORTS)
            ),
        )
        for addresses in (st.ip_addresses(v=4), st.ip_addresses(v=6))
    )
)
ORDER_STRATEGY = st.one_of(
    st.builds(
        lambda serial, changes: Order(Kind.CHANGE, serial, tuple(changes)),
        st.integers(0, 0xFFFFFFFF),
        st.lists(st.builds(Change, st.booleans(), HOLES), max_size=20),
    ),
    st.builds(
        lambda kind, serial: Order(kind, serial),
        st.sampled_from((Kind.BEAT, Kind.REMOVE, Kind.LOCK)),
        st.integers(0, 0xFFFFFFFF),
    ),
)
HOLE = Hole(6, IPv4Address("10.0.0.1"), 80, IPv4Address("10.0.0.2"), 4000)
# Where the parts of a record are, behind the length and the header.
RECORD = 4 + 9


def bodies(data: bytes) -> list[bytes]:
    return list(Frames().feed(data))


@given(st.lists(ORDER_STRATEGY, max_size=4), st.integers(1, 50))
def test_orders_arrive_as_they_were_sent_however_they_are_cut(orders: list[Order], size: int) -> None:
    data = b"".join(map(pack_order, orders))
    frames = Frames()
    got = [body for start in range(0, len(data), size) for body in frames.feed(data[start : start + size])]
    assert list(map(unpack_order, got)) == orders


@given(st.sampled_from(sorted(set(Kind) - ORDERS)), st.integers(0, 0xFFFFFFFF), st.integers(0, 200), st.text())
def test_answers_arrive_as_they_were_sent(kind: Kind, serial: int, code: int, text: str) -> None:
    (body,) = bodies(pack_answer(Answer(kind, serial, code, text)))
    assert unpack_answer(body) == Answer(kind, serial, code, text)


def test_a_long_text_is_cut() -> None:
    (body,) = bodies(pack_answer(Answer(Kind.NOTE, text="é" * MOST_TEXT)))
    assert len(unpack_answer(body).text.encode()) <= MOST_TEXT + 3


@given(st.binary(max_size=200))
def test_garbage_is_an_order_or_refused(body: bytes) -> None:
    """What is taken for an order packs into the very bytes that came: nothing is read in two ways."""
    try:
        order = unpack_order(body)
    except MessageError:
        return
    assert pack_order(order)[4:] == body
    assert all(check_hole(change.hole) for change in order.changes)


@given(st.binary(max_size=200))
def test_garbage_is_an_answer_or_refused(body: bytes) -> None:
    try:
        answer = unpack_answer(body)
    except MessageError:
        return
    assert answer.kind not in ORDERS


def forged(offset: int, value: bytes, hole: Hole = HOLE) -> bytes:
    """An order to open *hole* with some bytes of its record put in the place of what it has."""
    data = bytearray(pack_order(Order(Kind.CHANGE, 1, (Change(True, hole),))))
    data[RECORD + offset : RECORD + offset + len(value)] = value
    return bytes(data[4:])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (forged(0, b"\3"), "where 1 or 2"),
        (forged(1, b"\x01"), "neither TCP nor UDP"),
        (forged(1, b"\x84"), "neither TCP nor UDP"),
        (forged(2, b"\5"), "IP version 5"),
        (forged(2, b"\6", Hole(17, IPv6Address("::1"), 1)._replace(protocol=1)), "neither"),
        (forged(3, b"\2"), "0 or 1"),
        (forged(3, b"\0"), "said not to be there"),
        (forged(4, b"\0\0"), "port 0"),
        (forged(6, b"\0\0"), "remote port 0"),
        (forged(12, b"\1"), "IP version 4"),
        (forged(24, b"\0\0\0\0"), "does not suit"),
        (forged(6, b"\0\1", Hole(6, IPv4Address("10.0.0.1"), 80)), "without its address"),
        (pack_order(Order(Kind.BEAT, 1, (Change(True, HOLE),)))[4:], "BEAT with 1 records"),
        (pack_order(Order(Kind.CHANGE, 1, (Change(True, HOLE),)))[4:-1], "bytes for 1 records"),
        (pack_order(Order(Kind.CHANGE, 1, (Change(True, HOLE),)))[4:] + b"\0", "bytes for 1 records"),
        (pack_order(Order(Kind.CHANGE, 1, (Change(True, HOLE),) * (MOST_RECORDS + 1)))[4:], "1025 records"),
        (pack_answer(Answer(Kind.DONE))[4:], "DONE is no order"),
        (b"\x63" + bytes(8), "kind 99"),
        (b"", "0 bytes"),
    ],
)
def test_a_forged_order_is_refused(body: bytes, words: str) -> None:
    """The helper takes openings of one port each, and nothing else."""
    with pytest.raises(MessageError, match=words):
        unpack_order(body)


def test_the_helper_gives_no_orders() -> None:
    with pytest.raises(MessageError, match="no answer"):
        unpack_answer(pack_order(Order(Kind.REMOVE, 1))[4:])
    with pytest.raises(MessageError, match="a text of"):
        unpack_answer(pack_answer(Answer(Kind.NOTE))[4:] + b"x" * (MOST_TEXT + 1))


def test_an_endless_body_is_refused_at_its_length() -> None:
    with pytest.raises(MessageError, match="a body of"):
        bodies((LARGEST_BODY + 1).to_bytes(4, "big"))
