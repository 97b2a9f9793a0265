"""The battery for completion objects: each rule, and an object that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fwx import sdk
from fwx.testing import AcceptRecorder, Battery, PlainBuffer, Recorder, check_completion


class Rejecting(Recorder):
    """Returns a failure where :meth:`rejects` says so."""

    def rejects(self, success: bool, code: int, buffer: Any) -> bool:
        raise NotImplementedError

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: Any,
        UserData: object,
        ExternalAddress: Any,
        ExternalAddressLength: int,
    ) -> Any:
        return sdk.E_FAIL if self.rejects(fSuccess, Win32ErrorCode, pIOBuffer) else None


class TakesNoData(Rejecting):
    def rejects(self, success: bool, code: int, buffer: Any) -> bool:
        return success and bool(buffer.GetBufferSizes()[1])


class TakesNoEnd(Rejecting):
    def rejects(self, success: bool, code: int, buffer: Any) -> bool:
        return success and not buffer.GetBufferSizes()[1]


class NeedsABuffer(Rejecting):
    def rejects(self, success: bool, code: int, buffer: Any) -> bool:
        return bool(buffer.GetBufferSizes()[1] < 0)


class TakesNoAbort(Rejecting):
    def rejects(self, success: bool, code: int, buffer: Any) -> bool:
        return code == sdk.ERROR_OPERATION_ABORTED


class ReadsTheCode(Rejecting):
    def rejects(self, success: bool, code: int, buffer: Any) -> bool:
        return success and code != 0


class WritesIntoBuffers(Rejecting):
    def rejects(self, success: bool, code: int, buffer: Any) -> bool:
        if isinstance(buffer, PlainBuffer):
            buffer.GetBufferAndSize()[:1] = b"X"
        return False


class OtherNames(Recorder):
    def CompleteAsyncIO(self, ok: bool, code: int, buffer: Any, tag: Any, address: Any, length: int) -> Any:  # type: ignore[override]
        return None


class NeedsASocket(AcceptRecorder):
    def CompleteAsyncAccept(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pListeningSocket: Any,
        pAcceptSocket: Any,
        RemoteAddress: Any,
        RemoteAddressLength: int,
        LocalAddress: Any,
        LocalAddressLength: int,
        UserData: object,
    ) -> None:
        pAcceptSocket.Close(False)


@sdk.implementer(sdk.IFWXTaskCompletion)
class Task(sdk.Unknown):
    done = 0

    def CompleteTask(self, UserData: object) -> Any:
        self.done += 1


class RunsOnce(Task):
    def CompleteTask(self, UserData: object) -> Any:
        super().CompleteTask(UserData)
        return sdk.E_UNEXPECTED if self.done > 1 else None


@sdk.implementer(sdk.IFWXExternalIOCompletion)
class FileOperation(sdk.Unknown):
    def CompleteAsyncIO(
        self, fSuccess: bool, NumberOfBytesTransfered: int, Win32ErrorCode: int, pOverlapped: Any, UserData: object
    ) -> Any:
        return None


class FailsTwice(FileOperation):
    def CompleteAsyncIO(
        self, fSuccess: bool, NumberOfBytesTransfered: int, Win32ErrorCode: int, pOverlapped: Any, UserData: object
    ) -> Any:
        raise OSError(Win32ErrorCode, "the file")


RIGHT: tuple[Callable[[], Any], ...] = (Recorder, AcceptRecorder, Task, FileOperation)
WRONG: tuple[tuple[str, type, str], ...] = (
    (
        "has every member of IFWXIOCompletion to the letter",
        OtherNames,
        "found (ok, code, buffer, tag, address, length)",
    ),
    ("takes data", TakesNoData, "expected None or S_OK, found <HRESULT 0x80004005 E_FAIL>"),
    ("takes the end of the stream", TakesNoEnd, "expected None or S_OK, found <HRESULT 0x80004005 E_FAIL>"),
    ("takes a failure without a buffer", NeedsABuffer, "expected None or S_OK, found AttributeError: 'NoneType'"),
    ("takes what Close aborts", TakesNoAbort, "E_FAIL"),
    ("ignores the error code of a success", ReadsTheCode, "E_FAIL"),
    ("leaves the data as it is", WritesIntoBuffers, "expected b'not for you to change', found b'Xot for you"),
    ("takes a failure without a socket", NeedsASocket, "AttributeError: 'NoneType' object has no attribute 'Close'"),
    ("does the work of every post", RunsOnce, "E_UNEXPECTED"),
    ("takes a failed operation", FailsTwice, "OSError: [Errno 995] the file"),
)


@pytest.mark.parametrize(("rule", "wrong", "reason"), WRONG)
def test_the_rule_catches(rule: str, wrong: type, reason: str, caught: Callable[[Battery, str, str], None]) -> None:
    caught(check_completion(wrong), rule, reason)


def test_there_is_a_wrong_one_for_every_rule(shared_rules: tuple[str, ...]) -> None:
    rules = set()
    for right in RIGHT:
        battery = check_completion(right)
        battery.require()
        rules |= {check.name for check in battery}
    shapes = {name for name in rules if name.startswith("has every member of")}
    assert len(shapes) == len(RIGHT)
    assert rules - shapes - set(shared_rules) == {rule for rule, _, _ in WRONG} - shapes


def test_what_is_no_completion_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected a completion object \(IFWXIOCompletion, .*\), not PlainBuffer"):
        check_completion(lambda: PlainBuffer(1))
