"""The battery for data filters: each rule, and a data filter that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from zope.interface import implementer

from fwx.data_pump import DataPump
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import S_FALSE, S_OK, COMError, IFWXSlowDataFilter
from fwx.testing import Battery, Dialogue, Outcome, check_data_filter, datafilters
from tests.fwx.testing.faulty import only


class OtherNames(DataPump):
    def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> None:  # type: ignore[override]
        super().SetSockets(internal, external, connection, context)


class NeedsSockets(DataPump):
    def Detach(self) -> None:
        self._internal.Close(False)  # type: ignore[union-attr]
        super().Detach()


class LosesTheLastByte(DataPump):
    def inspect(self, to_server: bool, buffer: Any) -> Any:
        size = buffer.GetBufferSizes()[1]
        return FWXIOBuffer(buffer.ReadAt(0, size - 1)) if size else buffer


class LosesSmallPieces(DataPump):
    def inspect(self, to_server: bool, buffer: Any) -> Any:
        return None if buffer.GetBufferSizes()[1] == 1 else buffer


class LosesWhatIsMuch(DataPump):
    def __init__(self) -> None:
        super().__init__()
        self.passed = 0

    def inspect(self, to_server: bool, buffer: Any) -> Any:
        self.passed += buffer.GetBufferSizes()[1]
        return None if self.passed > 1 << 19 else buffer


class ClosesAtTheClientsEnd(DataPump):
    closes = "to server"

    def _received(self, buffer: Any, direction: str, internal: Any, external: Any) -> None:
        if direction == self.closes and not buffer.GetBufferSizes()[1]:
            self._close(False)
        else:
            super()._received(buffer, direction, internal, external)


class ClosesAtTheServersEnd(ClosesAtTheClientsEnd):
    closes = "to client"


class KeepsItsSocketsOpen(DataPump):
    def _received(self, buffer: Any, direction: str, internal: Any, external: Any) -> None:
        if buffer.GetBufferSizes()[1]:
            super()._received(buffer, direction, internal, external)


class IgnoresTheClientsReset(DataPump):
    ignores = "to server"

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: Any,
        UserData: Any,
        ExternalAddress: Any,
        ExternalAddressLength: int,
    ) -> None:
        if fSuccess or not UserData.endswith(self.ignores):
            super().CompleteAsyncIO(fSuccess, Win32ErrorCode, pIOBuffer, UserData, None, 0)


class IgnoresTheServersReset(IgnoresTheClientsReset):
    ignores = "to client"


class KeepsItsSockets(DataPump):
    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> None:
        self.kept = (piInternalSocket, pIExternalSocket)
        super().SetSockets(piInternalSocket, pIExternalSocket, piConnection, punkFilterContext)


class KeepsItsConnection(DataPump):
    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> None:
        self.kept = piConnection
        super().SetSockets(piInternalSocket, pIExternalSocket, piConnection, punkFilterContext)


class RaisesOnFailure(DataPump):
    def _close(self, abortive: bool) -> None:
        if abortive:
            raise KeyError("no plan for this")
        super()._close(abortive)


class PostsAfterClose(DataPump):
    def _close(self, abortive: bool) -> None:
        internal = self._internal
        super()._close(abortive)
        try:
            internal.Recv(None, self, "to server")  # type: ignore[union-attr]
        except COMError as error:
            self.refused = error


class ReceivesForNobody(DataPump):
    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> None:
        try:
            piInternalSocket.Recv(None, None, 0)
        except COMError as error:
            self.refused = error
        super().SetSockets(piInternalSocket, pIExternalSocket, piConnection, punkFilterContext)


class WritesIntoBuffers(DataPump):
    def inspect(self, to_server: bool, buffer: Any) -> Any:
        view = buffer.GetBufferAndSize()
        if not view.readonly and len(view):
            view[:1] = b"X"
        return buffer


class Hoards(DataPump):
    def __init__(self) -> None:
        super().__init__()
        self.hoard: list[Any] = []

    def inspect(self, to_server: bool, buffer: Any) -> Any:
        self.hoard.append(buffer)
        return None


def mixing() -> Callable[[], DataPump]:
    """Return a class whose objects send to the server of the latest connection."""

    class Mixes(DataPump):
        latest: ClassVar[list[Any]] = []

        def _received(self, buffer: Any, direction: str, internal: Any, external: Any) -> None:
            if external not in self.latest:
                self.latest.append(external)
            super()._received(buffer, direction, internal, self.latest[0])

    return Mixes


@implementer(IFWXSlowDataFilter)
class Agrees(DataPump):
    """Has something left to do as long as it has sockets."""

    def OkToTerminate(self) -> Any:
        return S_OK if self._internal is None else S_FALSE


class NeverAgrees(Agrees):
    def OkToTerminate(self) -> Any:
        return S_FALSE


class CannotBeAsked(Agrees):
    def OkToTerminate(self) -> Any:
        raise KeyError("nobody asks")


class AnswersByTruth(Agrees):
    def OkToTerminate(self) -> Any:
        return "not yet"


WRONG: tuple[tuple[str, Callable[[], Any], str], ...] = (
    (
        "the data filter and its completions have every member to the letter",
        OtherNames,
        "IFWXDataFilter.SetSockets: expected the parameters (piInternalSocket, pIExternalSocket, piConnection, ",
    ),
    ("Detach may come before SetSockets", NeedsSockets, "Detach: AttributeError: 'NoneType' object has no attribute"),
    ("data passes whole, both ways", LosesTheLastByte, "from the client to the server: 759 of 760 bytes came"),
    ("data passes whole in whatever pieces it comes", LosesSmallPieces, "from the client to the server: 0 of 760"),
    ("much data passes whole", LosesWhatIsMuch, "one is the beginning of the other"),
    (
        "the client's end leaves the other direction open",
        ClosesAtTheClientsEnd,
        "from the server, after the client's end: 0 of 1140 bytes came",
    ),
    (
        "the server's end leaves the other direction open",
        ClosesAtTheServersEnd,
        "from the client, after the server's end: 0 of 760 bytes came",
    ),
    (
        "both sockets get Close or Shutdown when both directions end",
        KeepsItsSocketsOpen,
        "the internal socket saw neither Close nor Shutdown",
    ),
    ("a client that resets has both sockets closed", IgnoresTheClientsReset, "the internal socket was not closed"),
    ("a server that resets has both sockets closed", IgnoresTheServersReset, "the internal socket was not closed"),
    ("OkToTerminate agrees in the end", NeverAgrees, "does not agree, long after both sides have gone"),
    ("OkToTerminate agrees in the end", CannotBeAsked, "OkToTerminate, while data passes: KeyError('nobody asks')"),
    ("OkToTerminate agrees in the end", AnswersByTruth, "'not yet'"),
    ("Detach lets go of the sockets and the connection", KeepsItsSockets, "after Detach it still holds a socket"),
    (
        "Detach lets go of the sockets and the connection",
        KeepsItsConnection,
        "after Detach it still holds the connection",
    ),
    (
        "methods and completions succeed however a connection ends",
        RaisesOnFailure,
        "while connections ended: CompleteAsyncIO: KeyError: 'no plan for this'",
    ),
    ("posts nothing after Shutdown, Close or Detach", PostsAfterClose, "it called internal.Recv after Close"),
    ("every Recv has a completion", ReceivesForNobody, "it called internal.Recv without a completion"),
    ("leaves the buffers that it receives as they are", WritesIntoBuffers, "it changed a buffer that it had received"),
    ("a reader that stops holds the sender back", Hoards, "MiB although the server does not read"),
    ("keeps connections apart", mixing(), "connections"),
)


@pytest.mark.parametrize(("rule", "wrong", "reason"), WRONG)
def test_the_rule_catches(
    rule: str,
    wrong: Callable[[], Any],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caught: Callable[[Battery, str, str], None],
) -> None:
    only(monkeypatch, datafilters, rule)
    caught(check_data_filter(wrong), rule, reason)


def test_there_is_a_wrong_data_filter_for_every_rule() -> None:
    assert {check.name for check in check_data_filter(DataPump)} == {rule for rule, _, _ in WRONG}


def test_a_slow_data_filter_that_agrees() -> None:
    battery = check_data_filter(Agrees)
    battery.require()
    assert {check.outcome for check in battery} == {Outcome.PASSED}


def upper(buffer: Any) -> Any:
    return FWXIOBuffer(buffer.ReadAt(0, 1 << 20).upper())


class Upper(DataPump):
    def inspect(self, to_server: bool, buffer: Any) -> Any:
        return upper(buffer)


def test_a_filter_that_changes_data_must_be_declared() -> None:
    failed = {check.name for check in check_data_filter(Upper).failures}
    assert "data passes whole, both ways" in failed
    check_data_filter(Upper, dialogue=Dialogue(changes_data=True)).require()


def test_a_declared_change_excuses_no_lost_end() -> None:
    battery = check_data_filter(KeepsItsSocketsOpen, dialogue=Dialogue(changes_data=True))
    assert "the client's end leaves the other direction open" in {check.name for check in battery.failures}


def test_a_maker_that_fails_breaks_every_rule() -> None:
    def maker() -> Any:
        raise OSError("no such file")

    battery = check_data_filter(maker)
    assert {check.outcome for check in battery} == {Outcome.FAILED}
    assert "FirewallEventHandler: OSError: no such file" in battery.checks[0].reason
