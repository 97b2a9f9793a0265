"""Overlapped operations on real files, pipes, eventfds, sockets and terminals, on both event loops."""

from __future__ import annotations

import hashlib
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from zope.interface import implementer

from fwx import sdk
from fwx.impl import externalio
from fwx.impl.raw import Ref, raw
from fwx.interfaces import (
    E_ACCESSDENIED,
    E_FAIL,
    E_HANDLE,
    E_INVALIDARG,
    E_OUTOFMEMORY,
    E_POINTER,
    ERROR_ACCESS_DENIED,
    ERROR_BROKEN_PIPE,
    ERROR_DISK_FULL,
    ERROR_FILE_TOO_LARGE,
    ERROR_HANDLE_EOF,
    ERROR_INVALID_FUNCTION,
    ERROR_INVALID_PARAMETER,
    ERROR_IO_DEVICE,
    ERROR_NOACCESS,
    ERROR_NOT_FOUND,
    ERROR_OPERATION_ABORTED,
    ERROR_TOO_MANY_OPEN_FILES,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAENOBUFS,
    COMError,
    IFWXExternalIOCompletion,
    IFWXFirewall,
    IFWXIOBuffer,
    IFWXOverlapped,
)
from fwx.testing import MoveRecorder
from tests.impl.conftest import Rig

CHUNK = 64 << 10


class Files:
    """Steps 1 to 4 of B5.18, and descriptors that are closed at the end of the test."""

    def __init__(self, rig: Rig, stack: ExitStack) -> None:
        self.rig = rig
        self.firewall = rig.firewall
        self._stack = stack

    def own(self, fd: int, *, hook: bool = True) -> int:
        """Return *fd*, hooked; the test may close it."""
        self._stack.callback(_close, fd)
        if hook:
            self.firewall.HookToCompletionPort(fd)
        return fd

    def file(self, content: bytes = b"", flags: int = os.O_RDWR) -> int:
        fd, name = tempfile.mkstemp()
        self._stack.callback(os.unlink, name)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        return self.own(os.open(name, flags))

    def pipe(self) -> tuple[int, int]:
        reader, writer = os.pipe()
        return self.own(reader), self.own(writer)

    def structure(self, recorder: Any, tag: object = 0, offset: int = 0) -> Any:
        overlapped = self.firewall.CreateOverlapped()
        overlapped.SetNotificationInterface(recorder, tag)
        structure = overlapped.GetOverlapped()
        structure.Offset, structure.OffsetHigh = offset & 0xFFFF_FFFF, offset >> 32
        return structure

    @contextmanager
    def busy_pool(self, threads: int = 8) -> Iterator[None]:
        """Keep *threads* threads of the pool busy: all of them, so that what needs one waits."""
        gate, begun = threading.Event(), threading.Semaphore(0)

        def work() -> None:
            begun.release()
            assert gate.wait(5)

        for _ in range(threads):
            self.rig.workers.submit(work)
        for _ in range(threads):
            assert begun.acquire(timeout=5)
        try:
            yield
        finally:
            gate.set()


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:  # the test closed it
        return


@pytest.fixture
def files(rig: Rig) -> Iterator[Files]:
    with ExitStack() as stack:
        yield Files(rig, stack)
        rig.finish()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"needs 4096 descriptors, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


# ---- files -----------------------------------------------------------------------------------------------------------


@implementer(IFWXExternalIOCompletion)
class Copier(sdk.Unknown):
    """Copies a file as a filter would: a few reads at a time, each followed by its write."""

    def __init__(self, firewall: Any, source: int, target: int) -> None:
        self._firewall = firewall
        self._source, self._target = source, target
        self._next = 0
        self.under_way = 0
        self.failures: list[int] = []
        for each in (source, target):
            firewall.HookToCompletionPort(each)

    def start(self, operations: int) -> None:
        for _ in range(operations):
            self.under_way += 1
            self._read(self._firewall.CreateOverlapped(), self._firewall.CreateBuffer(CHUNK))

    def _read(self, overlapped: Any, buffer: Any) -> None:
        self._begin(sdk.ReadFile, self._source, overlapped, buffer, self._next, "read")
        self._next += CHUNK

    def _begin(self, call: Any, fd: int, overlapped: Any, buffer: Any, offset: int, what: str) -> None:
        overlapped.SetNotificationInterface(self, (what, buffer, offset))
        structure = overlapped.GetOverlapped()
        structure.Offset, structure.OffsetHigh = offset & 0xFFFF_FFFF, offset >> 32
        call(fd, buffer, None, structure)

    def CompleteAsyncIO(
        self, fSuccess: bool, NumberOfBytesTransfered: int, Win32ErrorCode: int, pOverlapped: Any, UserData: Any
    ) -> None:
        what, buffer, offset = UserData
        if not fSuccess:
            self.under_way -= 1
            self.failures.append(Win32ErrorCode)
        elif what == "read":
            assert buffer.GetBufferSizes()[1] == NumberOfBytesTransfered
            self._begin(sdk.WriteFile, self._target, pOverlapped, buffer, offset, "write")
        else:
            self._read(pOverlapped, self._firewall.CreateBuffer(CHUNK))


def test_a_file_is_copied(rig: Rig, tmp_path: Path) -> None:
    """B5.18, B5.5: the five steps over and over, one callback for reads and writes, and not a byte is wrong."""
    content = os.urandom(1 << 20) * 5 + b"the odd end"
    (tmp_path / "source").write_bytes(content)
    source = os.open(tmp_path / "source", os.O_RDONLY)
    target = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    copier = Copier(rig.firewall, source, target)
    copier.start(4)
    rig.until(lambda: not copier.under_way)
    os.close(source)
    os.close(target)
    assert copier.failures == [ERROR_HANDLE_EOF] * 4
    copied = (tmp_path / "target").read_bytes()
    assert hashlib.sha256(copied).digest() == hashlib.sha256(content).digest()
    assert rig.alerts == []
    assert len(rig.workers) <= 8


def test_places_beyond_four_gibibytes(rig: Rig, files: Files) -> None:
    """The high half of the offset counts."""
    fd, recorder, place = files.file(), MoveRecorder(), (5 << 32) + 10
    sdk.WriteFile(fd, b"far away", None, files.structure(recorder, "write", place))
    rig.until(lambda: recorder.calls)
    assert os.fstat(fd).st_size == place + 8
    memory = bytearray(4)
    sdk.ReadFile(fd, memory, None, files.structure(recorder, "read", place + 4))
    rig.until(lambda: len(recorder.calls) == 2)
    assert (recorder.outcomes, bytes(memory)) == ([("write", 0, 8), ("read", 0, 4)], b"away")


def test_behind_the_end(rig: Rig, files: Files) -> None:
    """Both halves of the offset 0xFFFFFFFF, as in Windows; a read has no such place."""
    fd, recorder = files.file(b"begin"), MoveRecorder()
    for part in (b" middle", b" end"):
        sdk.WriteFile(fd, part, None, files.structure(recorder, 0, (1 << 64) - 1))
        rig.until(lambda: not len(rig.handles))
    assert os.pread(fd, 99, 0) == b"begin middle end"
    assert code_of(sdk.ReadFile, fd, bytearray(1), 1, files.structure(recorder, 0, (1 << 64) - 1)) == E_INVALIDARG
    assert code_of(sdk.WriteFile, fd, b"x", 1, files.structure(recorder, 0, 1 << 63)) == E_INVALIDARG


def test_a_full_disk(rig: Rig, files: Files) -> None:
    """B5.3: the Windows number of what the kernel says."""
    recorder = MoveRecorder()
    fd = files.own(os.open("/dev/full", os.O_RDWR))
    sdk.WriteFile(fd, b"no room", None, files.structure(recorder))
    rig.until(lambda: recorder.calls)
    assert recorder.outcomes == [(0, ERROR_DISK_FULL, 0)]
    assert recorder.calls[0].success is False


def test_a_write_that_fails_half_way_tells_how_far_it_came(rig: Rig, files: Files) -> None:
    fd, recorder = files.file(), MoveRecorder()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        sdk.WriteFile(fd, bytes(3000), None, files.structure(recorder))
        rig.until(lambda: recorder.calls)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert recorder.outcomes == [(0, ERROR_FILE_TOO_LARGE, 1000)]


@pytest.mark.parametrize(
    ("path", "flags", "call", "code"),
    [
        ("/", os.O_RDONLY, sdk.ReadFile, ERROR_INVALID_FUNCTION),
        ("/dev/null", os.O_WRONLY, sdk.ReadFile, ERROR_ACCESS_DENIED),
        ("/dev/null", os.O_RDONLY, sdk.WriteFile, ERROR_ACCESS_DENIED),
        ("/dev/null", os.O_RDONLY, sdk.ReadFile, ERROR_HANDLE_EOF),
    ],
)
def test_what_the_kernel_refuses(rig: Rig, files: Files, path: str, flags: int, call: Any, code: int) -> None:
    """It is told by the completion, and the call has succeeded."""
    recorder = MoveRecorder()
    call(files.own(os.open(path, flags)), bytearray(4), 4, files.structure(recorder))
    rig.until(lambda: recorder.calls)
    assert recorder.outcomes == [(0, code, 0)]


def test_a_number_that_is_another_file_by_the_time_a_thread_is_free(rig: Rig, files: Files) -> None:
    """B5.19: each operation is on the file that was hooked; the other one is neither read nor written."""
    fd, other = files.file(b"the right one"), files.file(b"the wrong one")
    recorder, memory = MoveRecorder(), bytearray(13)
    with files.busy_pool():
        sdk.ReadFile(fd, memory, None, files.structure(recorder, "read"))
        sdk.WriteFile(fd, b"THE", None, files.structure(recorder, "write"))
        kept = os.dup(fd)
        os.dup2(other, fd)
    rig.until(lambda: len(recorder.calls) == 2)
    assert {outcome[:2] for outcome in recorder.outcomes} == {("read", 0), ("write", 0)}
    assert memory[4:] == b"right one"
    assert os.pread(kept, 99, 0) == b"THE right one"
    assert os.pread(other, 99, 0) == b"the wrong one"
    os.close(kept)


def test_the_same_file_opened_again_is_another_handle(rig: Rig, files: Files, tmp_path: Path) -> None:
    """B5.18, B5.19: with the same number and the same inode; it is hooked anew, not hooked already."""
    recorder = MoveRecorder()
    for number in range(3):
        fd = os.open(tmp_path / "spool", os.O_RDWR | os.O_CREAT)
        assert code_of(sdk.ReadFile, fd, bytearray(1), 1, files.structure(recorder)) == E_INVALIDARG
        rig.firewall.HookToCompletionPort(fd)
        assert code_of(rig.firewall.HookToCompletionPort, fd) == E_INVALIDARG
        sdk.WriteFile(fd, b"x", None, files.structure(recorder, number, number))
        os.close(fd)
    rig.until(lambda: len(recorder.calls) == 3)
    assert (tmp_path / "spool").read_bytes() == b"xxx"


def test_another_hooked_file_under_the_same_number(rig: Rig, files: Files) -> None:
    """B5.19: the number was hooked and the file was hooked, but not the one as the other."""
    fd, other = files.file(b"one"), files.file(b"other")
    os.dup2(other, fd)
    assert code_of(sdk.ReadFile, fd, bytearray(1), 1, files.structure(MoveRecorder())) == E_INVALIDARG
    rig.firewall.HookToCompletionPort(fd)


def test_a_copy_of_a_hooked_descriptor_is_not_hooked(rig: Rig, files: Files) -> None:
    """B5.19: a number counts."""
    fd = files.file(b"content")
    with os.fdopen(os.dup(fd), "rb") as copy:
        structure = files.structure(MoveRecorder())
        assert code_of(sdk.ReadFile, copy.fileno(), bytearray(1), 1, structure) == E_INVALIDARG


# ---- pipes and the like ----------------------------------------------------------------------------------------------


def test_a_pipe_from_another_process(rig: Rig, files: Files) -> None:
    """B5.20: what it writes arrives in order; its end is ERROR_BROKEN_PIPE."""
    program = "import os, sys\nfor n in range(300): os.write(1, bytes([n % 256]) * 1009)"
    received = bytearray()
    ends: list[int] = []

    def go_on(moved: Any) -> None:
        if moved.success:
            received.extend(memory[: moved.transfered])
            sdk.ReadFile(fd, memory, None, moved.overlapped.GetOverlapped())
        else:
            ends.append(moved.code)

    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        fd, memory = process.stdout.fileno(), bytearray(4096)
        rig.firewall.HookToCompletionPort(fd)
        sdk.ReadFile(fd, memory, None, files.structure(MoveRecorder(go_on)))
        rig.until(lambda: ends)
    assert ends == [ERROR_BROKEN_PIPE]
    assert bytes(received) == b"".join(bytes([n % 256]) * 1009 for n in range(300))


def test_a_pipe_to_another_process(rig: Rig, files: Files) -> None:
    """B5.20: a write ends when the reader has made room for all of it; then the reader goes."""
    content, recorder = os.urandom(3 << 20), MoveRecorder()
    program = "import sys, hashlib\nprint(hashlib.sha256(sys.stdin.buffer.read(3 << 20)).hexdigest())"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        fd = process.stdin.fileno()
        rig.firewall.HookToCompletionPort(fd)
        sdk.WriteFile(fd, rig.firewall.CreateConstBuffer(content), None, files.structure(recorder, 1))
        rig.until(lambda: recorder.calls)
        assert process.stdout.read().split() == [hashlib.sha256(content).hexdigest().encode()]
        assert process.wait(10) == 0
        sdk.WriteFile(fd, b"nobody is there", None, files.structure(recorder, 2))
        rig.until(lambda: len(recorder.calls) == 2)
    assert recorder.outcomes == [(1, 0, 3 << 20), (2, ERROR_BROKEN_PIPE, 0)]


def test_an_eventfd_that_another_thread_signals(rig: Rig, files: Files) -> None:
    """B5.20: the loop sleeps meanwhile; a counter that is full makes a write wait."""
    fd, recorder, memory = files.own(os.eventfd(0)), MoveRecorder(), bytearray(8)
    sdk.ReadFile(fd, memory, None, files.structure(recorder, "first"))
    rig.settle()
    assert recorder.calls == []
    thread = threading.Thread(target=os.eventfd_write, args=(fd, 41))
    thread.start()
    rig.until(lambda: recorder.calls)
    thread.join()
    assert int.from_bytes(memory, "little") == 41
    for value in (0xFFFF_FFFF_FFFF_FFFE, 1):
        sdk.WriteFile(fd, value.to_bytes(8, "little"), None, files.structure(recorder, value))
    rig.settle()
    assert recorder.outcomes[1:] == [(0xFFFF_FFFF_FFFF_FFFE, 0, 8)]
    os.eventfd_read(fd)
    rig.until(lambda: len(recorder.calls) == 3)
    sdk.ReadFile(fd, bytearray(4), None, files.structure(recorder, "too little"))
    rig.until(lambda: len(recorder.calls) == 4)
    assert recorder.outcomes[3] == ("too little", ERROR_INVALID_PARAMETER, 0)


def test_two_eventfds_under_one_number(rig: Rig, files: Files) -> None:
    """B5.19: all eventfds are one inode; what waits for the first is not woken by the second, nor in its way."""
    first, recorder = os.eventfd(0), MoveRecorder()
    rig.firewall.HookToCompletionPort(first)
    kept = os.dup(first)
    sdk.ReadFile(first, bytearray(8), None, files.structure(recorder, "first"))
    os.close(first)
    second = os.eventfd(5)
    assert second == first
    assert code_of(sdk.ReadFile, second, bytearray(8), None, files.structure(recorder)) == E_INVALIDARG
    rig.firewall.HookToCompletionPort(second)
    sdk.ReadFile(second, bytearray(8), None, files.structure(recorder, "second"))
    rig.until(lambda: recorder.calls)
    os.eventfd_write(kept, 1)
    rig.until(lambda: len(recorder.calls) == 2)
    assert recorder.outcomes == [("second", 0, 8), ("first", 0, 8)]
    os.close(second)
    os.close(kept)


def test_a_socket(rig: Rig, files: Files) -> None:
    """B3.24: its graceful end is a success of 0 bytes, as a stream's is."""
    left, right = socket.socketpair()
    recorder, memory = MoveRecorder(), bytearray(99)
    with left, right:
        rig.firewall.HookToCompletionPort(left.fileno())
        sdk.ReadFile(left.fileno(), memory, None, files.structure(recorder, "read"))
        sdk.WriteFile(left.fileno(), b"question", None, files.structure(recorder, "write"))
        assert right.recv(99) == b"question"
        right.sendall(b"answer")
        rig.until(lambda: len(recorder.calls) == 2)
        assert sorted(recorder.outcomes) == [("read", 0, 6), ("write", 0, 8)]
        sdk.ReadFile(left.fileno(), memory, None, files.structure(recorder, "end"))
        right.close()
        rig.until(lambda: len(recorder.calls) == 3)
    assert recorder.outcomes[2] == ("end", 0, 0)


def test_a_terminal(rig: Rig, files: Files) -> None:
    """A line comes when it is whole; when the terminal is gone the device fails."""
    main, terminal = os.openpty()
    files.own(main, hook=False)
    fd, recorder, memory = files.own(terminal), MoveRecorder(), bytearray(99)
    sdk.ReadFile(fd, memory, None, files.structure(recorder, "line"))
    os.write(main, b"yes")
    rig.settle()
    assert recorder.calls == []
    os.write(main, b"\n")
    rig.until(lambda: recorder.calls)
    assert memory[:4] == b"yes\n"
    os.close(main)
    sdk.WriteFile(fd, b"x", None, files.structure(recorder, "gone"))
    rig.until(lambda: len(recorder.calls) == 2)
    assert recorder.outcomes == [("line", 0, 4), ("gone", ERROR_IO_DEVICE, 0)]


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_no_bytes_at_all(rig: Rig, files: Files, kind: str) -> None:
    """They are moved at once, also where there are none."""
    recorder = MoveRecorder()
    reader, writer = (files.file(),) * 2 if kind == "file" else files.pipe()
    sdk.ReadFile(reader, bytearray(4), 0, files.structure(recorder, "read"))
    sdk.WriteFile(writer, b"text", 0, files.structure(recorder, "write"))
    rig.until(lambda: len(recorder.calls) == 2)
    assert sorted(recorder.outcomes) == [("read", 0, 0), ("write", 0, 0)]


def test_a_thousand_operations(rig: Rig, files: Files, many_descriptors: None) -> None:
    """B5.5, B5.18: all pending at once, one callback, each completes once, by the data that came for it."""
    recorder = MoveRecorder()
    pipes = [files.pipe() for _ in range(10)]
    memory = [[bytearray(1) for _ in range(100)] for _ in pipes]
    for number, (reader, _) in enumerate(pipes):
        for turn in range(100):
            sdk.ReadFile(reader, memory[number][turn], None, files.structure(recorder, (number, turn)))
    rig.settle()
    assert len(rig.handles) == 1000
    assert recorder.calls == []
    for number, (_, writer) in enumerate(pipes):
        os.write(writer, bytes([65 + number]) * 100)
    rig.until(lambda: len(recorder.calls) == 1000)
    rig.settle()
    assert sorted(recorder.outcomes) == [((number, turn), 0, 1) for number in range(10) for turn in range(100)]
    for number in range(10):
        assert [tag[1] for tag, _, _ in recorder.outcomes if tag[0] == number] == list(range(100))  # type: ignore[index]
        assert b"".join(memory[number]) == bytes([65 + number]) * 100
    assert len(rig.handles) == len(rig.poller) == 0


# ---- ending early ----------------------------------------------------------------------------------------------------


def test_cancelling_what_waits_for_a_thread(rig: Rig, files: Files) -> None:
    """B5.18: nothing is read and nothing written."""
    fd, recorder, memory = files.file(b"as it was"), MoveRecorder(), bytearray(4)
    read, write = files.structure(recorder, "read"), files.structure(recorder, "write")
    with files.busy_pool():
        sdk.ReadFile(fd, memory, None, read)
        sdk.WriteFile(fd, b"other", None, write)
        for each in (read, write):
            sdk.CancelIoEx(fd, each)
            sdk.CancelIoEx(fd, each)
        assert recorder.calls == []
        rig.until(lambda: len(recorder.calls) == 2)
    rig.settle()
    assert recorder.outcomes == [(tag, ERROR_OPERATION_ABORTED, 0) for tag in ("read", "write")]
    assert (bytes(memory), os.pread(fd, 99, 0)) == (bytes(4), b"as it was")


def test_what_a_thread_has_begun_is_not_cancelled(rig: Rig, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """CancelIoEx asks; the completion tells that it was too late."""
    fd, recorder = files.file(b"content"), MoveRecorder()
    begun, gate, pread = threading.Event(), threading.Event(), os.pread

    def slow(*args: Any) -> bytes:
        begun.set()
        assert gate.wait(5)
        return pread(*args)

    monkeypatch.setattr(os, "pread", slow)
    structure = files.structure(recorder)
    sdk.ReadFile(fd, bytearray(7), None, structure)
    assert begun.wait(5)
    sdk.CancelIoEx(fd, structure)
    rig.settle()
    assert recorder.calls == []
    gate.set()
    rig.until(lambda: recorder.calls)
    assert recorder.outcomes == [(0, 0, 7)]


def test_cancelling_one_of_several_on_a_pipe(rig: Rig, files: Files) -> None:
    """The others keep their order, whichever it was; what a write had moved is told."""
    reader, writer = files.pipe()
    recorder = MoveRecorder()
    memory = [bytearray(1) for _ in range(4)]
    structures = [files.structure(recorder, number) for number in range(4)]
    for block, structure in zip(memory, structures, strict=True):
        sdk.ReadFile(reader, block, None, structure)
    rig.settle()
    for number in (2, 0):
        sdk.CancelIoEx(reader, structures[number])
    os.write(writer, b"ab")
    rig.until(lambda: len(recorder.calls) == 4)
    aborted = ERROR_OPERATION_ABORTED
    assert recorder.outcomes == [(2, aborted, 0), (0, aborted, 0), (1, 0, 1), (3, 0, 1)]
    assert b"".join(memory) == b"\0a\0b"


def test_cancelling_from_another_thread_before_the_loop_has_seen_it(rig: Rig, files: Files) -> None:
    reader, writer = files.pipe()
    recorder, structures = MoveRecorder(), []

    def begin() -> None:
        for number in range(2):
            structures.append(files.structure(recorder, number))
            sdk.ReadFile(reader, bytearray(1), None, structures[number])
        sdk.CancelIoEx(reader, structures[0])

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    sdk.CancelIoEx(reader, structures[1])  # overtakes the start, which waits in the queue
    rig.until(lambda: len(recorder.calls) == 2)
    rig.settle()
    assert set(recorder.outcomes) == {(n, ERROR_OPERATION_ABORTED, 0) for n in range(2)}
    os.write(writer, b"x")
    rig.settle()
    assert len(recorder.calls) == 2


def test_operations_from_other_threads(rig: Rig, files: Files) -> None:
    """B5.18: begun on many threads at once, each completes once, on the loop thread."""
    threads_seen = set()
    recorder = MoveRecorder(lambda moved: threads_seen.add(threading.get_ident()))
    fd = files.file(bytes(range(200)))
    memory = [bytearray(1) for _ in range(200)]

    def begin(first: int) -> None:
        for number in range(first, first + 50):
            sdk.ReadFile(fd, memory[number], None, files.structure(recorder, number, number))

    threads = [threading.Thread(target=begin, args=(first,)) for first in range(0, 200, 50)]
    for thread in threads:
        thread.start()
    rig.until(lambda: len(recorder.calls) == 200)
    for thread in threads:
        thread.join()
    assert b"".join(memory) == bytes(range(200))
    assert sorted(recorder.outcomes) == [(number, 0, 1) for number in range(200)]
    assert threads_seen == {threading.get_ident()}


def test_one_pool_serves_files_and_tasks(rig: Rig, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """B5.1: the service owns the threads and the queue; what ends is told on the loop thread, whoever began it."""
    workers, told, pread = set(), set(), os.pread

    def noted(*args: Any) -> bytes:
        workers.add(threading.current_thread())
        return pread(*args)

    @implementer(sdk.IFWXTaskCompletion, sdk.IBlocking)
    class Task(sdk.Unknown):
        def CompleteTask(self, UserData: object) -> None:
            workers.add(threading.current_thread())
            sdk.ReadFile(fd, bytearray(1), None, files.structure(recorder))

    monkeypatch.setattr(os, "pread", noted)
    fd, recorder = files.file(b"content"), MoveRecorder(lambda moved: told.add(threading.get_ident()))
    for _ in range(20):
        rig.firewall.PostTaskCompletion(Task(), 0)
    rig.until(lambda: len(recorder.calls) == 20)
    assert workers <= rig.workers._threads
    assert told == {threading.get_ident()}


def test_no_thread_can_be_had(rig: Rig, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """E_OUTOFMEMORY; nothing has begun, and the object is free for another try."""

    def refuses(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    fd, recorder = files.file(b"content"), MoveRecorder()
    structure = files.structure(recorder)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        assert code_of(sdk.ReadFile, fd, bytearray(7), None, structure) == E_OUTOFMEMORY
    assert len(rig.handles) == len(rig.firewall._external) == 0
    sdk.ReadFile(fd, bytearray(7), None, structure)
    rig.until(lambda: recorder.calls)
    assert recorder.outcomes == [(0, 0, 7)]


def test_the_service_stops(rig: Rig, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """B5.18: on a pipe, waiting for a thread, and in a thread: each completes as aborted, once; nothing new begins."""
    (reader, _), fd = files.pipe(), files.file(b"content")
    recorder, memory = MoveRecorder(), bytearray(7)
    begun, gate, pread = threading.Event(), threading.Event(), os.pread

    def slow(*args: Any) -> bytes:
        begun.set()
        assert gate.wait(5)
        return pread(*args)

    monkeypatch.setattr(os, "pread", slow)
    sdk.ReadFile(fd, memory, None, files.structure(recorder, "in a thread"))
    assert begun.wait(5)
    with files.busy_pool(7):
        sdk.WriteFile(fd, b"x", None, files.structure(recorder, "waiting for a thread"))
        sdk.ReadFile(reader, bytearray(1), None, files.structure(recorder, "on a pipe"))
        rig.settle()
        rig.firewall.close_sockets()
        rig.settle()
        aborted = ERROR_OPERATION_ABORTED
        assert sorted(recorder.outcomes) == [
            ("in a thread", aborted, 0),
            ("on a pipe", aborted, 0),
            ("waiting for a thread", aborted, 0),
        ]
        assert code_of(sdk.ReadFile, fd, memory, None, files.structure(recorder)) == FWX_E_TERMINATING
        assert code_of(rig.firewall.HookToCompletionPort, fd) == FWX_E_TERMINATING
    gate.set()
    rig.workers.close()
    assert rig.workers.join(5) == 0
    assert len(rig.queue) == 0, "a thread posts to a loop that may be gone"
    rig.settle()
    assert len(recorder.calls) == 3
    assert bytes(memory) == bytes(7), "an operation that was aborted has filled its buffer"
    assert os.lseek(fd, 0, os.SEEK_END) == 7


# ---- arguments -------------------------------------------------------------------------------------------------------


def test_the_structure_tells_the_outcome(rig: Rig, files: Files) -> None:
    """Internal and InternalHigh, as Windows fills them; hEvent has no meaning here and is refused."""
    (reader, writer), recorder = files.pipe(), MoveRecorder()
    structure = files.structure(recorder)
    sdk.ReadFile(reader, bytearray(9), None, structure)
    assert (structure.Internal, structure.InternalHigh) == (0x103, 0)
    os.write(writer, b"abc")
    rig.until(lambda: recorder.calls)
    assert (structure.Internal, structure.InternalHigh) == (0, 3)
    os.close(writer)
    sdk.ReadFile(reader, bytearray(9), None, structure)
    rig.until(lambda: len(recorder.calls) == 2)
    assert (structure.Internal, structure.InternalHigh) == (ERROR_BROKEN_PIPE, 0)
    structure.hEvent = 0
    assert code_of(sdk.ReadFile, reader, bytearray(9), None, structure) == E_INVALIDARG


def test_the_callback_of_an_operation_is_the_one_it_began_with(rig: Rig, files: Files) -> None:
    (reader, writer), first, second = files.pipe(), MoveRecorder(), MoveRecorder()
    structure = files.structure(first, "one")
    sdk.ReadFile(reader, bytearray(1), None, structure)
    structure._owner.SetNotificationInterface(second, "two")
    os.write(writer, b"x")
    rig.until(lambda: first.calls)
    sdk.ReadFile(reader, bytearray(1), None, structure)
    os.write(writer, b"x")
    rig.until(lambda: second.calls)
    assert (first.outcomes, second.outcomes) == ([("one", 0, 1)], [("two", 0, 1)])


def test_a_buffer_is_frozen_by_a_write_and_filled_by_a_read(rig: Rig, files: Files) -> None:
    """B3.14: as Send does; a read fills from the start and sets the size. A refused write has frozen nothing."""
    fd, recorder = files.file(), MoveRecorder()
    buffer = rig.firewall.CreateBuffer(8)
    buffer.Append(b"text")
    assert code_of(sdk.WriteFile, fd, buffer, 9, files.structure(recorder)) == E_INVALIDARG
    assert code_of(sdk.WriteFile, 1 << 20, buffer, 4, files.structure(recorder)) == E_HANDLE
    buffer.Append(b"!")
    sdk.WriteFile(fd, buffer, None, files.structure(recorder))
    assert code_of(buffer.Append, b"?") == E_ACCESSDENIED
    rig.until(lambda: recorder.calls)
    target = rig.firewall.CreateBuffer(8)
    target.Append(b"old text")
    sdk.ReadFile(fd, target, 3, files.structure(recorder, 0, 2))
    rig.until(lambda: len(recorder.calls) == 2)
    assert target.GetBufferSizes() == (8, 3)
    assert bytes(target.GetBufferAndSize()) == b"xt!"
    assert code_of(sdk.ReadFile, fd, buffer, 3, files.structure(recorder)) == E_ACCESSDENIED
    assert code_of(sdk.ReadFile, fd, b"constant", 3, files.structure(recorder)) == E_ACCESSDENIED
    assert len(rig.handles) == len(rig.firewall._external) == 0


def test_memory_is_the_operations_until_its_end(rig: Rig, files: Files) -> None:
    """A bytearray cannot change its size meanwhile, and can right in the completion."""
    (reader, writer), fd = files.pipe(), files.file()
    memory = [bytearray(4), bytearray(b"data")]
    recorder = MoveRecorder(lambda moved: memory[moved.tag].clear())
    sdk.ReadFile(reader, memory[0], None, files.structure(recorder, 0))
    with pytest.raises(BufferError):
        memory[0].clear()
    os.write(writer, b"x")
    sdk.WriteFile(fd, memory[1], None, files.structure(recorder, 1))
    rig.until(lambda: len(recorder.calls) == 2)
    assert memory == [b"", b""]
    assert rig.alerts == []


def test_a_buffer_that_was_sent_meanwhile_is_not_filled(rig: Rig, files: Files) -> None:
    """B3.14: it is frozen, so the read fails and the fault is reported."""
    (reader, writer), recorder = files.pipe(), MoveRecorder()
    buffer = rig.firewall.CreateBuffer(8)
    sdk.ReadFile(reader, buffer, None, files.structure(recorder))
    buffer.freeze()
    os.write(writer, b"late")
    rig.until(lambda: recorder.calls)
    assert recorder.outcomes == [(0, ERROR_NOACCESS, 0)]
    assert "failed in ReadFile: COMError: E_ACCESSDENIED" in rig.alerts[0].message


def test_a_buffer_of_the_filters_own(rig: Rig, files: Files, foreign_buffer: Any) -> None:
    """B3.16: it is written from and read into by its interface; one that fails is its filter's fault."""
    fd, recorder = files.file(b"0123456789"), MoveRecorder()
    buffer = foreign_buffer(bytearray(4))
    assert IFWXIOBuffer.providedBy(buffer)
    sdk.ReadFile(fd, buffer, None, files.structure(recorder, 0, 3))
    rig.until(lambda: recorder.calls)
    assert bytes(buffer.GetBufferAndSize()) == b"3456"
    sdk.WriteFile(fd, buffer, 2, files.structure(recorder))
    rig.until(lambda: len(recorder.calls) == 2)
    assert os.pread(fd, 99, 0) == b"3423456789"

    def fails(*args: Any) -> int:
        raise KeyError("no room")

    sdk.ReadFile(fd, buffer, None, files.structure(recorder))
    buffer.Append = fails
    rig.until(lambda: len(recorder.calls) == 3)
    assert recorder.outcomes[2] == (0, ERROR_NOACCESS, 0)
    assert "KeyError: 'no room'" in rig.alerts[0].message


@pytest.mark.parametrize("answer", [lambda moved: E_FAIL, lambda moved: 1 / 0, lambda moved: sys.exit(1)])
def test_a_callback_that_fails(rig: Rig, files: Files, answer: Any) -> None:
    """B5.9: its fault is reported, and its object can be used again."""
    fd, recorder = files.file(b"x"), MoveRecorder(answer)
    structure = files.structure(recorder)
    for count in (1, 2):
        sdk.ReadFile(fd, bytearray(1), None, structure)
        rig.until(lambda count=count: len(recorder.calls) == count)
    assert "filter 'MoveRecorder' failed in CompleteAsyncIO" in rig.alerts[0].message


def test_too_many_operations(rig: Rig, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """WSAENOBUFS, and again as many when they have ended."""
    monkeypatch.setattr(externalio, "MOST_PENDING", 3)
    (reader, writer), recorder = files.pipe(), MoveRecorder()
    for _ in range(2):
        for _ in range(3):
            sdk.ReadFile(reader, bytearray(1), None, files.structure(recorder))
        refused = code_of(sdk.ReadFile, reader, bytearray(1), None, files.structure(recorder))
        assert refused == HRESULT_FROM_WIN32(WSAENOBUFS)
        os.write(writer, b"xyz")
        rig.until(lambda: not len(rig.firewall._external))
    assert len(recorder.calls) == 6


def test_no_descriptor_is_left(rig: Rig, files: Files) -> None:
    """ERROR_TOO_MANY_OPEN_FILES; nothing has begun and nothing is lost."""
    (reader, writer), recorder = files.pipe(), MoveRecorder()
    structure = files.structure(recorder)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        refused = [code_of(sdk.ReadFile, reader, bytearray(1), None, structure)]
        refused.append(code_of(rig.firewall.HookToCompletionPort, writer))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert refused == [HRESULT_FROM_WIN32(ERROR_TOO_MANY_OPEN_FILES)] * 2
    sdk.ReadFile(reader, bytearray(1), None, structure)
    os.write(writer, b"x")
    rig.until(lambda: recorder.calls)


def test_cancelling_nothing(rig: Rig, files: Files) -> None:
    (reader, writer), recorder = files.pipe(), MoveRecorder()
    structure = files.structure(recorder)
    not_found = HRESULT_FROM_WIN32(ERROR_NOT_FOUND)
    assert code_of(sdk.CancelIoEx, reader, None) == E_POINTER
    assert code_of(sdk.CancelIoEx, reader, object()) == E_INVALIDARG
    assert code_of(sdk.CancelIoEx, "reader", structure) == E_INVALIDARG
    assert code_of(sdk.CancelIoEx, reader, structure) == not_found
    sdk.ReadFile(reader, bytearray(1), None, structure)
    assert code_of(sdk.CancelIoEx, writer, structure) == not_found


@pytest.mark.parametrize("wrong", [1 << 31, 1 << 64, -1, True + (1 << 20)])
def test_numbers_that_no_descriptor_has(rig: Rig, files: Files, wrong: int) -> None:
    assert code_of(rig.firewall.HookToCompletionPort, wrong) == E_HANDLE
    assert code_of(sdk.ReadFile, wrong, bytearray(1), 1, files.structure(MoveRecorder())) == E_HANDLE


def test_a_descriptor_without_a_file(rig: Rig, files: Files) -> None:
    """O_PATH opens a place, not a file: it can be duplicated, and nothing else."""
    fd = files.own(os.open("/tmp", os.O_PATH), hook=False)
    assert code_of(rig.firewall.HookToCompletionPort, fd) == E_HANDLE


# ---- the COM face ----------------------------------------------------------------------------------------------------


def test_the_five_steps_on_the_com_face(rig: Rig, files: Files) -> None:
    """B5.18: HookToCompletionPort, CreateOverlapped, SetNotificationInterface, GetOverlapped, CompleteAsyncIO."""
    fd = files.own(os.open("/dev/zero", os.O_RDONLY), hook=False)
    firewall = raw(rig.firewall, IFWXFirewall)
    recorder, made, structure = MoveRecorder(), Ref[Any](), Ref[Any]()
    assert firewall.HookToCompletionPort(fd) == S_OK
    assert firewall.HookToCompletionPort(fd) == E_INVALIDARG
    assert firewall.HookToCompletionPort(-1) == E_INVALIDARG
    assert firewall.HookToCompletionPort((1 << 64) - 1) == E_HANDLE
    assert firewall.CreateOverlapped(None) == E_POINTER
    assert firewall.CreateOverlapped(made) == S_OK
    overlapped = raw(made.value, IFWXOverlapped)
    assert overlapped.SetNotificationInterface(None, 0) == E_POINTER
    assert overlapped.SetNotificationInterface(recorder, 1 << 64) == E_INVALIDARG
    assert overlapped.SetNotificationInterface(recorder, (1 << 64) - 1) == S_OK
    assert overlapped.GetOverlapped(None) == E_POINTER
    assert overlapped.GetOverlapped(structure) == S_OK
    sdk.ReadFile(fd, bytearray(b"xyz"), None, structure.value)
    rig.until(lambda: recorder.calls)
    assert recorder.outcomes == [((1 << 64) - 1, 0, 3)]
    assert recorder.calls[0].overlapped is made.value
    assert made.value.Release() == 1
    told = raw(recorder, IFWXExternalIOCompletion).CompleteAsyncIO(0, 0, 995, made.value, 7)
    assert (told, recorder.outcomes[-1]) == (S_OK, (7, 995, 0))
