"""The battery for connections: fwx's own keeps every rule, and each rule catches one that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fwx.data_pump import DataPump
from fwx.impl.connection import FWXConnection
from fwx.impl.connectionbase import ConnectionBase
from fwx.impl.emulation import Emulable
from fwx.impl.listeningconnection import FWXListeningConnection
from fwx.interfaces import FWX_E_ALREADY_EXISTS, FWX_E_INVALID_ARG, COMError, SocketAddress, fwx_dfpc_Middle
from fwx.testing import Battery, MemoryHost, check_connection, connections
from tests.fwx.testing.faulty import Break, does_nothing, never_fails, only, replaced, with_arguments

PLACE = SocketAddress("192.0.2.9", 9)


def _forgives_arguments(self: Any, piDataFilter: Any, PriorityClass: Any, punkFilterContext: Any) -> None:
    self._attach(piDataFilter or DataPump(), min(int(PriorityClass), 6), punkFilterContext, self._attaching)


def _names_itself_early(self: Any) -> SocketAddress:
    return PLACE


def _counts_nothing(self: Any, dwBytesSent: int) -> None:
    self._require_emulation()


def _forgets_its_name(self: Any, Address: SocketAddress, AddressLength: int | None = None) -> None:
    emulation = self._require_emulation()
    if Address is None:
        raise COMError(FWX_E_INVALID_ARG)
    if emulation.name is not None:
        raise COMError(FWX_E_ALREADY_EXISTS)
    emulation.name = PLACE


def _emulates_again(self: Any, piDataFilter: Any, punkFilterContext: Any) -> None:
    self.emulation = None
    original_emulate(self, piDataFilter, punkFilterContext)


def _stands_alone(self: Any, piDataFilter: Any, PriorityClass: Any, punkFilterContext: Any) -> None:
    """A filter that is to stand beside who plays the server is dropped."""


def _forgets_to_deny(self: Any, Reserved: int) -> None:
    original_deny(self, Reserved)
    self._denied_by = ""


def _asks_at_most(times: int) -> Break:
    return lambda patch: patch.setattr("fwx.impl.connection.MOST_ASKED", times)


original_emulate = FWXConnection.EmulateForConnect
original_deny = ConnectionBase.Deny

WRONG: tuple[tuple[str, Break, str], ...] = (
    (
        "has every member of IFWXConnection to the letter",
        replaced(FWXConnection, "SetBufferSize", lambda self, size: None),
        "SetBufferSize: expected the parameters (BufferSize), found (size)",
    ),
    (
        "attaches, emulates and denies in event handlers alone",
        never_fails(ConnectionBase, "AttachDataFilter"),
        "AttachDataFilter outside an event: expected FWX_E_BAD_CONTEXT",
    ),
    (
        "attaches, emulates and denies in event handlers alone",
        never_fails(ConnectionBase, "Deny"),
        "Deny outside an event: expected FWX_E_BAD_CONTEXT",
    ),
    ("Deny refuses a connect", does_nothing(ConnectionBase, "Deny"), "Deny(1) and Deny(0) in fwx_Connect_Tcp"),
    ("Deny refuses a connect", with_arguments(ConnectionBase, "Deny", Reserved=1), "Deny(1) and Deny(0)"),
    ("Deny refuses a connect", replaced(ConnectionBase, "Deny", _forgets_to_deny), "reached the server"),
    ("Deny fails a bind", does_nothing(ConnectionBase, "Deny"), "a bind that was denied succeeded"),
    ("Deny aborts an accepted connection", does_nothing(ConnectionBase, "Deny"), "that was denied reached the client"),
    (
        "AttachDataFilter judges what it is given",
        replaced(ConnectionBase, "AttachDataFilter", _forgives_arguments),
        "AttachDataFilter of None, no data filter, an unknown class, one, and the same one again",
    ),
    (
        "data filters stand in the order of their classes",
        with_arguments(ConnectionBase, "AttachDataFilter", PriorityClass=fwx_dfpc_Middle),
        "the data filters by which data passed, to the server and back",
    ),
    (
        "SetSockets brings the context that was given",
        with_arguments(ConnectionBase, "AttachDataFilter", punkFilterContext=None),
        "SetSockets brought None as the context",
    ),
    (
        "its external names are there from SetSockets on",
        replaced(FWXConnection, "GetExternalPeerName", _names_itself_early),
        "GetExternalSocketName and GetExternalPeerName in fwx_Connect_Tcp",
    ),
    ("Kill ends it: completions, Detach, the event", does_nothing(ConnectionBase, "Kill"), "is still connected"),
    (
        "Kill ends it: completions, Detach, the event",
        never_fails(ConnectionBase, "GetSession"),
        "GetSession after the end: expected FWX_E_TERMINATING",
    ),
    (
        "OkToTerminate holds up the end",
        _asks_at_most(0),
        "of a data filter that says no: expected (2, 0), found (0, 1)",
    ),
    (
        "OkToTerminate holds up the end",
        _asks_at_most(2),
        "of a data filter that says no: expected (2, 0), found (1, 1)",
    ),
    ("SetBufferSize judges the size", never_fails(FWXConnection, "SetBufferSize"), "SetBufferSize(0): expected"),
    (
        "starts without an IP filter",
        replaced(ConnectionBase, "GetIpFilter", lambda self: self),
        "GetIpFilter after SetIpFilter(None) is not None",
    ),
    (
        "EmulateForConnect has a data filter play the server, once",
        replaced(Emulable, "EmulateForConnect", _emulates_again),
        "EmulateForConnect of None, no data filter, one, and another one",
    ),
    (
        "EmulateForConnect has a data filter play the server, once",
        with_arguments(Emulable, "EmulateForConnect", punkFilterContext=None),
        "SetSockets brought None as the context",
    ),
    (
        "others stand between the client and who plays the server",
        replaced(ConnectionBase, "AttachDataFilter", _stands_alone),
        "what another data filter saw on its way: expected [('other', True)], found []",
    ),
    (
        "SetSocketName names an emulated connection, once",
        replaced(Emulable, "SetSocketName", _forgets_its_name),
        "GetExternalSocketName after SetSocketName",
    ),
    (
        "SetSocketName names an emulated connection, once",
        never_fails(Emulable, "SetSocketName"),
        "SetSocketName before emulation, without an address, with one, and again",
    ),
    (
        "IncrementBytesSentCounter counts for the log",
        replaced(Emulable, "IncrementBytesSentCounter", _counts_nothing),
        "what the log shows as sent, of 5 and 7 bytes: expected 12, found 0",
    ),
    (
        "IncrementBytesSentCounter counts for the log",
        never_fails(Emulable, "IncrementBytesSentCounter"),
        "IncrementBytesSentCounter: expected FWX_E_NOT_EMULATED",
    ),
    (
        "EmulateForBind and EmulateConnection bring whom the filter plays",
        with_arguments(FWXListeningConnection, "EmulateConnection", RemoteAddress=lambda given: given.with_port(9)),
        "who the client was told has come",
    ),
    (
        "EmulateForBind and EmulateConnection bring whom the filter plays",
        does_nothing(Emulable, "EmulateForBind"),
        "EmulateForBind, again, and SetSocketName",
    ),
)


@pytest.mark.parametrize(("rule", "break_it", "reason"), WRONG)
def test_the_rule_catches(
    rule: str,
    break_it: Break,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caught: Callable[[Battery, str, str], None],
) -> None:
    break_it(monkeypatch)
    only(monkeypatch, connections, rule)
    caught(check_connection(MemoryHost), rule, reason)


def test_the_services_own_keeps_every_rule_and_each_has_a_wrong_one(shared_rules: tuple[str, ...]) -> None:
    battery = check_connection(MemoryHost)
    battery.require()
    assert battery.subject == "FWXConnection"
    assert {check.name for check in battery} - set(shared_rules) == {rule for rule, _, _ in WRONG}
