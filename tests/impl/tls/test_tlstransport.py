"""TLS over a transport: two of them, a client's and a server's, over a connection in memory, and OpenSSL itself."""

from __future__ import annotations

import contextlib
import errno
import ssl
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwx.impl import tlstransport
from fwx.impl.deadline import DeadlineQueue
from fwx.impl.runqueue import RunQueue
from fwx.impl.stragglers import Stragglers
from fwx.impl.tlshandshake import Secured, TlsHandshake
from fwx.impl.tlsrole import ClientRole, ServerRole
from fwx.impl.tlstransport import TlsTransport
from fwx.impl.transport import HANGUP, PEER_CLOSED, READABLE, WRITABLE
from fwx.interfaces.hresult import WSAECONNABORTED, WSAECONNRESET, WSAETIMEDOUT
from fwx.pipe import CAPACITY, PipeEnd, pipe
from tests.impl.tls import certificates
from tests.impl.tls.certificates import SERVER
from tests.impl.tls.keyupdate import client_secret, key_updates


class Timers:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        item = (self.now + seconds, callback)
        self.due.append(item)

        class Timer:
            def cancel(_self) -> None:
                if item in self.due:
                    self.due.remove(item)

        return Timer()

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for item in [each for each in self.due if each[0] <= self.now]:
            self.due.remove(item)
            item[1]()


class Bench:
    """A client's and a server's end, each with the transport underneath."""

    def __init__(self, **server_options: Any) -> None:
        self.queue = RunQueue(lambda call: None, lambda call: None)
        self.timers = Timers()
        self.deadlines = DeadlineQueue(10, lambda: self.timers.now, self.timers.call_later)
        self.stragglers = Stragglers(DeadlineQueue(30, lambda: self.timers.now, self.timers.call_later))
        self.near, self.far = pipe(self.queue, ("10.0.0.1", 1), ("10.0.0.2", 2))
        self.ended: list[Secured] = []
        self.masks: list[int] = []
        self.server_options = server_options

    def server_role(self) -> ServerRole:
        return ServerRole(certificates.server(**self.server_options), asks=False, allows_tunnel=False)

    def accept(self, lower: PipeEnd | None = None, first: bytes = b"") -> TlsHandshake:
        """Begin the server's part over the far end."""
        return self._begin(lower or self.far, self.server_role(), first, "the client")

    def connect(self, name: str = SERVER, **options: Any) -> TlsHandshake:
        role = ClientRole(certificates.client(**options), name, anonymous=True)
        return self._begin(self.near, role, b"", "the server")

    def _begin(self, lower: PipeEnd, role: Any, first: bytes, peer: str) -> TlsHandshake:
        handshake = TlsHandshake(
            lower, role, first, peer, self.queue, self.stragglers, self.deadlines, self.ended.append
        )
        handshake.start()
        return handshake

    def run(self) -> list[int]:
        """Let everything happen; return the masks that a watched end was told."""
        while len(self.queue):
            self.queue.drain()
        masks = list(self.masks)
        self.masks.clear()
        return masks

    def shaken(self) -> tuple[TlsTransport, TlsTransport]:
        """Return the client's and the server's plain side."""
        self.accept()
        self.connect()
        self.run()
        ends = {each.transport._lower: each.transport for each in self.ended if each.transport is not None}
        return ends[self.near], ends[self.far]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    assert not made.stragglers
    assert not any(deadline.callback for deadline in made.deadlines._pending)


def errno_of(call: Callable[..., Any], *args: Any) -> int | None:
    with pytest.raises(OSError, match=r".") as caught:
        call(*args)
    return caught.value.errno


def close(*transports: TlsTransport) -> None:
    for each in transports:
        each.close(True)


# As the engine looks at a transport.


def test_the_names_and_what_a_connection_has_not(bench: Bench) -> None:
    client, server = bench.shaken()
    assert (client.getsockname(), client.getpeername()) == (("10.0.0.1", 1), ("10.0.0.2", 2))
    assert client.take_error() == 0
    for call, expected in (
        (lambda: server.bind(()), errno.EINVAL),
        (lambda: server.start_connect(()), errno.EISCONN),
        (lambda: server.listen(1), errno.EINVAL),
        (lambda: server.watch_accept(bench.masks.append), errno.EINVAL),
        (server.pause_accept, errno.EINVAL),
        (server.accept, errno.EINVAL),
        (lambda: server.getsockopt(1, 1, 1), errno.ENOPROTOOPT),
        (lambda: server.setsockopt(1, 1, 1), errno.ENOPROTOOPT),
    ):
        assert errno_of(call) == expected
    close(client, server)


def test_bytes_pass_in_order_and_only_encrypted(bench: Bench) -> None:
    client, server = bench.shaken()
    assert client.send(b"secret") == 6
    assert b"secret" not in bytes(bench.far._inbox)
    assert client.send(memoryview(b"more")) == 4
    assert server.has_data()
    assert [server.recv(4), server.recv(100)] == [b"secr", b"etmore"]
    assert errno_of(server.recv, 1) == errno.EAGAIN
    assert not server.has_data()
    server.send(b"xyz")
    target = bytearray(2)
    assert (client.recv_into(target), target) == (2, b"xy")
    close(client, server)


def test_a_new_handler_hears_what_is_there_already(bench: Bench) -> None:
    """Data that came with the last message of the handshake is in no kernel's buffer any more."""
    bench.accept()
    bench.connect()
    while len(bench.ended) < 1:
        bench.queue.drain()
    client = bench.ended[0].transport
    assert client is not None
    client.send(b"early")
    bench.run()
    server = bench.ended[1].transport
    assert server is not None
    server.watch(bench.masks.append)
    assert bench.run()[0] & READABLE
    assert server.recv(100) == b"early"
    close(client, server)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 60_000), st.integers(1, 70_000)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_what_was_sent_arrives(steps: list[tuple[bool, int, int]]) -> None:
    """Whatever is sent and received in turn, and however much at a time; no edge is missing."""
    bench = Bench()
    ends = bench.shaken()
    sent, got = [bytearray(), bytearray()], [bytearray(), bytearray()]
    readable = [False, False]

    def hear(index: int, mask: int) -> None:
        readable[index] = readable[index] or bool(mask & READABLE)

    for index, end in enumerate(ends):
        end.watch(lambda mask, index=index: hear(index, mask))  # type: ignore[misc]

    def take(index: int, size: int) -> None:
        if not readable[index]:
            return
        try:
            block = ends[index].recv(size)
        except BlockingIOError:
            readable[index] = False
            return
        got[index] += block
        readable[index] = len(block) == size  # a shorter one means that there is no more, and an edge will come

    for number, (to_server, size, most) in enumerate(steps):
        source, sink = (0, 1) if to_server else (1, 0)
        data = bytes([number]) * size
        try:
            sent[source] += data[: ends[source].send(data)]
        except BlockingIOError:
            pass
        bench.run()
        take(sink, most)
    for _ in range(200):
        bench.run()
        take(0, 1 << 20)
        take(1, 1 << 20)
    assert (got[1], got[0]) == (sent[0], sent[1])
    close(*ends)


def test_who_is_not_read_is_held_back(bench: Bench) -> None:
    """One block waits here beside what the transport underneath takes; room is told when that has gone."""
    client, server = bench.shaken()
    client.watch(bench.masks.append)
    assert bench.run()[-1] & WRITABLE
    block = bytes(200_000)
    assert client.send(block) == len(block)
    assert errno_of(client.send, b"x") == errno.EAGAIN
    assert len(block) < client.waiting + CAPACITY < len(block) + 10_000
    bench.run()
    left = len(block)
    while left:
        left -= len(server.recv(50_000))
        assert all(mask & WRITABLE == 0 for mask in bench.run()) or not client.waiting
    assert client.send(b"x") == 1
    assert client.send(bytes(1 << 20)) == 256 << 10
    close(client, server)


def test_half_close(bench: Bench) -> None:
    client, server = bench.shaken()
    server.watch(bench.masks.append)
    bench.run()
    client.send(b"last words")
    client.shutdown_write()
    client.shutdown_write()
    assert errno_of(client.send, b"x") == errno.EPIPE
    assert bench.run()[-1] & PEER_CLOSED
    assert [server.recv(100), server.recv(100), server.recv(100)] == [b"last words", b"", b""]
    server.send(b"answer")
    assert client.recv(100) == b"answer"
    server.shutdown_write()
    assert client.recv(100) == b""
    close(client, server)


def test_close_notify_without_fin_makes_an_edge(bench: Bench) -> None:
    """The kernel has none to tell: the end was in the bytes that were read."""
    client, server = bench.shaken()
    server.watch(bench.masks.append)
    bench.run()
    client.send(b"data")
    client._codec.end()
    client._carry()
    bench.run()
    assert server.recv(100) == b"data"
    assert bench.run() == [READABLE | WRITABLE]
    assert server.recv(100) == b""
    close(client, server)


def test_what_had_come_is_not_lost_by_shutting_down(bench: Bench) -> None:
    """OpenSSL would throw away what it holds."""
    client, server = bench.shaken()
    client.send(bytes(50_000))
    assert len(server.recv(10)) == 10
    server.watch(bench.masks.append)
    bench.run()
    server.shutdown_write()
    assert bench.run()[-1] & READABLE
    total = 10
    while total < 50_000:
        total += len(server.recv(1000))
    assert errno_of(server.recv, 1) == errno.EAGAIN
    client.send(b"more")
    assert server.recv(10) == b"more"
    close(client, server)


def test_an_end_without_close_notify_comes_behind_the_data_and_is_an_error(bench: Bench) -> None:
    client, server = bench.shaken()
    client.send(b"a part")
    bench.near.shutdown_write()
    server.watch(bench.masks.append)
    bench.run()
    assert server.recv(100) == b"a part"
    assert bench.run()[-1] & READABLE
    for _ in range(2):
        with pytest.raises(ssl.SSLEOFError):
            server.recv(100)
    assert server.fault == "TLS failed: the peer ended the connection without close_notify"
    close(client, server)


def test_a_reset_comes_behind_the_data(bench: Bench) -> None:
    client, server = bench.shaken()
    client.send(b"a part")
    bench.far._take_reset()
    server.watch(bench.masks.append)
    assert bench.run()[-1] & HANGUP
    assert server.recv(100) == b"a part"
    assert errno_of(server.recv, 100) == errno.ECONNRESET
    assert server.fault == ""
    close(client, server)


def test_changed_bytes_get_an_alert(bench: Bench) -> None:
    client, server = bench.shaken()
    bench.near.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(ssl.SSLError, match=r"(?i)bad record mac"):
        server.recv(100)
    assert server.fault == "TLS failed: decryption failed or bad record mac"
    with pytest.raises(ssl.SSLError, match=r"(?i)bad record mac"):
        client.recv(100)
    close(client, server)


# A peer that has TLS answer, and brings nothing.


@pytest.fixture
def updates(bench: Bench, tmp_path: Path) -> Iterator[tuple[Iterator[bytes], TlsTransport]]:
    """Records of a client that ask for an answer each, and the server that gets them over :attr:`Bench.far`."""
    credentials = certificates.client()
    credentials.client_context(anonymous=True).keylog_filename = str(tmp_path / "keys")
    bench.accept()
    bench._begin(bench.near, ClientRole(credentials, SERVER, anonymous=True), b"", "the server")
    bench.run()
    ends = {each.transport._lower: each.transport for each in bench.ended if each.transport is not None}
    yield key_updates(client_secret(tmp_path / "keys")), ends[bench.far]
    close(*ends.values())


def test_answers_that_are_not_taken_have_a_bound(bench: Bench, updates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each KeyUpdate makes OpenSSL say as much: who sends them and reads nothing would fill the memory."""
    monkeypatch.setattr(tlstransport, "_MOST_WAITING", 10_000)
    records, server = updates
    asked = 0

    def ask() -> None:
        nonlocal asked
        while asked < CAPACITY + 20_000:
            asked += bench.near.send(b"".join(islice(records, 40)))
            with contextlib.suppress(BlockingIOError):
                server.recv(1 << 16)

    with pytest.raises(ssl.SSLError, match="takes no answer"):
        ask()
    assert server.waiting < 10_000 + 2_000
    assert server.fault == "TLS failed: the peer has tls answer without end and takes no answer"
    with pytest.raises(ssl.SSLError, match="takes no answer"):
        server.recv(1)


def test_what_brings_nothing_leaves_the_others_their_turn(
    bench: Bench, updates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is looked at in the loop's next round."""
    monkeypatch.setattr(tlstransport, "_MOST_FRUITLESS", 2_000)
    rounds: list[Any] = []
    bench.queue._call_soon = rounds.append
    records, server = updates
    server.watch(bench.masks.append)
    bench.run()
    rounds.clear()
    sent = bench.near.send(b"".join(islice(records, 500)))
    assert errno_of(server.recv, 100) == errno.EAGAIN
    assert sent - 3_000 < len(bench.far._inbox) < sent
    turns = 0
    while len(bench.far._inbox):
        bench.masks.clear()
        rounds.pop(0)()
        if bench.masks:
            turns += 1
            assert errno_of(server.recv, 100) == errno.EAGAIN
    assert turns > sent // 3_000


# Closing.


def test_closed_in_order(bench: Bench) -> None:
    client, server = bench.shaken()
    client.send(b"bye")
    client.close(False)
    client.close(False)
    assert bench.near.closed
    assert [server.recv(100), server.recv(100)] == [b"bye", b""]
    for call in (lambda: client.recv(1), lambda: client.send(b"x")):
        assert errno_of(call) == errno.EBADF
    close(server)


def test_closed_by_a_reset(bench: Bench) -> None:
    client, server = bench.shaken()
    client.send(b"never mind")
    client.close(True)
    assert bench.far._reset
    close(server)


def test_what_waits_when_it_is_closed_still_goes(bench: Bench) -> None:
    client, server = bench.shaken()
    client.send(bytes(200_000))
    client.close(False)
    assert not bench.near.closed
    assert len(bench.stragglers) == 1
    gone: list[bool] = []
    bench.stragglers.on_empty = lambda: gone.append(True)
    total = 0
    while block := server.recv(1 << 20):
        total += len(block)
        bench.run()
    assert total == 200_000
    assert bench.near.closed
    assert (len(bench.stragglers), gone) == (0, [True])
    close(server)


def test_a_straggler_whose_peer_takes_nothing_is_given_up(bench: Bench) -> None:
    client, server = bench.shaken()
    client.send(bytes(200_000))
    client.close(False)
    bench.timers.advance(29)
    server.recv(20_000)
    bench.run()
    bench.timers.advance(2)
    assert len(bench.stragglers) == 1  # it has moved
    bench.timers.advance(31)
    assert bench.near.closed
    assert bench.far._reset
    close(server)


@pytest.mark.parametrize("how", ["reset", "service stops"])
def test_a_straggler_that_ends_otherwise(bench: Bench, how: str) -> None:
    client, server = bench.shaken()
    client.send(bytes(200_000))
    client.close(False)
    if how == "reset":
        server.close(True)
        bench.run()
    else:
        bench.stragglers.close()
        close(server)
    assert bench.near.closed


# The handshake.


def reasons(bench: Bench) -> list[tuple[int, str]]:
    return [(each.code, each.reason) for each in bench.ended]


def hello(bench: Bench) -> bytes:
    """A ClientHello."""
    bench.connect()
    bench.run()
    return bench.far.recv(1 << 16)


def test_every_split_of_the_hello(bench: Bench) -> None:
    """Two segments, at every place; and all bytes by themselves."""
    first = hello(bench)
    for place in range(1, len(first)):
        other = Bench()
        other.accept()
        for part in (first[:place], first[place:]):
            other.near.send(part)
            other.run()
        assert other.near.recv(1 << 16)[0] == 0x16
        assert not other.ended
        other.far.close(True)
    bench.far.close(True)
    bench.timers.advance(10)


def test_what_was_read_before_counts(bench: Bench) -> None:
    """The beginning of the hello came behind a PROXY header."""
    bench.connect()
    bench.run()
    bench.accept(first=bench.far.recv(7))
    bench.run()
    transports = [each.transport for each in bench.ended if each.transport is not None]
    assert len(transports) == 2
    close(*transports)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"GET / HTTP/1.1\r\n", "first byte 0x47, as HTTP has it"),
        (b"\x05", "first byte 0x05, as SOCKS has it"),
        (b"\x00", "first byte 0x00"),
    ],
)
def test_a_client_that_speaks_no_tls(bench: Bench, first: bytes, words: str) -> None:
    bench.accept()
    bench.near.send(first)
    bench.run()
    assert reasons(bench) == [(WSAECONNABORTED, f"the client does not speak TLS: {words}")]
    assert bench.ended[0].alert == b""
    assert not bench.far.closed  # it is the caller's again


def test_a_server_that_speaks_no_tls(bench: Bench) -> None:
    bench.connect()
    bench.far.send(b"220 mail.example")
    bench.run()
    assert reasons(bench) == [(WSAECONNABORTED, "the server does not speak TLS: first byte 0x32")]


def test_a_certificate_that_is_not_good(bench: Bench) -> None:
    """The client knows why, the server is told by the alert."""
    bench.accept()
    bench.connect("other.example")
    bench.run()
    mismatch = "Hostname mismatch, certificate is not valid for 'other.example'."
    assert reasons(bench) == [(WSAECONNABORTED, f"the TLS handshake failed: certificate verify failed: {mismatch}")]
    bench.near.send(bench.ended[0].alert)
    bench.run()
    assert reasons(bench)[1][1].startswith("the TLS handshake failed: ")


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("ends", WSAECONNABORTED, "the client ended the connection before a TLS handshake"),
        ("ends later", WSAECONNABORTED, "the client ended the connection during the TLS handshake"),
        ("resets", WSAECONNRESET, "the client went away during the TLS handshake: Connection reset by peer"),
        ("waits", WSAETIMEDOUT, "the TLS handshake was not complete before the deadline"),
    ],
)
def test_an_unfinished_handshake(bench: Bench, how: str, code: int, words: str) -> None:
    bench.accept()
    bench.run()
    if how == "ends later":
        bench.near.send(b"\x16\x03\x01")
    if how == "resets":
        bench.near.close(True)
    elif how == "waits":
        bench.timers.advance(10)
    else:
        bench.near.shutdown_write()
    bench.run()
    assert reasons(bench) == [(code, words)]


def test_cancelled(bench: Bench) -> None:
    handshake = bench.accept()
    bench.near.send(b"\x16\x03\x01")
    handshake.cancel()
    bench.run()
    assert bench.far.closed
    assert not bench.ended


def test_sessions_are_kept_once_data_has_come(bench: Bench) -> None:
    """TLS 1.3 sends its tickets behind the handshake."""
    credentials = certificates.client()
    role = ClientRole(credentials, SERVER, anonymous=True)
    bench.accept()
    bench._begin(bench.near, role, b"", "the server")
    bench.run()
    client, server = (each.transport for each in bench.ended)
    assert client is not None
    assert server is not None
    server.send(b"data")
    assert client.recv(100) == b"data"
    assert credentials.session_for(SERVER, anonymous=True) is not None
    close(client, server)


def test_a_name_that_is_none(bench: Bench) -> None:
    """Python's ssl would write to standard error."""
    first = hello(bench).replace(SERVER.encode(), b"\xff" * len(SERVER))
    other = Bench()
    other.accept()
    other.near.send(first)
    other.run()
    reason = "the TLS handshake failed: the host name that the client asks for is not ascii"
    assert reasons(other) == [(WSAECONNABORTED, reason)]
    bench.far.close(True)
    bench.timers.advance(10)
