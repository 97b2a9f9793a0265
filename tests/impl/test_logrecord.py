from __future__ import annotations

import pytest

from fwx.impl.logrecord import Action, LogRecord

ACTIONS = """
    NotLogged Bind Listen GHBN GHBA RedirectBind Establish Terminate Denied Allowed Failed Intermediate
    SuccessfulConnection UnsuccessfulConnection Disconnection UserclearedQuarantine Quarantinetimeout UserQuarantined
"""


def test_the_actions_have_the_numbers_of_the_sdk() -> None:  # B9.10
    assert [(action.value, action.name) for action in Action] == list(enumerate(ACTIONS.split()))


def test_a_record_needs_a_time_and_an_action_and_nothing_else() -> None:
    record = LogRecord(1.5, Action.Denied)
    assert (record.time, record.action, record.protocol, record.resultcode) == (1.5, Action.Denied, "TCP", 0)
    with pytest.raises(TypeError, match="action"):
        LogRecord(1.5)  # type: ignore[call-arg]
