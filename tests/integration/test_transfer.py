"""Data through a running service: much of it, half-closed, reset, not read, and on a thousand connections."""

from __future__ import annotations

import hashlib
import random
import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAECONNRESET

MIB = 1 << 20
LOOPS = ("uvloop", "asyncio")

MONITOR = """
[[filter]]
name = "monitor"
use = "fwx.filters.data_monitor:DataMonitor"
everywhere = true
options = { alert_on = "no block holds this" }
"""
# Sends every buffer in two parts, from new buffers.
CUTTER = """
class Data(Data):
    def inspect(self, to_server, buffer):
        data = buffer.GetBufferAndSize()
        middle = len(data) // 3
        if not middle:
            return buffer
        sink = self._external if to_server else self._internal
        sink.Send(self.firewall.CreateWindowBuffer(buffer, 0, middle), None, None)
        return self.firewall.CreateWindowBuffer(buffer, middle, len(data) - middle)
"""
# Waits for nothing: asks for more as soon as it has something, and for no completion of what it sends.
GREEDY = """
class Data(Data):
    def CompleteAsyncIO(self, ok, code, buffer, user_data, *rest):
        if not ok or not buffer.GetBufferSizes()[1]:
            return super().CompleteAsyncIO(ok, code, buffer, user_data, *rest)
        to_server = user_data == "to server"
        (self._external if to_server else self._internal).Send(buffer, None, None)
        (self._internal if to_server else self._external).Recv(None, self, user_data)
"""
# Two of a kind undo each other, one alone would show.
INVERTER = """
class Data(Data):
    TABLE = bytes(255 - number for number in range(256))

    def inspect(self, to_server, buffer):
        data = bytes(buffer.GetBufferAndSize()).translate(self.TABLE)
        return self.firewall.CreateConstBuffer(data, len(data)) if data else buffer

    def SetSockets(self, *args):
        self.connection.SetBufferSize(7777)
        return super().SetSockets(*args)
"""
# The ways that data can take: no filter, one, a chain; and another event loop under them.
CHAIN = {"one": INVERTER, "two": INVERTER}
WAYS = pytest.mark.parametrize(
    ("filters", "loop"),
    [
        ({}, "uvloop"),
        ({"one": ""}, "uvloop"),
        ({"greedy": GREEDY}, "uvloop"),
        (CHAIN, "uvloop"),
        ({}, "asyncio"),
        (CHAIN, "asyncio"),
    ],
    ids=["pump", "filter", "greedy", "chain", "pump-asyncio", "chain-asyncio"],
)


def blocks(seed: int, size: int) -> Iterator[bytes]:
    """*size* bytes in blocks of 1 MiB that are all different, and cheap."""
    block = bytearray(random.Random(seed).randbytes(MIB))
    for number in range(size // MIB):
        block[:8] = number.to_bytes(8, "big")
        yield bytes(block)


def send_blocks(sock: socket.socket, seed: int, size: int) -> None:
    for block in blocks(seed, size):
        sock.sendall(block)
    sock.shutdown(socket.SHUT_WR)


def digest_of(parts: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def received(sock: socket.socket) -> str:
    return digest_of(iter(lambda: sock.recv(MIB), b""))


def exchange(serve_result: Any, origin: Any, client: Any, size: int) -> None:
    """Send *size* bytes each way at once, and compare the checksums at both ends."""
    got: dict[str, str] = {}

    def serve_both(sock: socket.socket) -> None:
        sender = threading.Thread(target=send_blocks, args=(sock, 1, size))
        sender.start()
        got["server"] = received(sock)
        sender.join()

    opened = client.socks(serve_result.address(), origin(serve_both).address)
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(send_blocks, opened, 2, size)
        got["client"] = received(opened)
        sending.result()
    row = serve_result.wait_row()
    assert got == {"client": digest_of(blocks(1, size)), "server": digest_of(blocks(2, size))}
    assert (row["bytessent"], row["bytesrecvd"], row["resultcode"]) == (size, size, 0)


@WAYS
def test_both_directions_at_once(serve: Any, origin: Any, client: Any, filters: dict[str, str], loop: str) -> None:
    firewall = serve(filters=filters, loop=loop)
    exchange(firewall, origin, client, 32 * MIB)
    assert firewall.rows()[0]["filters"] == ", ".join(filters)
    firewall.wait_base_line()


def test_one_gibibyte_through_two_filters(serve: Any, origin: Any, client: Any) -> None:
    """A 1 GiB stream each way at once, through the data monitor and a filter that cuts every buffer in two."""
    firewall = serve(MONITOR, filters={"cutter": CUTTER})
    exchange(firewall, origin, client, 1024 * MIB)
    assert firewall.rows()[0]["filters"] == "monitor, cutter"


@WAYS
def test_half_close(serve: Any, origin: Any, client: Any, filters: dict[str, str], loop: str) -> None:
    """Either side may end its sending first; the other direction goes on for as long as it likes."""
    firewall = serve(filters=filters, loop=loop)
    data = random.Random(4).randbytes(300_000)

    opened = client.socks(firewall.address(), origin("answer_at_end").address)
    opened.sendall(data)
    opened.shutdown(socket.SHUT_WR)
    assert client.to_end(opened) == b"300000 bytes"

    taken: list[bytes] = []

    def speak_first(sock: socket.socket) -> None:
        sock.sendall(b"that was all")
        sock.shutdown(socket.SHUT_WR)
        taken.append(client.to_end(sock))

    opened = client.socks(firewall.address(), origin(speak_first).address)
    assert client.to_end(opened) == b"that was all"
    opened.sendall(data)
    opened.close()
    rows = firewall.wait_rows(2)
    assert [(row["bytessent"], row["bytesrecvd"], row["resultcode"]) for row in rows] == [
        (300_000, 12, 0),
        (300_000, 12, 0),
    ]
    assert [hashlib.sha256(part).digest() for part in taken] == [hashlib.sha256(data).digest()]
    firewall.wait_base_line()


@WAYS
def test_reset(serve: Any, origin: Any, client: Any, eventually: Any, filters: dict[str, str], loop: str) -> None:
    """A reset of either side resets the other, while data waits and while none does."""
    firewall = serve(filters=filters, loop=loop)
    seen: list[str] = []

    def wait_for_reset(sock: socket.socket) -> None:
        try:
            client.to_end(sock)
            seen.append("end")
        except ConnectionResetError:
            seen.append("reset")

    for data in (b"", b"x" * 5000):
        opened = client.socks(firewall.address(), origin(wait_for_reset).address)
        opened.sendall(b"?" + data)
        client.reset(opened)

        def reset(sock: socket.socket, data: bytes = data) -> None:
            client.exactly(sock, 1)
            sock.sendall(data)
            client.reset(sock)

        opened = client.socks(firewall.address(), origin(reset).address)
        opened.sendall(b"?")
        with pytest.raises(ConnectionResetError):
            client.to_end(opened)
    eventually(lambda: len(seen) == 2, "the servers to see the resets")
    assert seen == ["reset", "reset"]
    rows = firewall.wait_rows(4)
    assert {row["resultcode"] for row in rows} == {int(HRESULT_FROM_WIN32(WSAECONNRESET))}
    assert {row["reason"] for row in rows} == {"reset by a peer"}
    firewall.wait_base_line()


class Stalling:
    """Sends 64 MiB to a reader that does not read, says when nothing moves any more, then goes on."""

    def __init__(self) -> None:
        self.stands_still = threading.Event()

    def send(self, sock: socket.socket) -> None:
        left = memoryview(b"".join(blocks(5, 64 * MIB)))
        sock.settimeout(0.3)
        while left:
            try:
                left = left[sock.send(left) :]
            except TimeoutError:
                self.stands_still.set()
                sock.settimeout(60)
        sock.shutdown(socket.SHUT_WR)
        client_end = sock.recv(1)
        assert client_end == b""


class Deaf:
    """Reads nothing until it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.digest = ""

    def read(self, sock: socket.socket) -> None:
        assert self.go.wait(20)
        self.digest = received(sock)
        sock.shutdown(socket.SHUT_WR)


@WAYS
@pytest.mark.parametrize("direction", ["to client", "to server"])
def test_reader_that_stops(
    serve: Any, origin: Any, client: Any, filters: dict[str, str], loop: str, direction: str
) -> None:
    """A stalled transfer of 64 MiB costs a bounded amount of memory, and all of it arrives when the reader goes on."""
    firewall = serve(filters=filters, loop=loop)
    with client.socks(firewall.address(), origin("echo").address) as warm_up:
        for block in blocks(6, 8 * MIB):
            sender = threading.Thread(target=warm_up.sendall, args=(block,))
            sender.start()
            client.exactly(warm_up, MIB)
            sender.join()
    firewall.wait_base_line()
    before = firewall.memory()
    stalling, deaf = Stalling(), Deaf()
    to_client = direction == "to client"
    opened = client.socks(firewall.address(), origin(stalling.send if to_client else deaf.read).address)
    with ThreadPoolExecutor() as pool:
        other = pool.submit(*((deaf.read, opened) if to_client else (stalling.send, opened)))
        assert stalling.stands_still.wait(20)
        grown = firewall.memory() - before
        deaf.go.set()
        other.result()
    assert deaf.digest == digest_of(blocks(5, 64 * MIB))
    assert grown < 4 * MIB
    opened.close()
    firewall.wait_rows(2)
    firewall.wait_base_line()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 8192:
        pytest.skip(f"needs 8192 descriptors, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


UNLIMITED = """
[limits]
tcp_per_address = 100000
tcp_connects_per_minute_per_address = 100000
"""


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("filters", [{}, {"one": ""}], ids=["pump", "filter"])
def test_a_thousand_connections(serve: Any, origin: Any, client: Any, filters: dict[str, str]) -> None:
    """All open at once, all talking, all logged."""
    firewall = serve(UNLIMITED, filters=filters)
    server = origin("echo")
    opened = [client.socks(firewall.address(), server.address) for _ in range(1000)]
    assert firewall.descriptors() >= firewall.base_line + 2000
    for number, sock in enumerate(opened):
        sock.sendall(b"%d " % number * 100)
        sock.shutdown(socket.SHUT_WR)
    for number, sock in enumerate(opened):
        assert client.to_end(sock) == b"%d " % number * 100
        sock.close()
    rows = firewall.wait_rows(1000)
    assert len({row["connectionid"] for row in rows}) == 1000
    assert {(row["resultcode"], row["filters"]) for row in rows} == {(0, "one" if filters else "")}
    firewall.wait_base_line()


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("loop", LOOPS)
def test_two_hundred_short_connections(serve: Any, origin: Any, client: Any, loop: str) -> None:
    """From many threads, one after the other on each, every one of them echoed and logged."""
    firewall = serve(UNLIMITED, loop=loop, filters={"one": ""})
    server = origin("echo")

    def talk(number: int) -> bool:
        text = b"%d" % number
        with client.socks(firewall.address(), server.address) as opened:
            opened.sendall(text)
            opened.shutdown(socket.SHUT_WR)
            return bool(client.to_end(opened) == text)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(talk, range(200)))
    firewall.wait_rows(200)
    firewall.wait_base_line()
