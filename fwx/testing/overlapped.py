"""The battery for IFWXOverlapped: the five steps of operations on files, pipes and eventfds."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from fwx.impl.externalio import CancelIoEx, ReadFile, WriteFile
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import (
    E_HANDLE,
    E_INVALIDARG,
    E_POINTER,
    ERROR_BROKEN_PIPE,
    ERROR_HANDLE_EOF,
    ERROR_NOT_FOUND,
    ERROR_OPERATION_ABORTED,
    HRESULT_FROM_WIN32,
    IFWXOverlapped,
)
from fwx.testing.battery import Battery, BreachError, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.completions import Moved, MoveRecorder
from fwx.testing.unknown import shape_rule, unknown_rules

_FIELDS = ("Internal", "InternalHigh", "Offset", "OffsetHigh", "hEvent")
_TEXT = b"0123456789abcdef"


@dataclass(frozen=True, slots=True)
class OverlappedMaker:
    """Where overlapped objects come from, and what operates on them.

    :ivar firewall: the ``IFWXFirewall``; ``HookToCompletionPort`` and ``CreateOverlapped`` of it are used.
    :ivar run: lets happen what is ready to happen; called again and again.
    :ivar close: stops the host, which ends what is pending; called at the end, and once before by one rule.
    :ivar read: ``ReadFile``; :attr:`write`, ``WriteFile``; :attr:`cancel`, ``CancelIoEx``; as :mod:`fwx.sdk` has them.
    :ivar patience: how long a rule waits for something, in seconds of real time.
    """

    firewall: Any
    run: Callable[[], None]
    close: Callable[[], None]
    read: Callable[..., None] = ReadFile
    write: Callable[..., None] = WriteFile
    cancel: Callable[..., None] = CancelIoEx
    patience: float = 10.0

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Run until *condition* holds. :raises BreachError: it never does; *what* names it."""
        end = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > end:
                raise BreachError(f"{what} never happened")
            self.run()

    def settle(self) -> None:
        """Run for a while, so that nothing that ought not to happen can hide."""
        for _ in range(20):
            self.run()

    def overlapped(self, recorder: Any, tag: object = 0, offset: int = 0) -> Any:
        """Return the structure of a new object that tells *recorder*."""
        made = self.firewall.CreateOverlapped()
        made.SetNotificationInterface(recorder, tag)
        structure = made.GetOverlapped()
        structure.Offset, structure.OffsetHigh = offset & 0xFFFF_FFFF, offset >> 32
        return structure

    def told(self, recorder: MoveRecorder, count: int = 1) -> Moved:
        """Return what *recorder* was told last, when it has been told *count* times."""
        self.until(lambda: len(recorder.calls) >= count, "the completion of an operation")
        return recorder.calls[count - 1]


Maker = Callable[[], OverlappedMaker]


def check_overlapped(maker: Maker) -> Battery:
    """Try an implementation of ``IFWXOverlapped`` with all that belongs to it; *maker* returns a fresh
    :class:`OverlappedMaker`. The files, pipes and eventfds are real ones of the battery's own.
    """

    def make() -> AbstractContextManager[OverlappedMaker]:
        return closing(maker())

    with make() as host:
        subject = type(host.firewall.CreateOverlapped()).__qualname__
    return run_rules(subject, _RULES, make)


def _first(host: OverlappedMaker) -> Any:
    return host.firewall.CreateOverlapped()


@contextmanager
def _file(content: bytes = _TEXT) -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.fileno()


@contextmanager
def _open(*descriptors: int) -> Iterator[tuple[int, ...]]:
    """Close at the end what the rule has not closed."""
    try:
        yield descriptors
    finally:
        for each in descriptors:
            with suppress(OSError):
                os.close(each)


def _pipe() -> AbstractContextManager[tuple[int, ...]]:
    return _open(*os.pipe())


def _closed_number() -> int:
    """Return the number of a descriptor that is not open."""
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    return number


def _text(buffer: Any) -> bytes:
    return bytes(buffer.ReadAt(0, buffer.GetBufferSizes()[1]))


# ---- the rules -------------------------------------------------------------------------------------------------------


def _has_fields(host: OverlappedMaker) -> None:
    made = host.firewall.CreateOverlapped()
    structure = made.GetOverlapped()
    missing = [name for name in _FIELDS if not hasattr(structure, name)]
    expect(not missing, f"the structure has no {', '.join(missing)}")
    expect(made.GetOverlapped() is structure, "GetOverlapped gives another structure at the second call")
    expect(host.firewall.CreateOverlapped().GetOverlapped() is not structure, "two objects share one structure")


def _hooks_once(host: OverlappedMaker) -> None:
    with _file() as fd:
        host.firewall.HookToCompletionPort(fd)
        expect_failure("the second HookToCompletionPort", E_INVALIDARG, host.firewall.HookToCompletionPort, fd)


def _hooks_open_ones(host: OverlappedMaker) -> None:
    hook = host.firewall.HookToCompletionPort
    for wrong, code in ((_closed_number(), E_HANDLE), (-1, E_HANDLE), ("3", E_INVALIDARG), (None, E_INVALIDARG)):
        expect_failure(f"HookToCompletionPort({wrong!r})", code, hook, wrong)


def _needs_a_callback(host: OverlappedMaker) -> None:
    made = host.firewall.CreateOverlapped()
    for wrong, code in ((None, E_POINTER), (object(), E_INVALIDARG)):
        expect_failure(f"SetNotificationInterface({wrong!r})", code, made.SetNotificationInterface, wrong, 0)
    with _file() as fd:
        host.firewall.HookToCompletionPort(fd)
        structure = made.GetOverlapped()
        expect_failure("a read that nobody is told of", E_INVALIDARG, host.read, fd, bytearray(4), 4, structure)


def _reads_a_file(host: OverlappedMaker) -> None:
    with _file() as fd:
        host.firewall.HookToCompletionPort(fd)
        for target in (FWXIOBuffer.allocated(6), bytearray(6)):
            recorder = MoveRecorder()
            host.read(fd, target, 6, host.overlapped(recorder, offset=4))
            told = host.told(recorder)
            expect(
                told.success and told.transfered == 6,
                f"a read of 6 bytes ended with error {told.code}, {told.transfered}",
            )
            expect_equal(bytes(target) if isinstance(target, bytearray) else _text(target), _TEXT[4:10], "what it read")


def _writes_a_file(host: OverlappedMaker) -> None:
    with _file() as fd:
        host.firewall.HookToCompletionPort(fd)
        for number, source in enumerate((FWXIOBuffer.constant(b"XYZ"), b"XYZ")):
            recorder = MoveRecorder()
            host.write(fd, source, 2, host.overlapped(recorder, offset=4 * number))
            told = host.told(recorder)
            expect(
                told.success and told.transfered == 2,
                f"a write of 2 bytes ended with error {told.code}, {told.transfered}",
            )
        expect_equal(os.pread(fd, 32, 0), b"XY23XY6789abcdef", "the file afterwards")


def _tells_later_and_once(host: OverlappedMaker) -> None:
    recorder = MoveRecorder()
    with _file() as fd, _pipe() as (reader, writer):
        os.write(writer, b"x")
        for each in (fd, reader):
            host.firewall.HookToCompletionPort(each)
            before = len(recorder.calls)
            host.read(each, bytearray(1), 1, host.overlapped(recorder))
            expect_equal(len(recorder.calls), before, "completions inside the call that began the operation")
            host.told(recorder, before + 1)
        host.settle()
    expect_equal(len(recorder.calls), 2, "completions of two operations")


def _tells_whose_it_was(host: OverlappedMaker) -> None:
    recorder, tags = MoveRecorder(), (object(), object())
    with _file() as fd:
        host.firewall.HookToCompletionPort(fd)
        made = [host.firewall.CreateOverlapped() for _ in tags]
        for each, tag in zip(made, tags, strict=True):
            each.SetNotificationInterface(recorder, tag)
            host.read(fd, bytearray(1), 1, each.GetOverlapped())
        host.told(recorder, 2)
    for each, tag in zip(made, tags, strict=True):
        expect_equal(
            [call.overlapped for call in recorder.calls if call.tag is tag], [each], "pOverlapped, by UserData"
        )


def _refuses_what_is_not_hooked(host: OverlappedMaker) -> None:
    recorder = MoveRecorder()
    structure = host.overlapped(recorder)
    with _file() as fd:
        for name, call in (("ReadFile", host.read), ("WriteFile", host.write)):
            memory = bytearray(4)
            expect_failure(f"{name} on a handle that was not hooked", E_INVALIDARG, call, fd, memory, 4, structure)
            expect_failure(f"{name} on a closed handle", E_HANDLE, call, _closed_number(), memory, 4, structure)
    expect(not recorder.calls, "a refused operation completed")


def _forgets_what_was_closed(host: OverlappedMaker) -> None:
    structure = host.overlapped(MoveRecorder())
    with tempfile.NamedTemporaryFile() as file:
        first = os.open(file.name, os.O_RDWR)
        host.firewall.HookToCompletionPort(first)
        os.close(first)
        with _open(os.open(file.name, os.O_RDWR)) as (again,):
            expect_equal(again, first, "the number of a descriptor opened right after the hooked one was closed")
            what = "ReadFile on a number that was hooked for what it was before"
            expect_failure(what, E_INVALIDARG, host.read, again, bytearray(1), 1, structure)
            host.firewall.HookToCompletionPort(again)


def _takes_own_structures(host: OverlappedMaker) -> None:
    with _file() as fd:
        host.firewall.HookToCompletionPort(fd)
        for wrong, code in ((None, E_POINTER), (object(), E_INVALIDARG)):
            expect_failure(f"ReadFile with {wrong!r}", code, host.read, fd, bytearray(4), 4, wrong)


def _judges_buffers(host: OverlappedMaker) -> None:
    recorder = MoveRecorder()
    structure = host.overlapped(recorder)
    with _file() as fd:
        host.firewall.HookToCompletionPort(fd)
        for call, wrong, size, code in (
            (host.read, None, 4, E_POINTER),
            (host.read, "text", 4, E_INVALIDARG),
            (host.read, FWXIOBuffer.allocated(4), 5, E_INVALIDARG),
            (host.read, bytearray(4), -1, E_INVALIDARG),
            (host.write, None, 4, E_POINTER),
            (host.write, 7, 4, E_INVALIDARG),
            (host.write, b"text", 5, E_INVALIDARG),
        ):
            expect_failure(f"an operation on {wrong!r}, {size} bytes", code, call, fd, wrong, size, structure)
        for name, place in (("Offset", 1 << 32), ("OffsetHigh", -1), ("Offset", "0")):
            misplaced = host.overlapped(recorder)
            setattr(misplaced, name, place)
            expect_failure(f"ReadFile at {name} {place!r}", E_INVALIDARG, host.read, fd, bytearray(4), 4, misplaced)
    host.settle()
    expect(not recorder.calls, "a refused operation completed")


def _one_at_a_time(host: OverlappedMaker) -> None:
    recorder = MoveRecorder()
    structure = host.overlapped(recorder)
    with _pipe() as (reader, writer):
        host.firewall.HookToCompletionPort(reader)
        for number in range(1, 3):
            host.read(reader, bytearray(1), 1, structure)
            busy = "ReadFile with the structure of a pending operation"
            expect_failure(busy, E_INVALIDARG, host.read, reader, bytearray(1), 1, structure)
            os.write(writer, b"x")
            host.told(recorder, number)


def _is_free_in_its_completion(host: OverlappedMaker) -> None:
    def again(moved: Moved) -> None:
        if moved.tag == "first":
            moved.overlapped.SetNotificationInterface(recorder, "second")
            host.read(fd, bytearray(1), 1, moved.overlapped.GetOverlapped())

    recorder = MoveRecorder(again)
    with _file() as fd:
        host.firewall.HookToCompletionPort(fd)
        host.read(fd, bytearray(1), 1, host.overlapped(recorder, "first"))
        expect_equal(host.told(recorder, 2).tag, "second", "the user data of the second operation")


def _ends_files(host: OverlappedMaker) -> None:
    recorder = MoveRecorder()
    with _file() as fd:
        host.firewall.HookToCompletionPort(fd)
        host.read(fd, bytearray(32), 32, host.overlapped(recorder, offset=len(_TEXT) - 3))
        told = host.told(recorder)
        expect(
            told.success and told.transfered == 3, f"a read across the end: error {told.code}, {told.transfered} bytes"
        )
        host.read(fd, bytearray(32), 32, host.overlapped(recorder, offset=len(_TEXT)))
        told = host.told(recorder, 2)
        expect(not told.success, "a read at the end of a file succeeded")
        expect_equal(told.code, ERROR_HANDLE_EOF, "the error of a read at the end of a file")


def _waits_for_pipes(host: OverlappedMaker) -> None:
    recorder, memory = MoveRecorder(), bytearray(8)
    with _pipe() as (reader, writer):
        host.firewall.HookToCompletionPort(reader)
        host.read(reader, memory, 8, host.overlapped(recorder))
        host.settle()
        expect(not recorder.calls, "a read of an empty pipe completed")
        os.write(writer, b"abc")
        told = host.told(recorder)
        expect(told.success and told.transfered == 3, f"a read of a pipe: error {told.code}, {told.transfered} bytes")
        expect_equal(bytes(memory[:3]), b"abc", "what it read")
        host.read(reader, memory, 8, host.overlapped(recorder))
        host.settle()
        os.close(writer)
        told = host.told(recorder, 2)
        expect(not told.success, "a read of a pipe without a writer succeeded")
        expect_equal(told.code, ERROR_BROKEN_PIPE, "the error of a read of a pipe without a writer")


def _keeps_the_order_of_a_pipe(host: OverlappedMaker) -> None:
    recorder = MoveRecorder()
    blocks = [bytearray(1) for _ in range(20)]
    with _pipe() as (reader, writer):
        host.firewall.HookToCompletionPort(reader)
        for number, block in enumerate(blocks):
            host.read(reader, block, 1, host.overlapped(recorder, number))
        host.settle()
        os.write(writer, b"abcdefghijklmnopqrst")
        host.told(recorder, len(blocks))
    expect_equal([moved.tag for moved in recorder.calls], list(range(20)), "the order of completions")
    expect_equal(b"".join(blocks), b"abcdefghijklmnopqrst", "what the reads of a pipe got, in their order")


def _takes_eventfds(host: OverlappedMaker) -> None:
    recorder, memory = MoveRecorder(), bytearray(8)
    with _open(os.eventfd(0)) as (fd,):
        host.firewall.HookToCompletionPort(fd)
        host.read(fd, memory, 8, host.overlapped(recorder, "read"))
        host.settle()
        expect(not recorder.calls, "a read of an eventfd that nobody has signalled completed")
        host.write(fd, (7).to_bytes(8, "little"), 8, host.overlapped(recorder, "write"))
        host.told(recorder, 2)
    expect_equal(sorted(str(call.tag) for call in recorder.calls if call.success), ["read", "write"], "what succeeded")
    expect_equal(int.from_bytes(memory, "little"), 7, "the counter")


def _cancels(host: OverlappedMaker) -> None:
    recorder = MoveRecorder()
    structure = host.overlapped(recorder)
    not_found = HRESULT_FROM_WIN32(ERROR_NOT_FOUND)
    with _pipe() as (reader, writer):
        host.firewall.HookToCompletionPort(reader)
        expect_failure("CancelIoEx of nothing", not_found, host.cancel, reader, structure)
        host.read(reader, bytearray(1), 1, structure)
        expect_failure("CancelIoEx on another handle", not_found, host.cancel, writer, structure)
        host.cancel(reader, structure)
        told = host.told(recorder)
        expect(not told.success, "a cancelled operation succeeded")
        expect_equal(told.code, ERROR_OPERATION_ABORTED, "the error of a cancelled operation")
        expect_failure("CancelIoEx of what has ended", not_found, host.cancel, reader, structure)
        host.settle()
        expect_equal(len(recorder.calls), 1, "completions of a cancelled operation")


def _outlives_its_descriptor(host: OverlappedMaker) -> None:
    recorder, memory = MoveRecorder(), bytearray(3)
    with _pipe() as (reader, writer), _pipe() as (other, other_writer):
        host.firewall.HookToCompletionPort(reader)
        host.read(reader, memory, 3, host.overlapped(recorder))
        host.settle()
        os.dup2(other, reader)
        os.write(other_writer, b"NOT")
        host.settle()
        expect(not recorder.calls, "it read from what got the number of its closed descriptor")
        os.write(writer, b"yes")
        told = host.told(recorder)
        expect(told.success, f"a read whose descriptor was closed ended with error {told.code}")
        expect_equal(bytes(memory), b"yes", "what it read from the file that its descriptor was")


def _survives_failing_callbacks(host: OverlappedMaker) -> None:
    def fails(moved: Moved) -> None:
        raise ValueError(f"a fault of {moved.tag}")

    bad, good = MoveRecorder(fails), MoveRecorder()
    with _file() as fd:
        host.firewall.HookToCompletionPort(fd)
        for recorder in (bad, good, bad, good):
            host.read(fd, bytearray(1), 1, host.overlapped(recorder))
        host.until(lambda: len(bad.calls) >= 2 and len(good.calls) >= 2, "the completion beside one that fails")


def _aborts_at_the_end(host: OverlappedMaker) -> None:
    recorder = MoveRecorder()
    with _pipe() as (reader, _), _pipe() as (other, _):
        for each in (reader, other):
            host.firewall.HookToCompletionPort(each)
            host.read(each, bytearray(1), 1, host.overlapped(recorder, each))
        host.settle()
        host.close()
        aborted = {(reader, ERROR_OPERATION_ABORTED, 0), (other, ERROR_OPERATION_ABORTED, 0)}
        expect_equal(set(recorder.outcomes), aborted, "what was pending when the host stopped")


_STEPS = ("B5.18",)
_LINUX = ("B5.18", "B5.20")
_RULES: tuple[Rule[OverlappedMaker], ...] = (
    shape_rule(IFWXOverlapped, _first),
    *unknown_rules(IFWXOverlapped, _first),
    Rule("has one structure, with the fields of Windows", _STEPS, _has_fields),
    Rule("a handle is hooked once", _STEPS, _hooks_once),
    Rule("what is hooked is open", _STEPS, _hooks_open_ones),
    Rule("needs a callback", _STEPS, _needs_a_callback),
    Rule("reads a file, from the place that was asked for", _STEPS, _reads_a_file),
    Rule("writes a file, at the place that was asked for", _STEPS, _writes_a_file),
    Rule("tells the end later, and once", ("B5.2", "B5.18"), _tells_later_and_once),
    Rule("tells which operation it was", ("B5.3", "B5.5", "B5.18"), _tells_whose_it_was),
    Rule("refuses a handle that was not hooked", ("B5.19",), _refuses_what_is_not_hooked),
    Rule("forgets a handle that was closed", ("B5.19",), _forgets_what_was_closed),
    Rule("takes structures of its own alone", _STEPS, _takes_own_structures),
    Rule("judges buffer, size and place", _STEPS, _judges_buffers),
    Rule("serves one operation at a time", _STEPS, _one_at_a_time),
    Rule("is free again when its end is told", _STEPS, _is_free_in_its_completion),
    Rule("fails at the end of a file, not before", ("B5.3", "B5.18"), _ends_files),
    Rule("waits for a pipe until it ends", _LINUX, _waits_for_pipes),
    Rule("reads a pipe in the order of the calls", _LINUX, _keeps_the_order_of_a_pipe),
    Rule("waits for an eventfd", _LINUX, _takes_eventfds),
    Rule("ends early what is cancelled", _STEPS, _cancels),
    Rule("goes on when its descriptor is closed", ("B5.19",), _outlives_its_descriptor),
    Rule("a callback that fails disturbs no other", ("B5.9",), _survives_failing_callbacks),
    Rule("aborts what is pending at the end", _STEPS, _aborts_at_the_end),
)
