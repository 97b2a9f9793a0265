"""What the service orders from the maker of transparent sockets: whole or refused."""

from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.interfaces import SocketAddress
from fwx.transparent.maker import ENDED, REFUSED, serve
from fwx.transparent.orders import (
    Answer,
    Kind,
    Order,
    OrderError,
    pack_answer,
    pack_order,
    unpack_answer,
    unpack_order,
)

ORDERS = [
    Order(Kind.STREAM, 1, SocketAddress("192.0.2.1", 0)),
    Order(Kind.DATAGRAM, 0xFFFFFFFF, SocketAddress("2001:db8::1", 0)),
    Order(Kind.ANSWER, 7, SocketAddress("192.0.2.1", 53)),
    Order(Kind.ANSWER, 8, SocketAddress("2001:db8::1", 65535)),
]


@pytest.mark.parametrize("order", ORDERS)
def test_orders(order: Order) -> None:
    assert unpack_order(pack_order(order)) == order


@pytest.mark.parametrize("answer", [Answer(0, 0), Answer(0xFFFFFFFF, 98)])
def test_answers(answer: Answer) -> None:
    assert unpack_answer(pack_answer(answer)) == answer


def test_a_name_is_no_address() -> None:
    with pytest.raises(ValueError, match=r"www\.example:1 is no literal address"):
        pack_order(Order(Kind.ANSWER, 1, SocketAddress("www.example", 1)))


WHOLE = pack_order(ORDERS[0])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an order of 0 bytes"),
        (WHOLE[:-1], "an order of 23 bytes"),
        (WHOLE + b"\0", "an order of 25 bytes"),
        (b"\4" + WHOLE[1:], "kind 4 is unknown"),
        (WHOLE[:1] + b"\5" + WHOLE[2:], "no address of IP version 5"),
        (WHOLE[:-1] + b"\1", "no address of IP version 4"),
        (WHOLE[:2] + b"\0\1" + WHOLE[4:], "STREAM with port 1"),
        (b"\3" + WHOLE[1:], "ANSWER with port 0"),
    ],
)
def test_what_is_no_order(data: bytes, words: str) -> None:
    with pytest.raises(OrderError, match=words):
        unpack_order(data)


@given(st.binary(max_size=64))
def test_anything_is_an_order_or_refused(data: bytes) -> None:
    try:
        order = unpack_order(data)
    except OrderError:
        return
    assert pack_order(order) == data


@given(st.binary(max_size=64))
def test_anything_is_an_answer_or_refused(data: bytes) -> None:
    try:
        answer = unpack_answer(data)
    except OrderError:
        return
    assert pack_answer(answer) == data


def test_the_maker_ends_when_it_is_told_nonsense(capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.send(b"nonsense")
        assert serve(theirs) == REFUSED
    assert "transparent sockets: an order of 8 bytes" in capfd.readouterr().err


def test_the_maker_says_what_the_kernel_refuses_and_goes_on() -> None:
    """An address of no interface needs IP_TRANSPARENT or fails; whoever runs the test, each order has its answer."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    codes: list[int] = []
    with ours, theirs:
        maker = threading.Thread(target=lambda: codes.append(serve(theirs)))
        maker.start()
        for order in ORDERS:
            ours.send(pack_order(order))
            data, descriptors, _, _ = socket.recv_fds(ours, 64, 1)
            answer = unpack_answer(data)
            assert answer.serial == order.serial
            assert bool(answer.code) != bool(descriptors)
            for descriptor in descriptors:
                with socket.socket(fileno=descriptor) as made:
                    assert made.getsockname()[0] == order.address.host
        ours.shutdown(socket.SHUT_RDWR)
        maker.join(10)
    assert codes == [ENDED]
