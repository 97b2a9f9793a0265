"""What passes and what is announced, whatever the two sides say and in whatever pieces it comes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx import sdk
from fwx.filters.connector.announcer import RefusedError
from fwx.filters.connector.dialogue import MOST_AT_ONCE, Dialogue
from fwx.filters.connector.signals import CONNECTOR, Place, Signals

OUTSIDE = sdk.SocketAddress("203.0.113.7", 50000)
SIGNAL = re.compile(rb"(?:CONNECT|LISTEN) (?:tcp|udp) (?:[0-9.]+ )?([0-9]+)\r?")


class Ports:
    """Announces everything from port 1024 up, at another place."""

    def __init__(self) -> None:
        self.announced: list[Place] = []

    def announce(self, place: Place) -> sdk.SocketAddress:
        if place.port < 1024:
            raise RefusedError("low")
        self.announced.append(place)
        return OUTSIDE


SIGNALS = (b"CONNECT ", b"LISTEN ", b"tcp ", b"udp ", b"sctp ", b"192.0.2.1 ", b"1234", b"80", b"0")
WORDS = st.sampled_from((*SIGNALS, b"\n", b"\r\n", b"\r", b"\x00", b"x" * 70, b"HELLO", b"\xff"))
STREAM = st.lists(WORDS, max_size=30).map(b"".join)


def said(client: bytes, server: bytes, size: int, answer: bytes) -> tuple[Dialogue, Ports]:
    ports = Ports()
    dialogue = Dialogue(Signals(CONNECTOR), ports, 64, answer)
    for data, take in ((client, dialogue.from_client), (server, dialogue.from_server)):
        for start in range(0, len(data), size):
            take(data[start : start + size])
    return dialogue, ports


@given(STREAM, STREAM, st.integers(1, 7), st.sampled_from([b"", b"NO\r\n"]))
def test_nothing_passes_by_mistake(client: bytes, server: bytes, size: int, answer: bytes) -> None:
    """The outcome does not depend on the pieces; only whole lines pass; no signal passes that was not announced."""
    dialogue, ports = said(client, server, size, answer)
    whole, announced = said(client, server, 1 << 20, answer)
    assert (dialogue.to_server, dialogue.over, dialogue.notes) == (whole.to_server, whole.over, whole.notes)
    assert (dialogue.to_client, ports.announced) == (whole.to_client, announced.announced)
    assert all(place.port >= 1024 for place in ports.announced)
    for passed in (dialogue.to_server, dialogue.to_client):
        assert not passed or passed.endswith(b"\n")
        assert b"\x00" not in passed
    told = [line for line in bytes(dialogue.to_server).split(b"\n") if SIGNAL.fullmatch(line)]
    assert all(SIGNAL.fullmatch(line)[1] == b"50000" for line in told)  # type: ignore[index]  it has matched
    assert len(told) == sum(place.signal.said_by == "client" for place in ports.announced)
    if dialogue.over:
        assert dialogue.notes


def test_after_the_end_nothing_is_taken() -> None:
    dialogue, ports = said(b"\x00", b"", 10, b"")
    dialogue.from_client(b"CONNECT tcp 1234\n")
    dialogue.from_server(b"CONNECT tcp 1234\n")
    assert (dialogue.over, dialogue.to_server, dialogue.to_client, ports.announced) == (True, b"", b"", [])
    dialogue.go_on()
    dialogue.give_up()
    assert not dialogue.to_client


@pytest.mark.parametrize(("line", "answer"), [(b"CONNECT tcp 5000\n", b""), (b"CONNECT tcp 22\n", b"NO\r\n")])
def test_no_flood_holds_everybody_up(line: bytes, answer: bytes) -> None:
    """So many signals may come at a time, and as many the next time; more end the connection, answered or not."""
    ports = Ports()
    dialogue = Dialogue(Signals(CONNECTOR), ports, 64, answer)
    for _ in range(2):
        dialogue.from_server(line * MOST_AT_ONCE)
    assert dialogue.over is False
    dialogue.from_server(line * 10000)
    assert dialogue.over
    assert dialogue.notes[-1] == "the server: more than 64 signals at once"
    assert len(ports.announced) + len(dialogue.notes) - 1 == 3 * MOST_AT_ONCE + 1
