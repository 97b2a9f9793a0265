"""The lines that announce, and those that do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx import sdk
from fwx.filters.connector.signals import CONNECTOR, Side, Signal, SignalError, Signals
from fwx.filters.lines import LineError, Lines

TCP, UDP = sdk.FWX_PROTOCOL_TCP, sdk.FWX_PROTOCOL_UDP
DCC = Signal(line=r".*\x01DCC (?:CHAT \S+|SEND \S+) (?P<host>\d+) (?P<port>\d+)(?: \d+)?\x01", opens="to-client")
ELSEWHERE = sdk.SocketAddress("203.0.113.7", 50000)


@pytest.mark.parametrize(
    ("side", "line", "found"),
    [
        ("client", b"CONNECT tcp 41234", ("to-server", None, 41234, TCP)),
        ("client", b"CONNECT udp 192.0.2.9 65535", ("to-server", "192.0.2.9", 65535, UDP)),
        ("client", b"LISTEN tcp 2001:DB8::1 1", ("to-client", "2001:db8::1", 1, TCP)),
        ("server", b"CONNECT tcp 41234", ("to-server", None, 41234, TCP)),
    ],
)
def test_the_connector_protocol(side: Side, line: bytes, found: tuple[object, ...]) -> None:
    place = Signals(CONNECTOR).read(side, line)
    assert place is not None
    assert (place.signal.opens, place.host, place.port, place.protocol) == found


@pytest.mark.parametrize(
    ("side", "line"),
    [
        ("server", b"LISTEN tcp 41234"),
        ("client", b"connect tcp 41234"),
        ("client", b" CONNECT tcp 41234"),
        ("client", b"CONNECT tcp 41234 "),
        ("client", b"CONNECT tcp 41234\nCONNECT tcp 41235"),
        ("client", b"hello"),
        ("client", b""),
    ],
)
def test_other_lines(side: Side, line: bytes) -> None:
    """A pattern is for the whole line."""
    assert Signals(CONNECTOR).read(side, line) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"CONNECT tcp 0", "'0' is no port"),
        (b"CONNECT tcp 65536", "'65536' is no port"),
        (b"CONNECT tcp 412345", "'412345' is no port"),
        (b"CONNECT tcp \xb2", "is no port"),
        (b"CONNECT sctp 41234", "'sctp' is no transport"),
        (b"LISTEN tcp www.example 41234", "'www.example' is no address"),
        (b"LISTEN tcp fe80::1%eth0 41234", "is no address"),
        (b"LISTEN tcp 4294967296 41234", "'4294967296' is no address"),
    ],
)
def test_signals_that_name_no_place(line: bytes, words: str) -> None:
    with pytest.raises(SignalError, match=words):
        Signals(CONNECTOR).read("client", line)


def test_groups_that_are_no_numbers() -> None:
    signals = Signals((Signal(line="(?P<transport>.*)/(?P<port>.*)"),))
    for line in (b"tcp/\xb2", b"tcp/-1", b"tcp/+9", b"tcp/", b"tcp/99999999", b"/1", b"ip/1"):
        with pytest.raises(SignalError):
            signals.read("client", line)
    place = signals.read("client", b"UDP/007")
    assert place is not None
    assert (place.port, place.protocol) == (7, UDP)


@pytest.mark.parametrize(
    ("line", "rewritten"),
    [
        (b"CONNECT tcp 41234", b"CONNECT tcp 50000"),
        (b"LISTEN udp 10.1.0.2 00080", b"LISTEN udp 203.0.113.7 50000"),
        (b"CONNECT tcp fd00::1 1", b"CONNECT tcp 203.0.113.7 50000"),
    ],
)
def test_a_line_that_is_written_anew(line: bytes, rewritten: bytes) -> None:
    place = Signals(CONNECTOR).read("client", line)
    assert place is not None
    assert place.line_with(ELSEWHERE) == rewritten


@pytest.mark.parametrize("command", [b"CHAT chat %d %d", b"SEND a\xfcb %d %d 12345"])
def test_a_number_as_address(command: bytes) -> None:
    """As DCC of IRC has it."""
    line = b"PRIVMSG bob :\x01DCC " + command + b"\x01"
    place = Signals((DCC,)).read("client", line % (0x0A010002, 6000))
    assert place is not None
    assert (place.host, place.port) == ("10.1.0.2", 6000)
    assert place.line_with(ELSEWHERE) == line % (0xCB007107, 50000)


def lines_of(data: bytes, size: int, limit: int = 100) -> list[bytes]:
    lines, cut = Lines(lambda _: limit, takes_lf=True), []
    for start in range(0, len(data), size):
        lines.feed(data[start : start + size])
        while (line := lines.next_with_end()) is not None:
            cut.append(line[0] + line[1])
    return cut


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_lines(size: int) -> None:
    """Each keeps the end that it has."""
    assert lines_of(b"a\r\nb\n\n\xff\r\nhalf", size) == [b"a\r\n", b"b\n", b"\n", b"\xff\r\n"]


@pytest.mark.parametrize(
    ("data", "words"), [(b"a\x00b\n", "a NUL"), (b"a\rb\n", "a bare CR"), (b"a\r\r\n", "bare CR"), (b"x" * 101, "100")]
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_is_no_line(data: bytes, words: str, size: int) -> None:
    with pytest.raises(LineError, match=words):
        lines_of(data, size)


@given(st.binary(max_size=120), st.integers(1, 9))
def test_pieces_make_no_difference(data: bytes, size: int) -> None:
    def outcome(size: int) -> object:
        try:
            return lines_of(data, size, 40)
        except LineError as error:
            return str(error)

    assert outcome(size) == outcome(1)
