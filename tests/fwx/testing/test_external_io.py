"""Files, tasks and threads of filters in a firewall in memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx import sdk
from fwx.testing import AttachingFilter, MemoryFirewall, MoveRecorder
from fwx.testing import handles as memory_handles


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def memory() -> Iterator[MemoryFirewall]:
    before, threads = _descriptors(), threading.active_count()
    memory = MemoryFirewall()
    yield memory
    memory.close()
    assert memory.faults == ()
    assert (_descriptors(), threading.active_count()) == (before, threads)


# ---- the shape of the SDK's sample ExeBlock: what comes is spooled to a file and judged, then goes on ----------------

CHUNK = 700


@sdk.implementer(sdk.IFWXExternalIOCompletion)
class Spool(sdk.Unknown):
    """The file of one direction; tells its data filter what has been written and what has been read."""

    def __init__(self, firewall: Any, path: Path, owner: ExeBlock) -> None:
        self._firewall, self._owner = firewall, owner
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        firewall.HookToCompletionPort(self.fd)
        self._overlapped = firewall.CreateOverlapped()
        self._place = 0

    def write(self, buffer: Any) -> None:
        self._begin(sdk.WriteFile, buffer, "written")

    def read(self) -> None:
        self._begin(sdk.ReadFile, self._firewall.CreateBuffer(CHUNK), "read")

    def rewind(self) -> None:
        self._place = 0

    def close(self) -> None:
        os.close(self.fd)

    def _begin(self, call: Any, buffer: Any, what: str) -> None:
        self._overlapped.SetNotificationInterface(self, (what, buffer))
        structure = self._overlapped.GetOverlapped()
        structure.Offset = self._place
        call(self.fd, buffer, None, structure)

    def CompleteAsyncIO(
        self, fSuccess: bool, NumberOfBytesTransfered: int, Win32ErrorCode: int, pOverlapped: Any, UserData: Any
    ) -> None:
        what, buffer = UserData
        self._place += NumberOfBytesTransfered
        if what == "written":
            self._owner.written(fSuccess)
        else:
            self._owner.read(buffer if fSuccess else None)


@sdk.implementer(sdk.IFWXDataFilter, sdk.IFWXIOCompletion)
class ExeBlock(sdk.Unknown):
    """Lets nothing through to the server before it has all of it in a file; a program is let through never."""

    def __init__(self, firewall: Any, folder: Path) -> None:
        self._firewall, self._folder = firewall, folder
        self.spool: Spool | None = None

    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> None:
        self._internal, self._external = piInternalSocket, pIExternalSocket
        self.spool = Spool(self._firewall, self._folder / "spool", self)
        self._internal.Recv(None, self, "received")

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: Any,
        UserData: object,
        ExternalAddress: Any,
        ExternalAddressLength: int,
    ) -> None:
        if self.spool is None:
            return
        if not fSuccess:
            self._block()
        elif UserData == "sent":
            self.spool.read()
        elif pIOBuffer.GetBufferSizes()[1]:
            self.spool.write(pIOBuffer)
        elif os.pread(self.spool.fd, 2, 0) == b"MZ":
            self._block()
        else:
            self.spool.rewind()
            self.spool.read()

    def written(self, success: bool) -> None:
        if self.spool is not None:
            self._internal.Recv(None, self, "received") if success else self._block()

    def read(self, buffer: Any) -> None:
        if self.spool is None:
            return
        if buffer is None:
            self._external.Shutdown(False)
        else:
            self._external.Send(buffer, self, "sent")

    def Detach(self) -> None:
        if self.spool is not None:
            self.spool.close()
        self.spool = self._internal = self._external = None

    def _block(self) -> None:
        self._internal.Close(True)
        self._external.Close(True)


@pytest.mark.parametrize(
    ("content", "passes"), [(b"harmless" * 999, True), (b"MZ" + bytes(5000), False), (b"", True), (b"M", True)]
)
def test_what_a_data_filter_spools_to_a_file(
    memory: MemoryFirewall, tmp_path: Path, content: bytes, passes: bool
) -> None:
    """B5.18, B5.20: the five calls keep the shape of the sample; Recv goes on in the completion of the file."""
    memory.start(lambda: AttachingFilter(lambda: ExeBlock(memory.firewall, tmp_path)))
    client, server = memory.open().established()
    for start in range(0, len(content), 1000):
        client.send(content[start : start + 1000])
        assert server.receive() == b"", "something passed before it was judged"
    assert (tmp_path / "spool").read_bytes() == content
    client.shutdown()
    assert server.receive() == (content if passes else b"")
    assert (server.ended, server.was_reset) == (passes, not passes)
    assert memory.observer.faults == []
    client.close()
    server.close()
    assert len(memory.workers) == 0, "a firewall in memory accesses files without threads"


def test_a_connection_that_ends_while_its_file_is_written(memory: MemoryFirewall, tmp_path: Path) -> None:
    """B5.19: Detach closes the descriptor; the operation that is pending ends all the same."""
    memory.start(lambda: AttachingFilter(lambda: ExeBlock(memory.firewall, tmp_path)))
    opened = memory.open()
    client, _ = opened.established()
    client._transport.send(b"on its way")
    client._transport.close(True)
    memory.loop.run()
    assert opened.connection.GetConnectionFlags() is not None
    assert (tmp_path / "spool").exists()


# ---- what happens outside --------------------------------------------------------------------------------------------


def test_streams_are_tried_when_nothing_else_is_ready(memory: MemoryFirewall) -> None:
    """B5.20: without waiting and without time; what has not happened by then happens in a later run."""
    reader, writer = os.pipe()
    recorder, block = MoveRecorder(), bytearray(8)
    memory.firewall.HookToCompletionPort(reader)
    overlapped = memory.firewall.CreateOverlapped()
    overlapped.SetNotificationInterface(recorder, "read")
    sdk.ReadFile(reader, block, None, overlapped.GetOverlapped())
    memory.loop.run()
    memory.loop.advance(3600)
    assert recorder.calls == []
    os.write(writer, b"abc")
    assert recorder.calls == []
    memory.loop.run()
    assert recorder.outcomes == [("read", 0, 3)]
    os.close(reader)
    os.close(writer)


@sdk.implementer(sdk.IFWXTaskCompletion, sdk.IBlocking)
class BlockingTask(sdk.Unknown):
    def __init__(self, work: Any) -> None:
        self._work = work

    def CompleteTask(self, UserData: Any) -> None:
        self._work(UserData)


def test_a_run_waits_for_tasks_that_block(memory: MemoryFirewall) -> None:
    """B5.4: on threads of their own, with what they post and what they write into a pipe."""
    reader, writer = os.pipe()
    recorder, done = MoveRecorder(), []
    memory.firewall.HookToCompletionPort(reader)
    overlapped = memory.firewall.CreateOverlapped()
    overlapped.SetNotificationInterface(recorder, "read")

    told = threading.Event()

    def work(tag: int) -> None:
        told.wait(10)
        sdk.ReadFile(reader, bytearray(1), None, overlapped.GetOverlapped())
        os.write(writer, b"x")
        done.append(tag)

    memory.firewall.PostTaskCompletion(BlockingTask(work), 7)
    assert (done, len(memory.workers)) == ([], 1)
    told.set()
    memory.loop.run()
    assert (done, recorder.outcomes) == ([7], [("read", 0, 1)])
    os.close(reader)
    os.close(writer)


def test_a_task_may_wait_for_the_loop(memory: MemoryFirewall) -> None:
    """B5.14: a name is looked up, which on a thread of the pool waits; the run goes on meanwhile."""
    memory.names.table["server.example"] = ["192.0.2.7"]
    found = []

    def work(tag: object) -> None:
        memory.firewall.StartHeavyBlockingOperation()
        try:
            found.append(memory.firewall.GetHostByName("server.example"))
        finally:
            memory.firewall.EndHeavyBlockingOperation()

    memory.firewall.PostTaskCompletion(BlockingTask(work), 0)
    memory.loop.run()
    assert [str(address) for address in found[0].addresses] == ["192.0.2.7"]


def test_a_run_that_leaves_what_has_announced_that_it_blocks(memory: MemoryFirewall) -> None:
    """B5.13: a test looks at the firewall meanwhile; the pool has grown beyond its usual size."""
    memory.leaves_blocked = True
    gate, done = threading.Event(), []

    def work(tag: object) -> None:
        memory.firewall.StartHeavyBlockingOperation()
        assert gate.wait(5)
        memory.firewall.EndHeavyBlockingOperation()
        done.append(tag)

    for tag in range(10):
        memory.firewall.PostTaskCompletion(BlockingTask(work), tag)
    memory.loop.run()
    assert (done, len(memory.workers)) == ([], 10)
    gate.set()
    memory.close()
    assert sorted(done) == list(range(10))


def test_a_task_that_never_ends_fails_the_test(memory: MemoryFirewall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_handles, "PATIENCE_SECONDS", 0.05)
    gate = threading.Event()
    memory.firewall.PostTaskCompletion(BlockingTask(lambda tag: gate.wait(5)), 0)
    with pytest.raises(
        RuntimeError, match=r"MemoryLoop\.run does not end: a thread of the pool has not come back within 0\.05 s"
    ):
        memory.loop.run()
    gate.set()


def test_a_thread_that_outlives_the_firewall_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwx.testing.firewall.PATIENCE_SECONDS", 0.05)
    memory, gate = MemoryFirewall(), threading.Event()
    memory.leaves_blocked = True

    def work(tag: object) -> None:
        memory.firewall.StartHeavyBlockingOperation()
        assert gate.wait(5)
        memory.firewall.EndHeavyBlockingOperation()

    memory.firewall.PostTaskCompletion(BlockingTask(work), 0)
    memory.loop.run()
    with pytest.raises(RuntimeError, match="1 threads of tasks that block have not ended"):
        memory.close()
    gate.set()
    assert memory.workers.join(5) == 0
