from __future__ import annotations

import pytest

from fwx.impl.logrecord import Action, LogRecord
from fwx.interfaces import hresult

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


RESULTS = {
    "FWX_E_POLICY_RULES_DENIED": 0xC004000D,
    "FWX_E_NETWORK_RULES_DENIED": 0xC0040012,
    "FWX_E_IS_BUSY": 0xC0040011,
    "FWX_E_TCP_NOT_SYN_PACKET_DROPPED": 0xC0040017,
    "FWX_E_ADDRESS_NOT_ALLOWED": 0xC004002E,
    "FWX_E_RULE_QUOTA_EXCEEDED_DROPPED": 0xC0040033,
    "FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED": 0xC0040037,
    "FWX_E_TCP_NO_SERVER_REPLY": 0xC0040038,
    "FWX_E_POLICY_CONNECTION_CLOSED": 0xC0040039,
    "FWX_E_TERMINATING": 0xC0040001,
    "FWX_E_INVALID_ARG": 0xC0040002,
    "FWX_E_ALREADY_IN_BLOCKING_OP": 0xC0040003,
    "FWX_E_NOT_IN_BLOCKING_OP": 0xC0040004,
    "FWX_E_FILTER_NOT_REGISTERED": 0xC0040005,
    "FWX_E_ALREADY_EXISTS": 0x800700B7,
    "FWX_E_BUFFERFULL": 0xC0040007,
    "FWX_E_ALREADY_EMULATED": 0xC0040009,
    "FWX_E_BAD_CONTEXT": 0xC004000A,
    "FWX_E_NOT_SUPPORTED": 0xC004000B,
    "FWX_E_NOT_AUTHENTICATED": 0xC004000C,
    "FWX_E_NOT_EMULATED": 0xC0040010,
}


@pytest.mark.parametrize(("name", "code"), RESULTS.items())
def test_results_have_the_numbers_of_the_sdk(name: str, code: int) -> None:  # B9.13, B9.14
    assert int(getattr(hresult, name)) == code
