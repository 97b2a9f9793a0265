"""What is asked for in advance ends once, whoever ends it."""

from __future__ import annotations

import gc
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.firewallaction import FWXFirewallAction
from fwx.interfaces import IFWXFirewallAction, SocketAddress, fwxSourceWSP
from fwx.interfaces.hresult import FWX_E_TERMINATING, COMError
from fwx.testing.battery import run_rules
from fwx.testing.unknown import unknown_rules

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


@pytest.fixture
def session(rig: Rig) -> Any:
    return rig.sessions.of(SocketAddress("10.0.0.7", 0), fwxSourceWSP)


def test_cancelling_withdraws_what_was_asked_for_and_only_once(session: Any) -> None:
    """B2.43."""
    withdrawn: list[int] = []
    action = FWXFirewallAction(session, lambda: withdrawn.append(1))
    assert action.stands
    action.Cancel()
    assert (withdrawn, action.stands, session.actions) == ([1], False, set())
    with pytest.raises(COMError) as failure:
        action.Cancel()
    assert failure.value.hresult == FWX_E_TERMINATING
    assert not action.end()
    assert withdrawn == [1]


def test_what_the_service_has_ended_cannot_be_cancelled(session: Any) -> None:
    withdrawn: list[int] = []
    action = FWXFirewallAction(session, lambda: withdrawn.append(1))
    assert action.end()
    assert withdrawn == [1]
    with pytest.raises(COMError) as failure:
        action.Cancel()
    assert failure.value.hresult == FWX_E_TERMINATING


def test_an_action_ends_with_its_session(session: Any) -> None:
    withdrawn: list[str] = []
    actions = [FWXFirewallAction(session, lambda name=name: withdrawn.append(name)) for name in "ab"]
    session.terminate()
    assert sorted(withdrawn) == ["a", "b"]
    assert [action.stands for action in actions] == [False, False]


def test_a_filter_that_drops_it_has_not_cancelled_it(session: Any) -> None:
    """B6.11: released without Cancel, it stands."""
    withdrawn: list[int] = []
    FWXFirewallAction(session, lambda: withdrawn.append(1))
    gc.collect()
    assert (len(session.actions), withdrawn) == (1, [])


def test_another_thread_cancels_at_once_and_the_loop_withdraws(rig: Rig, session: Any) -> None:
    threads: list[int] = []
    action = FWXFirewallAction(session, lambda: threads.append(threading.get_ident()))
    other = threading.Thread(target=action.Cancel)
    other.start()
    other.join()
    assert (action.stands, threads) == (False, [])
    rig.until(lambda: threads)
    assert (threads, session.actions) == ([threading.get_ident()], set())


def test_it_obeys_the_laws_of_com(session: Any) -> None:
    rules: Any = unknown_rules(IFWXFirewallAction, lambda action: action)
    run_rules("action", rules, lambda: nullcontext(FWXFirewallAction(session, lambda: None))).require()
