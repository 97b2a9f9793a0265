"""Filters written as coroutines, in a running service: as much data, the same ends, the same memory as with others."""

from __future__ import annotations

import os
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fwx.interfaces.hresult import E_UNEXPECTED, FWX_E_TERMINATING, HRESULT_FROM_WIN32, WSAECONNRESET
from tests.integration.test_transfer import MIB, Deaf, Stalling, blocks, digest_of, exchange

# What everybody would write.
PASSES = """
class Data(sdk.AsyncDataFilter):
    def __init__(self, firewall, connection):
        pass

    async def run(self, internal, external, connection, context):
        await sdk.together(self.pass_on(internal, external), self.pass_on(external, internal))

    async def pass_on(self, source, sink):
        async for buffer in source:
            await sink.send(buffer)
        sink.shutdown()
"""
# Two of a kind undo each other. The data is sent as bytes, in pieces, and most receives are given up once.
INVERTS = """
import asyncio

class Data(sdk.AsyncDataFilter):
    TABLE = bytes(255 - number for number in range(256))

    def __init__(self, firewall, connection):
        connection.SetBufferSize(50_000)

    async def run(self, internal, external, connection, context):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.invert(internal, external))
            group.create_task(self.invert(external, internal))

    async def invert(self, source, sink):
        while True:
            try:
                async with asyncio.timeout(0):
                    buffer = await source.receive()
            except TimeoutError:
                buffer = await source.receive()
            data = bytes(buffer.GetBufferAndSize()).translate(self.TABLE)
            if not data:
                break
            for start in range(0, len(data), 20_000):
                await sink.send(data[start : start + 20_000])
        sink.shutdown()
"""
CHAIN = {"one": INVERTS, "two": INVERTS}
WAYS = pytest.mark.parametrize(
    ("filters", "loop"),
    [({"one": PASSES}, "uvloop"), ({"one": PASSES}, "asyncio"), (CHAIN, "uvloop"), (CHAIN, "asyncio")],
    ids=["uvloop", "asyncio", "chain-uvloop", "chain-asyncio"],
)
LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@WAYS
def test_64_mebibytes_each_way(serve: Any, origin: Any, client: Any, filters: dict[str, str], loop: str) -> None:
    firewall = serve(filters=filters, loop=loop)
    exchange(firewall, origin, client, 64 * MIB)
    assert firewall.rows()[0]["filters"] == ", ".join(filters)
    firewall.wait_base_line()


@WAYS
def test_half_close(serve: Any, origin: Any, client: Any, filters: dict[str, str], loop: str) -> None:
    """B3.25, B3.29: either side may end its sending first."""
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
    assert [(row["bytessent"], row["bytesrecvd"], row["resultcode"]) for row in rows] == [(300_000, 12, 0)] * 2
    assert taken == [data]
    firewall.wait_base_line()


@WAYS
def test_reset(serve: Any, origin: Any, client: Any, eventually: Any, filters: dict[str, str], loop: str) -> None:
    """B3.30: a reset of either side resets the other, while data waits and while none does; it is nobody's fault."""
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
    assert {(row["resultcode"], row["reason"]) for row in rows} == {
        (int(HRESULT_FROM_WIN32(WSAECONNRESET)), "reset by a peer")
    }
    assert firewall.alerts() == []
    firewall.wait_base_line()


@WAYS
@pytest.mark.parametrize("direction", ["to client", "to server"])
def test_reader_that_stops(
    serve: Any, origin: Any, client: Any, filters: dict[str, str], loop: str, direction: str
) -> None:
    """B3.14: a stalled transfer of 64 MiB costs a bounded amount of memory, and all of it arrives in the end."""
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


FAULTS = """
import asyncio, sys

class Data(sdk.AsyncDataFilter):
    def __init__(self, firewall, connection):
        pass

    async def run(self, internal, external, connection, context):
        word = bytes((await internal.receive()).GetBufferAndSize())
        if word == b"later":
            await asyncio.sleep(0.001)
            raise ValueError("boom")
        if word == b"aside":
            await sdk.together(self.leave(), sdk.pump(external, internal))
        if word == b"exit":
            sys.exit(3)
        if word == b"now":
            raise ValueError("boom")
        await external.send(word)
        await sdk.together(sdk.pump(internal, external), sdk.pump(external, internal))

    async def leave(self):
        sys.exit(3)
"""


@LOOPS
def test_a_fault_ends_its_connection_alone(serve: Any, origin: Any, client: Any, loop: str) -> None:
    """Wherever in the coroutine: one record, one line, one alert, both sides reset, the others go on."""
    firewall = serve(filters={"faulty": FAULTS}, loop=loop)
    firewall.traceback_expected = True
    server = origin()
    good = client.socks(firewall.address(), server.address)
    good.sendall(b"good")
    assert client.exactly(good, 4) == b"good"
    words = {
        b"now": "ValueError: boom",
        b"later": "ValueError: boom",
        b"exit": "SystemExit: 3",
        b"aside": "RuntimeError: a coroutine raised SystemExit",
    }
    for number, (word, said) in enumerate(words.items(), 1):
        with client.socks(firewall.address(), server.address) as opened:
            opened.sendall(word)
            with pytest.raises(ConnectionResetError):
                client.to_end(opened)
        row = firewall.wait_rows(number)[-1]
        assert row["resultcode"] == int(E_UNEXPECTED)
        assert row["reason"] == f"filter 'faulty' failed in run: {said}"
    good.sendall(b"still there")
    assert client.exactly(good, 11) == b"still there"
    good.close()
    firewall.wait_base_line()
    firewall.stop()
    assert firewall.stderr().count("ERROR: filter 'faulty' failed in run") == len(words)
    assert {alert["event"] for alert in firewall.alerts()} == {"Filter fault"}


DRAINED = """
import asyncio
from pathlib import Path

class Data(sdk.AsyncDataFilter):
    def __init__(self, firewall, connection):
        pass

    async def run(self, internal, external, connection, context):
        told = Path("told.txt")
        try:
            await internal.send(bytes((await external.receive()).GetBufferAndSize()))
            await asyncio.Event().wait()
        finally:
            try:
                await external.send(b"late")
            except sdk.COMError as error:
                await asyncio.sleep(0.01)
                told.write_text(f"{error.hresult.name}, then slept")

class Filter(Filter):
    def FilterShutdown(self):
        assert Path("told.txt").exists(), "finally blocks run before FilterShutdown"
        super().FilterShutdown()
"""


@LOOPS
def test_a_stopping_service_cancels_and_waits_for_finally(
    serve: Any, origin: Any, client: Any, eventually: Any, loop: str
) -> None:
    """The second signal ends the connection: Detach cancels, finally blocks run to their end before FilterShutdown."""
    firewall = serve(filters={"drained": DRAINED}, loop=loop)
    firewall.folder.chmod(0o777)  # the filter writes there when root has been given up
    opened = client.socks(firewall.address(), origin(lambda sock: (sock.sendall(b"x"), sock.recv(1))).address)  # type: ignore[func-returns-value]
    assert client.exactly(opened, 1) == b"x"
    firewall.tell()
    eventually(lambda: "waiting up to" in firewall.stderr(), "the service to drain")
    firewall.tell()
    with pytest.raises(ConnectionResetError):
        client.to_end(opened)
    firewall.wait_stopped()
    assert (firewall.folder / "told.txt").read_text() == "FWX_E_TERMINATING, then slept"
    (row,) = firewall.rows()
    assert (row["resultcode"], row["reason"]) == (int(FWX_E_TERMINATING), "the service stopped")


STAYS = """
import asyncio

class Data(sdk.AsyncDataFilter):
    def __init__(self, firewall, connection):
        pass

    async def run(self, internal, external, connection, context):
        await internal.send(b"x")
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass
"""


@LOOPS
def test_a_coroutine_that_ignores_its_end_does_not_hold_up_the_service(
    serve: Any, origin: Any, client: Any, loop: str
) -> None:
    quickly = "import fwx.service; fwx.service.TASK_SECONDS = 0.1\nfwx.service.Service.stop.__defaults__ = (0.1,)\n"
    firewall = serve(filters={"stays": STAYS}, loop=loop, prelude=quickly)
    opened = client.socks(firewall.address(), origin().address)
    assert client.exactly(opened, 1) == b"x"
    firewall.stop()
    assert "a task of filter 'Data' does not end when it is cancelled" in firewall.stderr()


EXAMPLE = """
[[filter]]
name = "shout"
use = "shout:Shout"
everywhere = true
"""


@LOOPS
def test_the_example(serve: Any, origin: Any, client: Any, source_tree: Path, loop: str) -> None:
    """examples/shout.py, which docs/async.rst shows, in a service: only the server's data is changed."""
    path = os.pathsep.join((str(source_tree), str(source_tree / "examples")))
    firewall = serve(EXAMPLE, loop=loop, env={"PYTHONPATH": path})
    taken: list[bytes] = []

    def answer(sock: socket.socket) -> None:
        taken.append(client.to_end(sock))
        for piece in (b"hello ", b"client \xe9, ", b"bye"):
            sock.sendall(piece)

    opened = client.socks(firewall.address(), origin(answer).address)
    opened.sendall(b"hello server")
    opened.shutdown(socket.SHUT_WR)
    assert client.to_end(opened) == b"HELLO CLIENT \xe9, BYE"
    assert taken == [b"hello server"]
    row = firewall.wait_row()
    assert (row["filters"], row["resultcode"], row["reason"]) == ("shout", 0, "")
    firewall.wait_base_line()
