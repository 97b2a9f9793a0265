"""What filters try again after a lack of resources (B11.10 to B11.12)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from zope.interface import implementer

from fwx.impl.lowresource import FIRST_SECONDS, LONGEST_SECONDS
from fwx.impl.raw import Ref, raw
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    E_INVALIDARG,
    E_OUTOFMEMORY,
    E_POINTER,
    FWX_E_TERMINATING,
    HRESULT,
    S_OK,
    COMError,
    IFWXLowResourceRecoverer,
    IFWXLowResourceRecoveryOperation,
)
from fwx.testing import MemoryFirewall
from fwx.testing.battery import run_rules
from fwx.testing.unknown import shape_rule, unknown_rules


@implementer(IFWXLowResourceRecoveryOperation)
class Operation(Unknown):
    """A filter's: fails as often as it is told, one way or the other; *then* is called each time."""

    def __init__(
        self, failures: int = 0, error: Exception | None = None, then: Callable[[], None] | None = None
    ) -> None:
        self.failures = failures
        self.error = error
        self.then = then
        self.calls: list[int] = []

    def Recover(self, UserData: int) -> HRESULT:
        self.calls.append(UserData)
        if self.then is not None:
            self.then()
        if len(self.calls) > self.failures:
            return HRESULT(S_OK)
        if self.error is not None:
            raise self.error
        return HRESULT(E_OUTOFMEMORY)


@pytest.fixture
def memory() -> Iterator[MemoryFirewall]:
    memory = MemoryFirewall()
    yield memory
    memory.close()


@pytest.fixture
def recoverer(memory: MemoryFirewall) -> Any:
    return memory.firewall.GetLowResourceRecoverer()


def code(call: Callable[..., object], *args: object) -> HRESULT:
    with pytest.raises(COMError) as caught:
        call(*args)
    return caught.value.hresult


def test_one_failure(memory: MemoryFirewall, recoverer: Any) -> None:
    """B11.10, B11.11: a cookie; no call without a signal; one with it, not inside, with the user data."""
    one, two = Operation(), Operation()
    first, second = (recoverer.RegisterForLowResourceRecovery(each, 7 + place) for place, each in enumerate((one, two)))
    assert first != second
    memory.loop.advance(LONGEST_SECONDS)
    assert (one.calls, two.calls) == ([], [])
    recoverer.SignalLowResourceFailure(second)
    assert two.calls == []
    memory.loop.advance(10 * LONGEST_SECONDS)
    assert (one.calls, two.calls) == ([], [8])
    recoverer.SignalLowResourceFailure(second)
    memory.loop.run()
    assert two.calls == [8, 8]
    assert memory.firewall.GetLowResourceRecoverer() is recoverer


def test_again_until_it_succeeds(memory: MemoryFirewall, recoverer: Any) -> None:
    """B11.11, B11.12: the pauses double, up to a longest one, and begin anew after a success."""
    operation = Operation(11)
    cookie = recoverer.RegisterForLowResourceRecovery(operation, 0)
    for _ in range(2):
        recoverer.SignalLowResourceFailure(cookie)
        memory.loop.run()
        pause = FIRST_SECONDS
        for calls in range(1, 12):
            assert len(operation.calls) == calls
            memory.loop.advance(pause * 0.9)
            assert len(operation.calls) == calls
            memory.loop.advance(pause * 0.1 + 0.001)
            pause = min(pause * 2, LONGEST_SECONDS)
        assert pause == LONGEST_SECONDS
        assert len(operation.calls) == 12
        memory.loop.advance(10 * LONGEST_SECONDS)
        assert len(operation.calls) == 12
        operation.calls.clear()
    assert memory.faults == ()


@pytest.mark.parametrize("error", [COMError(E_OUTOFMEMORY), MemoryError(), OSError(24, "Too many open files")])
def test_a_lack_is_no_fault(memory: MemoryFirewall, recoverer: Any, error: Exception) -> None:
    operation = Operation(1, error)
    recoverer.SignalLowResourceFailure(recoverer.RegisterForLowResourceRecovery(operation, 0))
    memory.loop.advance(FIRST_SECONDS)
    assert (len(operation.calls), memory.faults) == (2, ())


def test_a_bug_is_a_fault_and_tried_again(memory: MemoryFirewall, recoverer: Any) -> None:
    operation = Operation(1, KeyError("x"))
    recoverer.SignalLowResourceFailure(recoverer.RegisterForLowResourceRecovery(operation, 0))
    memory.loop.advance(FIRST_SECONDS)
    assert (len(operation.calls), memory.faults) == (2, ("Recover: KeyError: 'x'",))


def test_a_signal_meanwhile_changes_nothing(memory: MemoryFirewall, recoverer: Any) -> None:
    operation = Operation(1)
    cookie = recoverer.RegisterForLowResourceRecovery(operation, 0)
    recoverer.SignalLowResourceFailure(cookie)
    recoverer.SignalLowResourceFailure(cookie)
    memory.loop.run()
    recoverer.SignalLowResourceFailure(cookie)
    memory.loop.run()
    assert len(operation.calls) == 1
    memory.loop.advance(LONGEST_SECONDS)
    assert len(operation.calls) == 2


def test_a_signal_from_recover_is_a_failure(memory: MemoryFirewall, recoverer: Any) -> None:
    """It is not lost, and the loop does not spin."""
    operation = Operation()
    cookie = recoverer.RegisterForLowResourceRecovery(operation, 0)
    operation.then = lambda: recoverer.SignalLowResourceFailure(cookie) if len(operation.calls) < 3 else None
    recoverer.SignalLowResourceFailure(cookie)
    memory.loop.run()
    assert len(operation.calls) == 1
    memory.loop.advance(LONGEST_SECONDS)
    assert len(operation.calls) == 3


def test_the_end_of_a_registration(memory: MemoryFirewall, recoverer: Any) -> None:
    """B11.11: before the first call, between two, and from inside."""
    queued, waiting, inside = Operation(), Operation(99), Operation(99)
    cookies = [recoverer.RegisterForLowResourceRecovery(each, 0) for each in (queued, waiting, inside)]
    inside.then = lambda: recoverer.UnregisterFromLowResourceRecovery(cookies[2])
    for cookie in cookies:
        recoverer.SignalLowResourceFailure(cookie)
    recoverer.UnregisterFromLowResourceRecovery(cookies[0])
    memory.loop.run()
    recoverer.UnregisterFromLowResourceRecovery(cookies[1])
    memory.loop.advance(LONGEST_SECONDS)
    assert [len(each.calls) for each in (queued, waiting, inside)] == [0, 1, 1]
    for cookie in (*cookies, 0, 99, -1, None):
        assert code(recoverer.UnregisterFromLowResourceRecovery, cookie) == E_INVALIDARG
        assert code(recoverer.SignalLowResourceFailure, cookie) == E_INVALIDARG


def test_while_the_service_is_short(memory: MemoryFirewall, recoverer: Any) -> None:
    """Nobody is asked; when there is enough, those who wait are asked at once, and nobody else."""
    operation, other = Operation(1), Operation()
    cookie = recoverer.RegisterForLowResourceRecovery(operation, 0)
    recoverer.RegisterForLowResourceRecovery(other, 0)
    memory.engine.recoverer.ran_short()
    memory.engine.recoverer.ran_short()
    recoverer.SignalLowResourceFailure(cookie)
    memory.loop.advance(LONGEST_SECONDS)
    assert operation.calls == []
    memory.engine.recoverer.has_enough()
    memory.engine.recoverer.has_enough()
    memory.loop.run()
    assert len(operation.calls) == 1
    memory.loop.advance(FIRST_SECONDS)
    memory.loop.advance(LONGEST_SECONDS)
    assert (len(operation.calls), other.calls) == (2, [])


def test_two_that_are_short(memory: MemoryFirewall, recoverer: Any) -> None:
    """B11.11: descriptors for one, memory for the other: nobody is asked before both have enough."""
    operation = Operation()
    for who in ("listener", "memory", "memory"):
        memory.engine.recoverer.ran_short(who)
    recoverer.SignalLowResourceFailure(recoverer.RegisterForLowResourceRecovery(operation, 0))
    for who in ("listener", "nobody"):
        memory.engine.recoverer.has_enough(who)
    memory.loop.advance(LONGEST_SECONDS)
    assert operation.calls == []
    memory.engine.recoverer.has_enough("memory")
    memory.loop.run()
    assert len(operation.calls) == 1


def test_enough_while_its_turn_comes(memory: MemoryFirewall, recoverer: Any) -> None:
    operation = Operation(1)
    recoverer.SignalLowResourceFailure(recoverer.RegisterForLowResourceRecovery(operation, 0))
    memory.engine.recoverer.ran_short()
    memory.engine.recoverer.has_enough()
    memory.loop.run()
    assert len(operation.calls) == 1
    memory.loop.advance(LONGEST_SECONDS)
    assert len(operation.calls) == 2


def test_the_end_of_the_service(memory: MemoryFirewall, recoverer: Any) -> None:
    operation = Operation(99)
    recoverer.SignalLowResourceFailure(recoverer.RegisterForLowResourceRecovery(operation, 0))
    memory.loop.run()
    memory.close()
    memory.loop.advance(LONGEST_SECONDS)
    assert len(operation.calls) == 1
    assert code(recoverer.RegisterForLowResourceRecovery, operation, 0) == FWX_E_TERMINATING


def test_from_another_thread(memory: MemoryFirewall, recoverer: Any) -> None:
    operation, threads, done = Operation(), list[int](), list[bool]()
    operation.then = lambda: threads.append(threading.get_ident())

    def work() -> None:
        recoverer.SignalLowResourceFailure(recoverer.RegisterForLowResourceRecovery(operation, 3))
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    while not done:
        memory.loop.run()
    thread.join()
    memory.loop.run()
    assert (operation.calls, threads) == ([3], [threading.get_ident()])


def test_arguments(recoverer: Any) -> None:
    register = recoverer.RegisterForLowResourceRecovery
    assert code(register, None, 0) == E_POINTER
    for arguments in ((Unknown(), 0), (Operation(), -1), (Operation(), 1 << 32), (Operation(), None)):
        assert code(register, *arguments) == E_INVALIDARG


def test_every_method_of_the_com_face(memory: MemoryFirewall, recoverer: Any) -> None:
    face, cookie, operation = raw(recoverer, IFWXLowResourceRecoverer), Ref[int](), Operation()
    assert face.RegisterForLowResourceRecovery(operation, 9, cookie) == S_OK
    assert face.SignalLowResourceFailure(cookie.value) == S_OK
    memory.loop.run()
    assert operation.calls == [9]
    assert face.UnregisterFromLowResourceRecovery(cookie.value) == S_OK
    assert face.UnregisterFromLowResourceRecovery(cookie.value) == E_INVALIDARG
    assert raw(operation, IFWXLowResourceRecoveryOperation).Recover(1) == S_OK
    interface = IFWXLowResourceRecoverer
    rules = (shape_rule(interface, lambda each: each), *unknown_rules(interface, lambda each: each))
    run_rules(interface.__name__, rules, lambda: nullcontext(recoverer)).require()
