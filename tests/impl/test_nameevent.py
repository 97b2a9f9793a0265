"""The name events: who gets them, when, and what a filter makes of the answer (B2.25 to B2.28)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.engine import Answer
from fwx.impl.getxbyy import FWXGetXByY
from fwx.impl.hostentlayout import hostent_size
from fwx.impl.logrecord import Action
from fwx.impl.lookups import MOST_LOOK_UPS
from fwx.impl.nameevent import NameEvents
from fwx.impl.policy import Rule
from fwx.impl.raw import raw
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    Hostent,
    IFWXGetXByY,
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_GetHostByAddr,
    fwx_GetHostByName,
    fwxSourceNAT,
    fwxSourceWSP,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_OUTOFMEMORY,
    E_POINTER,
    E_UNEXPECTED,
    FWX_E_BAD_CONTEXT,
    FWX_E_DNS_QUOTA_EXCEEDED,
    FWX_E_FILTER_NOT_REGISTERED,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAECONNRESET,
    WSAHOST_NOT_FOUND,
    COMError,
)
from tests.impl.door import CLIENT, Door

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.impl.conftest import Rig

NAMES = fwx_GetHostByName | fwx_GetHostByAddr | FWX_ALL_SOURCES
HERE = Hostent("here.example", (), (IPv4Address("127.0.0.1"),))
ELSEWHERE = Hostent("elsewhere.example", (), (IPv4Address("203.0.113.9"),))
NOT_FOUND = HRESULT_FROM_WIN32(WSAHOST_NOT_FOUND)


@pytest.fixture
def door(rig: Rig) -> Iterator[Door]:
    door = Door(rig)
    yield door
    door.gateway.close()
    door.listener.close()


class Seen:
    """What a filter saw of its name events; *before* and *after* do something in them."""

    def __init__(self, before: Callable[[Any], object] | None = None, after: Callable[[Any], object] | None = None):
        self.events: list[tuple[str, Any, bool]] = []
        self.told: list[Any] = []
        self._do = {True: before, False: after}

    def __call__(self, event: Any) -> Any:
        if event.EventType == fwx_Connect_Tcp:
            self.events.append(("connect", event.Parameters.Connect.Address.host, False))
            return None
        details = event.Parameters.GetHostByName
        self.events.append((details.Hostname, details.Hostent, details.fBeforeAction))
        self.told.append(details.piGetXByY)
        do = self._do[details.fBeforeAction]
        return None if do is None else do(details.piGetXByY)


def code_of(call: Any, *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


def name(port: int, host: str = "www.example") -> SocketAddress:
    return SocketAddress(host, port)


def test_before_and_after_the_resolution_and_then_the_connect(rig: Rig, door: Door) -> None:
    """B2.26, B2.27: twice, the answer only in the second, both before fwx_Connect_Tcp."""
    seen = Seen()
    rig.host(mask=NAMES | fwx_Connect_Tcp, handle=seen)
    door.open(name(door.address.port))
    rig.settle()
    assert seen.events == [("www.example", None, True)]
    rig.names.answers["www.example"] = Answer(HERE)
    rig.names.asked.pop()([door.address], 0)
    door.accept()
    assert seen.events[1:] == [("www.example", HERE, False), ("connect", "www.example", False)]


def test_the_event_tells_the_size_of_the_answer_in_c(rig: Rig) -> None:
    """B2.27: 0 without an answer, else what C needs for it."""
    sizes: list[int] = []
    host = rig.host(mask=NAMES, handle=lambda event: sizes.append(event.Parameters.GetHostByName.HostentLength))
    events = NameEvents(rig.session(), (host,), "www.example")
    assert rig.through(events.before()) is rig.through(events.after(HERE)) is None
    assert sizes == [0, hostent_size(HERE)]
    assert hostent_size(HERE) == 32 + 8 * 3 + len("here.example\0") + 4


def test_an_answer_before_the_resolution_replaces_it(rig: Rig, door: Door) -> None:
    """B2.28: nobody is asked; the second event shows the answer that is given."""
    seen = Seen(before=lambda told: told.SetResult(HERE))
    rig.host(mask=NAMES, handle=seen)
    door.open(name(door.address.port, "nowhere.example"))
    door.accept()
    assert rig.names.asked == []
    assert seen.events == [("nowhere.example", None, True), ("nowhere.example", HERE, False)]


@pytest.mark.parametrize("known", [["203.0.113.80"], WSAHOST_NOT_FOUND], ids=["found", "not found"])
def test_an_answer_after_the_resolution_replaces_the_true_one(rig: Rig, door: Door, known: Any) -> None:
    """B2.28: whatever the name service has said, a failure too."""
    rig.names.table["www.example"] = known
    seen = Seen(after=lambda told: told.SetResult(HERE))
    rig.host(mask=NAMES, handle=seen)
    door.open(name(door.address.port))
    door.accept()
    assert (seen.events[1][1] is None) == (known == WSAHOST_NOT_FOUND)


def test_each_filter_sees_what_the_one_before_it_answered(rig: Rig, door: Door) -> None:
    rig.names.table["www.example"] = ["127.0.0.1"]
    first, second = Seen(after=lambda told: told.SetResult(ELSEWHERE)), Seen(after=lambda told: told.SetResult(HERE))
    rig.host("first", mask=NAMES, handle=first)
    rig.host("second", mask=NAMES, handle=second)
    door.open(name(door.address.port))
    door.accept()
    assert second.events[1][1] is ELSEWHERE


def test_an_answer_of_another_filter_is_not_shown_before_the_resolution(rig: Rig, door: Door) -> None:
    """B2.27: what one filter has answered before it the next one finds in the second event."""
    first, second = Seen(before=lambda told: told.SetResult(HERE)), Seen()
    rig.host("first", mask=NAMES, handle=first)
    rig.host("second", mask=NAMES, handle=second)
    door.open(name(door.address.port, "nowhere.example"))
    door.accept()
    assert second.events == [("nowhere.example", None, True), ("nowhere.example", HERE, False)]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_refusal(rig: Rig, door: Door, when: str) -> None:
    """B2.28: to the client there is no such host; no later filter is asked, nothing connects, the log says who."""
    rig.names.table["www.example"] = ["127.0.0.1"]
    seen, later = Seen(**{when: lambda told: told.Deny(0)}), Seen()
    rig.host("strict", mask=NAMES | fwx_Connect_Tcp, handle=seen)
    rig.host("later", mask=NAMES, handle=later)
    door.open(name(door.address.port))
    assert door.refusal() == NOT_FOUND
    assert [event[2] for event in seen.events] == ([True] if when == "before" else [True, False])
    assert len(later.events) == len(seen.events) - 1
    (record,) = rig.records
    assert (record.action, record.destination_name) == (Action.Denied, "www.example")
    assert record.reason == "looking up www.example was denied by filter 'strict'"


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_answer_of_a_filter_is_judged(rig: Rig, door: Door, when: str) -> None:
    """DESIGN 6: no filter leads a client past the rules."""
    rig.names.table["www.example"] = ["203.0.113.80"]
    deny = Rule("no", "deny", ("any",), ("any", "localhost"), ("localhost",))
    allow = Rule("yes", "allow", ("any",), ("any", "localhost"), ("any",))
    rig.engine.policy = rig.policy(deny, allow)
    rig.host(mask=NAMES, handle=Seen(**{when: lambda told: told.SetResult(HERE)}))
    door.open(name(door.address.port))
    assert door.refusal() == FWX_E_POLICY_RULES_DENIED


def test_only_firewall_clients_raise_them(rig: Rig) -> None:
    """B2.25, B10.4: a SecureNAT client resolves for itself."""
    host = rig.host(mask=NAMES)
    for source in (fwxSourceNAT, fwxSourceWSP):
        events = NameEvents(rig.session(source=source), (host,), "www.example")
        assert rig.through(events.before()) is rig.through(events.after(HERE)) is None
        assert events.answer is HERE
    assert [entry for entry in rig.journal if entry[1] == "event"] == [("filter", "event", fwx_GetHostByName)] * 2


def test_a_filter_that_did_not_ask_is_not_even_attached(rig: Rig, door: Door) -> None:
    """B1.17, B2.5."""
    rig.host("other", mask=fwx_GetHostByAddr | FWX_ALL_SOURCES)
    rig.host("securenat", mask=fwx_GetHostByName | fwxSourceNAT)
    rig.names.table["www.example"] = ["127.0.0.1"]
    door.open(name(door.address.port))
    door.accept()
    assert [entry for entry in rig.journal if entry[1] in ("attach", "event")] == []


def test_the_filters_of_the_rule_that_allows_the_name_see_it(rig: Rig, door: Door) -> None:
    rig.names.table["www.example"] = ["127.0.0.1"]
    for rule in ("named", "other"):
        rig.host(rule, everywhere=False, mask=NAMES)
    everywhere = ("any", "localhost")
    rig.engine.policy = rig.policy(Rule("yes", "allow", ("any",), everywhere, everywhere, filters=("named",)))
    door.open(name(door.address.port))
    door.accept()
    assert [entry for entry in rig.journal if entry[1] == "event"] == [("named", "event", fwx_GetHostByName)] * 2


def test_look_ups_of_filters_raise_none(rig: Rig) -> None:
    """B2.25: these come from clients; what a filter asks its session is no client's question."""
    rig.host(mask=NAMES)
    rig.names.answers["www.example"] = Answer(HERE)
    rig.names.answers[IPv4Address("127.0.0.1")] = Answer(HERE)
    assert rig.session().GetHostByName("www.example") is HERE
    assert rig.session().GetHostByAddr(b"\x7f\0\0\1", 4, 2) is HERE
    assert [entry for entry in rig.journal if entry[1] == "event"] == []


@pytest.mark.parametrize(
    ("address", "family"), [(IPv4Address("192.0.2.7"), 2), (IPv6Address("2001:db8::7"), 23)], ids=["IPv4", "IPv6"]
)
def test_a_look_up_of_an_address(rig: Rig, address: Any, family: int) -> None:
    """B2.26, B2.27, B2.28: as of a name; the answer is a name."""
    seen: list[Any] = []

    def handle(event: Any) -> None:
        details = event.Parameters.GetHostByAddr
        seen.append((details.Address, details.AddressLength, details.AddressType, details.Hostent))
        if not details.fBeforeAction:
            details.piGetXByY.SetResult(Hostent("other.example"))

    events = NameEvents(rig.session(), (rig.host(mask=NAMES, handle=handle),), address)
    true = Hostent("true.example", (), (address,))
    assert rig.through(events.before()) is rig.through(events.after(true)) is None
    packed = address.packed
    assert seen == [(packed, len(packed), family, None), (packed, len(packed), family, true)]
    assert events.answer == Hostent("other.example")


# ---- failures --------------------------------------------------------------------------------------------------------


def fails(told: Any) -> None:
    told.SetResult(HERE)
    raise ValueError("a bug")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_filter_that_fails_closes(rig: Rig, door: Door, when: str) -> None:
    rig.names.table["www.example"] = ["127.0.0.1"]
    rig.host(mask=NAMES, handle=Seen(**{when: fails}))
    door.open(name(door.address.port))
    assert door.refusal() == E_UNEXPECTED
    assert "a bug" in rig.records[0].reason


def test_out_of_memory_fails_the_request(rig: Rig, door: Door) -> None:
    """B2.38."""
    rig.host(mask=NAMES, handle=Seen(before=lambda told: E_OUTOFMEMORY))
    door.open(name(door.address.port))
    assert door.refusal() == E_UNEXPECTED
    assert rig.names.asked == []


def test_out_of_memory_at_the_attach_fails_the_request(rig: Rig, door: Door) -> None:
    """B1.21: the request behind the event, which here is a look-up."""

    def attach(session: Any) -> Any:
        raise MemoryError

    rig.host(mask=NAMES, attach=attach)
    door.open(name(door.address.port))
    assert door.refusal() == E_UNEXPECTED
    assert rig.names.asked == []


def test_a_filter_that_may_fail_open_answers_nothing(rig: Rig) -> None:
    """What a failing handler set is not used."""
    host = rig.host(opens=True, mask=NAMES, handle=Seen(after=fails))
    true = Hostent("www.example", (), (IPv4Address("203.0.113.80"),))
    events = NameEvents(rig.session(), (host,), "www.example")
    assert rig.through(events.before()) is rig.through(events.after(true)) is None
    assert events.answer is true


@pytest.mark.parametrize("opens", [False, True])
def test_a_filter_that_is_not_there(rig: Rig, opens: bool) -> None:
    host = rig.host(opens=opens, init=lambda firewall: E_OUTOFMEMORY)
    refusal = rig.through(NameEvents(rig.session(), (host,), "www.example").before())
    assert refusal is None if opens else refusal is not None and refusal.result == FWX_E_FILTER_NOT_REGISTERED


def test_a_client_with_too_many_look_ups_has_its_first_event_and_no_more(rig: Rig, door: Door) -> None:
    seen = Seen()
    rig.host(mask=NAMES, handle=seen)
    for number in range(MOST_LOOK_UPS):
        rig.engine.look_ups.begin(rig.engine, CLIENT.host, name(80, f"{number}.example"), lambda *_: None)
    door.open(name(80))
    assert door.refusal() == FWX_E_DNS_QUOTA_EXCEEDED
    assert [event[2] for event in seen.events] == [True]
    for ask in rig.names.asked:
        ask([], WSAHOST_NOT_FOUND)


def test_a_client_that_goes_away_meanwhile(rig: Rig, door: Door) -> None:
    seen = Seen()
    rig.host(mask=NAMES, handle=seen)
    door.open(name(80))
    rig.settle()
    door.client.reset()
    assert door.refusal() == HRESULT_FROM_WIN32(WSAECONNRESET)
    rig.names.asked.pop()([door.address], 0)
    assert (rig.names.cancelled, [event[2] for event in seen.events]) == (1, [True])
    assert not len(rig.engine.look_ups)


# ---- IFWXGetXByY -----------------------------------------------------------------------------------------------------


def test_what_the_object_takes(rig: Rig) -> None:
    told = FWXGetXByY(True, None)
    assert code_of(told.Deny, 1) == E_INVALIDARG
    assert code_of(told.SetResult, None) == E_POINTER
    for wrong in ("www.example", Hostent("www.example"), Hostent("www.example", (), ("127.0.0.1",))):  # type: ignore[arg-type]
        assert code_of(told.SetResult, wrong) == E_INVALIDARG
    assert (told.answer, told.denied) == (None, False)
    assert code_of(FWXGetXByY(False, None).SetResult, Hostent("", (), (IPv4Address("127.0.0.1"),))) == E_INVALIDARG


def test_it_is_of_no_use_after_its_event(rig: Rig) -> None:
    """A filter that keeps it can neither refuse nor answer any more."""
    seen = Seen()
    events = NameEvents(rig.session(), (rig.host(mask=NAMES, handle=seen),), "www.example")
    assert rig.through(events.before()) is None
    (told,) = seen.told
    assert code_of(told.Deny, 0) == FWX_E_BAD_CONTEXT
    assert code_of(told.SetResult, HERE) == FWX_E_TERMINATING
    assert rig.through(events.after(ELSEWHERE)) is None
    assert events.answer is ELSEWHERE


def test_the_com_face(rig: Rig) -> None:
    told = FWXGetXByY(True, None)
    face = raw(told, IFWXGetXByY)
    assert (face.SetResult(None), face.Deny(7)) == (E_POINTER, E_INVALIDARG)
    assert (face.SetResult(HERE), face.Deny(0)) == (S_OK, S_OK)
    assert (told.answer, told.denied) == (HERE, True)
