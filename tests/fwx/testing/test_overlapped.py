"""The battery for overlapped objects: each rule, and a host that breaks it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from zope.interface import implementer

from fwx.descriptors import Descriptor, Hook, HookTable
from fwx.impl.externalio import CancelIoEx, ExternalIO, ReadFile, WriteFile
from fwx.impl.overlapped import OVERLAPPED, FWXOverlapped
from fwx.impl.unknown import Unknown
from fwx.interfaces import E_HANDLE, E_INVALIDARG, COMError, IFWXExternalIOCompletion
from fwx.testing import Battery, MemoryFirewall, OverlappedMaker, check_overlapped


class Host:
    """An IFWXFirewall that can go wrong in one place: the overlapped objects, the hooks, the table or the engine."""

    def __init__(
        self,
        memory: MemoryFirewall,
        overlapped: type[FWXOverlapped] = FWXOverlapped,
        table: type[HookTable] = HookTable,
        forgives: tuple[int, ...] = (),
        external: type[ExternalIO] = ExternalIO,
    ) -> None:
        self._memory = memory
        self._overlapped = overlapped
        self._forgives = forgives
        self._external = external(memory.engine)
        memory.firewall._external = self._external
        memory.engine.handles._table = table()  # type: ignore[attr-defined]

    def HookToCompletionPort(self, h: int) -> None:
        try:
            self._memory.firewall.HookToCompletionPort(h)
        except COMError as error:
            if error.hresult not in self._forgives:
                raise

    def CreateOverlapped(self) -> FWXOverlapped:
        return self._overlapped(self._external)


def host_of(*, closes: bool = True, **wrong: Any) -> Callable[[], OverlappedMaker]:
    """Return what makes hosts that are wrong somewhere; one that *closes* not does so at the second call."""
    functions = {name: wrong.pop(name) for name in ("read", "write", "cancel") if name in wrong}

    def make() -> OverlappedMaker:
        memory = MemoryFirewall()
        given = {name: partial(call, memory) for name, call in functions.items()}
        ways = [] if closes else [lambda: None]

        def close() -> None:
            (ways.pop() if ways else memory.close)()

        return OverlappedMaker(Host(memory, **wrong), memory.loop.run, close, patience=0.1, **given)

    return make


class OtherNames(FWXOverlapped):
    def SetNotificationInterface(self, completion: Any, UserData: object) -> None:  # type: ignore[override]
        super().SetNotificationInterface(completion, UserData)


class NewStructures(FWXOverlapped):
    def GetOverlapped(self) -> OVERLAPPED:
        self.structure = OVERLAPPED(self)
        return self.structure


class TakesAnything(FWXOverlapped):
    def SetNotificationInterface(self, piExternalIOCompletion: Any, UserData: object) -> None:
        self.told = piExternalIOCompletion, UserData


@implementer(IFWXExternalIOCompletion)
class Changed(Unknown):
    """Hands on what *change* makes of an outcome."""

    def __init__(self, completion: Any, change: Callable[..., tuple[Any, ...]]) -> None:
        self._completion = completion
        self._change = change

    def CompleteAsyncIO(
        self, fSuccess: bool, NumberOfBytesTransfered: int, Win32ErrorCode: int, pOverlapped: Any, UserData: object
    ) -> Any:
        outcome = self._change(fSuccess, NumberOfBytesTransfered, Win32ErrorCode, pOverlapped, UserData)
        return self._completion.CompleteAsyncIO(*outcome)


def changing(change: Callable[..., tuple[Any, ...]]) -> type[FWXOverlapped]:
    class Changing(FWXOverlapped):
        def SetNotificationInterface(self, piExternalIOCompletion: Any, UserData: object) -> None:
            super().SetNotificationInterface(piExternalIOCompletion, UserData)
            self.told = Changed(piExternalIOCompletion, change), UserData

    return Changing


def reads_from_the_start(memory: MemoryFirewall, fd: int, buffer: Any, size: Any, structure: Any) -> None:
    if type(structure) is OVERLAPPED:
        structure.Offset = 0
    ReadFile(fd, buffer, size, structure)


def writes_everything(memory: MemoryFirewall, fd: int, buffer: Any, size: Any, structure: Any) -> None:
    WriteFile(fd, buffer, None, structure)


def completes_inside(memory: MemoryFirewall, fd: int, buffer: Any, size: Any, structure: Any) -> None:
    ReadFile(fd, buffer, size, structure)
    memory.loop.run()


def hooks_by_itself(memory: MemoryFirewall, fd: int, buffer: Any, size: Any, structure: Any) -> None:
    with suppress(COMError):
        memory.firewall.HookToCompletionPort(fd)
    ReadFile(fd, buffer, size, structure)


def makes_a_structure(memory: MemoryFirewall, fd: int, buffer: Any, size: Any, structure: Any) -> None:
    if type(structure) is OVERLAPPED:
        ReadFile(fd, buffer, size, structure)


def reads_less(memory: MemoryFirewall, fd: int, buffer: Any, size: Any, structure: Any) -> None:
    room = len(buffer) if isinstance(buffer, bytearray) else buffer and getattr(buffer, "_block", None)
    ReadFile(fd, buffer, None if room and size > 0 else size, structure)


def forgets_while_busy(memory: MemoryFirewall, fd: int, buffer: Any, size: Any, structure: Any) -> None:
    if type(structure) is not OVERLAPPED or structure._owner.transfer is None:
        ReadFile(fd, buffer, size, structure)


def cancels_nothing(memory: MemoryFirewall, fd: int, structure: Any) -> None:
    with suppress(COMError):
        CancelIoEx(fd, structure)


class ByNumber(HookTable):
    def _find(self, fd: int, descriptor: Descriptor) -> Hook | None:
        return self._hooks.get(fd)


class Stack(deque[Any]):
    def append(self, item: Any) -> None:
        self.appendleft(item)


class Backwards(HookTable):
    def hook(self, fd: int) -> None:
        super().hook(fd)
        self._hooks[fd].reads = Stack()


class Borrowed(Descriptor):
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        """It is not its own."""


class Borrowing(HookTable):
    def open(self, fd: int) -> tuple[Hook, Descriptor]:
        hook, descriptor = super().open(fd)
        descriptor.close()
        return hook, Borrowed(fd)


class BusyInCompletions(ExternalIO):
    def _tell(self, transfer: Any, method: str, *args: object) -> None:
        transfer.overlapped.transfer = transfer
        super()._tell(transfer, method, *args)
        transfer.overlapped.transfer = None


class StopsAtAFault(ExternalIO):
    def _tell(self, transfer: Any, method: str, *args: object) -> None:
        if not self._engine.faults.words:  # type: ignore[attr-defined]
            super()._tell(transfer, method, *args)


WRONG: tuple[tuple[str, dict[str, Any], str], ...] = (
    (
        "has every member of IFWXOverlapped to the letter",
        {"overlapped": OtherNames},
        "SetNotificationInterface: expected the parameters (piExternalIOCompletion, UserData), found (completion,",
    ),
    ("has one structure, with the fields of Windows", {"overlapped": NewStructures}, "another structure at the second"),
    (
        "a handle is hooked once",
        {"forgives": (E_INVALIDARG,)},
        "the second HookToCompletionPort: expected E_INVALIDARG",
    ),
    ("what is hooked is open", {"forgives": (E_HANDLE,)}, "expected E_HANDLE, found the result None"),
    ("needs a callback", {"overlapped": TakesAnything}, "SetNotificationInterface(None): expected E_POINTER"),
    ("reads a file, from the place that was asked for", {"read": reads_from_the_start}, "what it read: expected"),
    ("writes a file, at the place that was asked for", {"write": writes_everything}, "a write of 2 bytes ended with"),
    ("tells the end later, and once", {"read": completes_inside}, "inside the call that began the operation"),
    (
        "tells which operation it was",
        {"overlapped": changing(lambda *outcome: (*outcome[:4], 0))},
        "pOverlapped, by UserData: expected",
    ),
    ("refuses a handle that was not hooked", {"read": hooks_by_itself}, "not hooked: expected E_INVALIDARG"),
    ("forgets a handle that was closed", {"table": ByNumber}, "for what it was before: expected E_INVALIDARG"),
    ("takes structures of its own alone", {"read": makes_a_structure}, "ReadFile with None: expected E_POINTER"),
    ("judges buffer, size and place", {"read": reads_less}, "5 bytes: expected E_INVALIDARG, found the result None"),
    ("serves one operation at a time", {"read": forgets_while_busy}, "a pending operation: expected E_INVALIDARG"),
    ("is free again when its end is told", {"external": BusyInCompletions}, "the completion of an operation never"),
    (
        "fails at the end of a file, not before",
        {"overlapped": changing(lambda success, count, code, *rest: (True, count, 0, *rest))},
        "a read at the end of a file succeeded",
    ),
    (
        "waits for a pipe until it ends",
        {"overlapped": changing(lambda success, count, code, *rest: (True, count, 0, *rest))},
        "a read of a pipe without a writer succeeded",
    ),
    ("reads a pipe in the order of the calls", {"table": Backwards}, "the order of completions: expected"),
    (
        "waits for an eventfd",
        {"overlapped": changing(lambda success, count, *rest: (success and count != 8, count, *rest))},
        "what succeeded: expected ['read', 'write'], found []",
    ),
    ("ends early what is cancelled", {"cancel": cancels_nothing}, "CancelIoEx of nothing: expected"),
    (
        "goes on when its descriptor is closed",
        {"table": Borrowing},
        "it read from what got the number of its closed descriptor",
    ),
    ("a callback that fails disturbs no other", {"external": StopsAtAFault}, "beside one that fails never happened"),
    ("aborts what is pending at the end", {"closes": False}, "what was pending when the host stopped: expected"),
)


@pytest.mark.parametrize(("rule", "wrong", "reason"), WRONG, ids=[rule for rule, _, _ in WRONG])
def test_the_rule_catches(
    rule: str, wrong: dict[str, Any], reason: str, caught: Callable[[Battery, str, str], None]
) -> None:
    caught(check_overlapped(host_of(**wrong)), rule, reason)


def test_there_is_a_wrong_host_for_every_rule(shared_rules: tuple[str, ...]) -> None:
    battery = check_overlapped(host_of())
    battery.require()
    assert {check.name for check in battery} - set(shared_rules) == {rule for rule, _, _ in WRONG}
