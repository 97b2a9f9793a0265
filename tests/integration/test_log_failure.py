"""The firewall log cannot be written: nobody new is let in, nothing is lost, and it goes on by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.bind_client import BindClient


class SmallDisk:
    """A full file system for the state folder."""

    config = ""
    prelude = ""

    def __init__(self, folder: Path, undo: ExitStack, eventually: Callable[..., Any]) -> None:
        self._filler = folder / "state" / "filler"
        (folder / "state").mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(folder / "state")]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"cannot mount a tmpfs: {made.stderr.strip()}")
        undo.callback(subprocess.run, ["umount", "-l", str(folder / "state")], check=True)

    def fill(self, firewall: Any) -> None:
        with self._filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                continue

    def empty(self, firewall: Any) -> None:
        self._filler.unlink()


class SmallFiles:
    """A limit on the size of the service's files, which it is made to set for itself; a spool would have room."""

    config = "[log]\nspool_megabytes = 0\n"
    prelude = """
import os, resource, signal, sys
before = resource.getrlimit(resource.RLIMIT_FSIZE)
def fill(number, frame):
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat("state/firewall.db-wal").st_size, before[1]))
    print("full", file=sys.stderr)
def empty(number, frame):
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    print("empty", file=sys.stderr)
signal.signal(signal.SIGUSR1, fill)
signal.signal(signal.SIGUSR2, empty)
"""

    def __init__(self, folder: Path, undo: ExitStack, eventually: Callable[..., Any]) -> None:
        self._eventually = eventually

    def fill(self, firewall: Any) -> None:
        firewall.tell(signal.SIGUSR1)
        self._eventually(lambda: "\nfull\n" in firewall.stderr(), "the limit")

    def empty(self, firewall: Any) -> None:
        firewall.tell(signal.SIGUSR2)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a tmpfs")


@pytest.fixture(params=[pytest.param(SmallDisk, marks=as_root), SmallFiles])
def disk(request: pytest.FixtureRequest, eventually: Callable[..., Any]) -> Iterator[Callable[[Path], Any]]:
    """Make a disk of the folder's ``state`` that can be full."""
    with ExitStack() as undo:
        yield lambda folder: request.param(folder, undo, eventually)


def test_a_full_disk(serve: Any, origin: Any, client: Any, eventually: Any, disk: Callable[[Path], Any]) -> None:
    folder = serve.make_folder()
    full = disk(folder)
    firewall = serve(full.config, folder=folder, prelude=full.prelude)
    proxy, server = firewall.address(), origin()
    living = client.socks(proxy, server.address)
    assert client.socks_code(proxy, server.address) == 0
    firewall.wait_row()

    ended = [client.socks(proxy, server.address) for _ in range(20)]
    full.fill(firewall)
    for opened in ended:
        opened.close()
    eventually(lambda: "the firewall log fails: new connections are refused" in firewall.stderr(), "the log to fail")
    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            client.connect(proxy).recv(1)
    living.sendall(b"still there")
    assert client.exactly(living, 11) == b"still there"
    living.close()

    full.empty(firewall)
    eventually(lambda: "the firewall log works again" in firewall.stderr(), "the log to work again")
    assert client.socks_code(proxy, server.address) == 0
    rows = firewall.wait_rows(23)
    assert sorted(row["connectionid"] for row in rows) == list(range(1, 24))
    (alert,) = firewall.alerts()
    assert alert["event"] == "Log failure"
    firewall.wait_base_line()
    firewall.stop()


def one_page(opened: socket.socket) -> None:
    """Answer one request, and close."""
    opened.recv(65536)
    opened.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def test_what_is_open_begins_nothing_new(
    serve: Any, origin: Any, client: Any, associate: Any, upper: Any, eventually: Any, disk: Callable[[Path], Any]
) -> None:
    """Neither a new destination of an association, nor another request, nor the peer that a client waits for."""
    folder = serve.make_folder()
    full = disk(folder)
    firewall = serve(full.config, folder=folder, prelude=full.prelude)
    proxy, server, page = firewall.address(), origin(), origin(one_page)
    association, old, new = associate(proxy), upper(), upper()
    association.say(b"before", old.address)
    old.answer()
    assert association.hear()[0] == b"BEFORE"
    web = client.connect(proxy)
    request = f"GET http://127.0.0.1:{page.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    web.sendall(request)
    assert b" 200 " in web.recv(65536)
    with BindClient(proxy) as waiting:
        bound = waiting.bind(("127.0.0.1", 0))
        ended = [client.socks(proxy, server.address) for _ in range(20)]
        full.fill(firewall)
        for opened in ended:
            opened.close()
        eventually(lambda: "new connections are refused" in firewall.stderr(), "the log to fail")

        association.say(b"new", new.address)
        association.say(b"old", old.address)
        assert old.answer()[0] == b"old"
        assert association.hear()[0] == b"OLD"
        assert new.heard_nothing()
        web.sendall(request)
        assert b" 503 " in web.recv(65536)
        with pytest.raises(ConnectionResetError):
            client.connect(bound).recv(1)

        full.empty(firewall)
        eventually(lambda: "the firewall log works again" in firewall.stderr(), "the log to work again")
        association.say(b"new", new.address)
        assert new.answer()[0] == b"new"
        client.connect(bound)
        waiting.reply()
    firewall.stop()


@as_root
@pytest.mark.parametrize("disk", [SmallDisk], indirect=True)
def test_a_disk_that_stays_full(serve: Any, origin: Any, client: Any, disk: Callable[[Path], Any]) -> None:
    """B9.18: an alert may stop the service; it ends within the log's time, with status 1, and says what is lost."""
    folder = serve.make_folder()
    full = disk(folder)
    stop = '[[alert]]\nname = "no log, no service"\nevent = "Log failure"\nstop_service = true\n'
    firewall = serve(stop, folder=folder, prelude="import fwx.service; fwx.service.LOG_CLOSE_SECONDS = 0.5\n")
    server = origin()
    assert client.socks_code(firewall.address(), server.address) == 0
    firewall.wait_row()
    full.fill(firewall)
    assert client.socks_code(firewall.address(), server.address) == 0
    assert firewall.process.wait(10) == 1
    assert "alert 'no log, no service' stops the service" in firewall.stderr()
    assert "record(s) of the firewall log" in firewall.stderr()
    assert "Traceback" not in firewall.stderr()
