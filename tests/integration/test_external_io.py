"""Files and tasks of filters in the running service: traffic that is spooled, and stopping in the middle."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from fwx.workers import WORKERS

# Keeps what the client sends in a file by overlapped writes, one at a time: the next piece is received when the last is
# in the file and sent on. A task that blocks flushes the file in the end.
SPOOL = """
import os, sys, threading

@sdk.implementer(sdk.IFWXExternalIOCompletion)
class Written(sdk.Unknown):
    def __init__(self, data):
        self.data = data

    def CompleteAsyncIO(self, fSuccess, NumberOfBytesTransfered, Win32ErrorCode, pOverlapped, UserData):
        self.data.written(fSuccess, UserData)

@sdk.implementer(sdk.IFWXTaskCompletion, sdk.IBlocking)
class Flush(sdk.Unknown):
    def __init__(self, firewall):
        self.firewall = firewall

    def CompleteTask(self, UserData):
        self.firewall.StartHeavyBlockingOperation()
        os.fsync(UserData)
        os.close(UserData)
        self.firewall.EndHeavyBlockingOperation()
        print("flushed on", threading.current_thread().name, file=sys.stderr, flush=True)

class Data(sdk.DataPump):
    def __init__(self, firewall, connection):
        super().__init__()
        self.firewall, self.place, self.waits = firewall, 0, False
        self.fd = os.open("spool/file", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        firewall.HookToCompletionPort(self.fd)
        self.overlapped = firewall.CreateOverlapped()

    def inspect(self, to_server, buffer):
        size = buffer.GetBufferSizes()[1]
        if not to_server or not size:
            return buffer
        self.overlapped.SetNotificationInterface(Written(self), buffer)
        structure = self.overlapped.GetOverlapped()
        structure.Offset = self.place
        self.place += size
        sdk.WriteFile(self.fd, buffer, None, structure)
        return self.firewall.CreateWindowBuffer(buffer, 0, size)

    def written(self, success, buffer):
        assert success
        if self.waits:
            self.waits = False
            super().CompleteAsyncIO(True, 0, None, "sent to server", None, 0)

    def CompleteAsyncIO(self, fSuccess, Win32ErrorCode, pIOBuffer, UserData, *address):
        if UserData == "sent to server" and self.overlapped.GetOverlapped().Internal == 0x103:
            self.waits = True
            return
        super().CompleteAsyncIO(fSuccess, Win32ErrorCode, pIOBuffer, UserData, *address)

    def ended(self):
        self.firewall.PostTaskCompletion(Flush(self.firewall), self.fd)
"""

# Begins what never ends by itself: reads of pipes, a task that hangs, one that waits behind nothing.
HANGS = """
import os, sys, threading, time

@sdk.implementer(sdk.IFWXExternalIOCompletion)
class Told(sdk.Unknown):
    def __init__(self):
        self.codes = []

    def CompleteAsyncIO(self, fSuccess, NumberOfBytesTransfered, Win32ErrorCode, pOverlapped, UserData):
        self.codes.append(Win32ErrorCode)
        if len(self.codes) == 20:
            print("told", *sorted(set(self.codes)), file=sys.stderr, flush=True)

@sdk.implementer(sdk.IFWXTaskCompletion, sdk.IBlocking)
class Hangs(sdk.Unknown):
    def CompleteTask(self, UserData):
        sys.stderr.write("hangs\\n")  # in one piece, beside what the service says
        threading.Event().wait(UserData)
        print("back", file=sys.stderr, flush=True)

class Filter(Filter):
    def FilterInit(self, pIFWXFirewall):
        reader, writer = os.pipe()
        told = Told()
        pIFWXFirewall.HookToCompletionPort(reader)
        for _ in range(20):
            overlapped = pIFWXFirewall.CreateOverlapped()
            overlapped.SetNotificationInterface(told, 0)
            sdk.ReadFile(reader, bytearray(1), None, overlapped.GetOverlapped())
        pIFWXFirewall.PostTaskCompletion(Hangs(), SECONDS)
        return super().FilterInit(pIFWXFirewall)
"""
LOOPS = ("uvloop", "asyncio")


@pytest.mark.parametrize("loop", LOOPS)
def test_traffic_is_spooled(serve: Any, origin: Any, client: Any, eventually: Any, loop: str) -> None:
    """B5.18, B5.14: through the proxy, with the descriptors given back."""
    folder = serve.make_folder()
    (folder / "spool").mkdir(mode=0o777)
    (folder / "spool").chmod(0o777)
    firewall = serve(filters={"spool": SPOOL}, folder=folder, loop=loop)
    content = os.urandom(3 << 20)
    received = bytearray()

    def take(sock: Any) -> None:
        received.extend(client.to_end(sock))

    server = origin(take)
    with client.socks(firewall.address(), server.address) as sock:
        sock.sendall(content)
        sock.shutdown(1)
        assert client.to_end(sock) == b""
    eventually(lambda: "flushed on fwx-worker-" in firewall.stderr(), "the task that flushes the file")
    assert bytes(received) == content
    assert (folder / "spool" / "file").read_bytes() == content
    firewall.wait_base_line()


@pytest.mark.parametrize("loop", LOOPS)
def test_sigterm_with_operations_pending(serve: Any, eventually: Any, loop: str) -> None:
    """B5.18: they complete as aborted; a task that blocks is waited for."""
    firewall = serve(filters={"hangs": HANGS.replace("SECONDS", "1.0")}, loop=loop)
    eventually(lambda: "hangs\n" in firewall.stderr(), "the task that blocks")
    firewall.tell()
    firewall.wait_stopped()
    lines = firewall.stderr().splitlines()
    assert lines.index("told 995") < lines.index("back")


def test_sigterm_with_a_task_that_never_ends(serve: Any, eventually: Any) -> None:
    """It holds the service up for a few seconds, and not for ever; the log says so."""
    prelude = "import fwx.service\nfwx.service.WORKER_SECONDS = 0.2\n"
    firewall = serve(filters={"hangs": HANGS.replace("SECONDS", "60")}, prelude=prelude)
    eventually(lambda: "hangs\n" in firewall.stderr(), "the task that blocks")
    before = time.monotonic()
    firewall.tell()
    firewall.wait_stopped()
    assert time.monotonic() - before < 10
    assert "told 995" in firewall.stderr()
    assert "1 threads still block, 0 calls that waited for one are dropped" in firewall.stderr()


def test_files_are_accessed_while_tasks_hang(serve: Any, origin: Any, client: Any, eventually: Any) -> None:
    """A filter that has every thread of the pool hang does not hold up the files of another."""
    folder = serve.make_folder()
    (folder / "spool").mkdir(mode=0o777)
    (folder / "spool").chmod(0o777)
    once, again = "pIFWXFirewall.PostTaskCompletion(Hangs(), SECONDS)", "[{} for _ in range(100)]"
    hangs = HANGS.replace(once, again.format(once)).replace("SECONDS", "60")
    prelude = "import fwx.service\nfwx.service.WORKER_SECONDS = 0.2\n"
    firewall = serve(filters={"spool": SPOOL, "hangs": hangs}, folder=folder, prelude=prelude)
    eventually(lambda: firewall.stderr().count("hangs\n") == WORKERS, "every thread to hang")
    with client.socks(firewall.address(), origin().address) as sock:
        sock.sendall(b"content")
        assert client.exactly(sock, 7) == b"content"
    assert (folder / "spool" / "file").read_bytes() == b"content"
    firewall.stop()
