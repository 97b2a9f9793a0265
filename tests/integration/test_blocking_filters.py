"""Filters that block, in the service: nobody else waits for them, and nothing hangs because they do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fwx.interfaces.hresult import E_UNEXPECTED

SERVICE = "[service]\nblocked_loop_seconds = 0.2\n"
OTHERS = 50

BLOCKING = """
Filter = sdk.implementer(sdk.IBlocking)(Filter)
"""
# It asks a server, by a plain blocking socket, what to make of a line that begins with "ask", and SQLite otherwise.
ASKING = (
    """
import socket, sqlite3, sys

class Data(Data):
    def inspect(self, to_server, buffer):
        data = bytes(buffer.GetBufferAndSize())
        if not to_server or not data:
            return buffer
        if data.startswith(b"ask "):
            host, port = data.split()[1].decode().split(":")
            with socket.create_connection((host, int(port))) as sock:
                self.firewall.StartHeavyBlockingOperation()
                data = sock.recv(100)
                self.firewall.EndHeavyBlockingOperation()
        else:
            with sqlite3.connect(":memory:") as database:
                data = database.execute("select upper(?)", (data.decode(),)).fetchone()[0].encode()
        return self.firewall.CreateConstBuffer(data, None)
"""
    + BLOCKING
)
# Whatever a line says is done, on a thread of the pool.
OBEDIENT = (
    """
import threading

class Data(Data):
    def inspect(self, to_server, buffer):
        data = bytes(buffer.GetBufferAndSize())
        if data == b"hang":
            threading.Event().wait()
        if data == b"raise":
            raise ValueError("on a thread")
        return buffer
"""
    + BLOCKING
)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What servers wait for; set at the end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_others_pass_while_one_waits(
    serve: Any, origin: Any, client: Any, released: threading.Event, loop: str
) -> None:
    """B5.13, B5.14: fifty connections of the same client through the same filter; the watchdog has nothing to say."""
    firewall = serve(SERVICE, filters={"asking": ASKING}, loop=loop)
    asked = threading.Event()

    def answer(sock: socket.socket) -> None:
        asked.set()
        released.wait(60)
        sock.sendall(b"the answer")

    slow, echo = origin(answer), origin()
    waiting = client.socks(firewall.address(), echo.address)
    waiting.sendall("ask {}:{}".format(*slow.address).encode())
    assert asked.wait(10)
    for number in range(OTHERS):
        other = client.socks(firewall.address(), echo.address)
        other.sendall(b"line %d" % number)
        wanted = b"LINE %d" % number
        assert client.exactly(other, len(wanted)) == wanted
        other.close()
    other = client.socks(firewall.address(), echo.address)
    begun = time.monotonic()
    while time.monotonic() < begun + 0.3:  # longer than a loop that stood still would go unnoticed
        other.sendall(b"line")
        assert client.exactly(other, 4) == b"LINE"
    other.close()
    released.set()
    assert client.exactly(waiting, 10) == b"the answer"
    waiting.close()
    firewall.stop()
    assert "every connection" not in firewall.stderr()
    assert not firewall.alerts()


def test_one_that_hangs_for_ever_does_not_hold_up_the_stop(
    serve: Any, origin: Any, client: Any, eventually: Callable[..., Any]
) -> None:
    """The wait is bounded: the record of its connection is written, and who hung is named."""
    firewall = serve(filters={"obedient": OBEDIENT})
    hung = client.socks(firewall.address(), origin().address)
    hung.sendall(b"hang")
    fine = client.socks(firewall.address(), origin().address)
    fine.sendall(b"fine")
    assert client.exactly(fine, 4) == b"fine"
    fine.close()
    firewall.wait_rows(1)
    begun = time.monotonic()
    firewall.tell()
    eventually(lambda: "waiting up to" in firewall.stderr(), "the drain to begin")
    firewall.tell()  # at once
    firewall.stop()
    assert time.monotonic() - begun < 8
    said = firewall.stderr()
    assert "filter 'obedient' has not come back from CompleteAsyncIO" in said
    assert "filter_obedient.py" in said or "threading.py" in said
    assert len(firewall.rows()) == 2


def test_one_that_raises_ends_its_connection_alone(serve: Any, origin: Any, client: Any) -> None:
    firewall = serve(filters={"obedient": OBEDIENT})
    firewall.traceback_expected = True
    other = client.socks(firewall.address(), origin().address)
    raising = client.socks(firewall.address(), origin().address)
    raising.sendall(b"raise")
    row = firewall.wait_row()
    assert row["resultcode"] == int(E_UNEXPECTED)
    assert "filter 'obedient' failed in CompleteAsyncIO: ValueError: on a thread" in row["reason"]
    with pytest.raises(ConnectionResetError):
        raising.recv(1)
    other.sendall(b"fine")
    assert client.exactly(other, 4) == b"fine"
    other.close()
    firewall.wait_rows(2)
    firewall.wait_base_line()
    [alert] = firewall.alerts()
    assert (alert["event"], alert["key"]) == ("Filter fault", "obedient/CompleteAsyncIO")


# It takes its time in FilterShutdown: until there is a file.
LINGERING = (
    """
import pathlib, time
FOLDER = pathlib.Path(__file__).parent

class Filter(Filter):
    def FilterShutdown(self):
        (FOLDER / "state" / "asked").touch()
        while not (FOLDER / "go").exists():
            time.sleep(0.01)
        (FOLDER / "state" / "done").touch()
"""
    + BLOCKING
)


def test_a_stop_waits_for_the_threads(serve: Any, eventually: Callable[..., Any]) -> None:
    """B1.42: a filter that shuts down on a thread has its time, while the loop goes on."""
    firewall = serve(filters={"lingering": LINGERING})
    firewall.leaves |= {"asked", "done"}
    firewall.tell()
    eventually(lambda: (firewall.state / "asked").exists(), "FilterShutdown")
    assert firewall.process.poll() is None
    (firewall.folder / "go").touch()
    firewall.stop()
    assert (firewall.state / "done").exists()
