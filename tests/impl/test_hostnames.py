"""GetHostByName and GetHostByAddr: of the firewall under no policy, of a session under its policy and in its log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

import pytest

from fwx import sdk
from fwx.impl.domainset import DomainSet
from fwx.impl.engine import Answer, Question
from fwx.impl.hostnames import IHostNames
from fwx.impl.logrecord import Action
from fwx.impl.lookups import MOST_LOOK_UPS
from fwx.impl.policy import Policy, Rule
from fwx.impl.raw import Ref, raw
from fwx.interfaces import Hostent, IFWXFirewall, IFWXSession
from fwx.interfaces.com import ERROR_INSUFFICIENT_BUFFER
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_NOINTERFACE,
    E_POINTER,
    FWX_E_DNS_QUOTA_EXCEEDED,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEAFNOSUPPORT,
    WSAHOST_NOT_FOUND,
    WSANO_DATA,
    WSANO_RECOVERY,
    WSATRY_AGAIN,
    COMError,
)

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

NAME = "www.example"
FOUR, SIX = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
HOST = Hostent("web.example", (NAME,), (SIX, FOUR))
HOST_OF = {FOUR: Hostent("web.example", (), (FOUR,)), SIX: Hostent("web.example", (), (SIX,))}
CLIENT = "127.0.0.1"
AF_INET, AF_INET6, LINUX_AF_INET6 = 2, 23, 10

Told = list[tuple[Hostent | None, HRESULT]]


def code_of(call: Callable[..., object], *args: object) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


def failure(code: int) -> int:
    return HRESULT_FROM_WIN32(code)


@pytest.fixture(params=["firewall", "session"])
def owner(request: pytest.FixtureRequest, rig: Rig) -> Any:
    """Who looks up: both see the same, but for policy and log."""
    return rig.firewall if request.param == "firewall" else rig.session()


def teller(told: Told) -> Callable[[Hostent | None, HRESULT], None]:
    return lambda host, result: told.append((host, result))


# ---- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"])
def test_a_number_is_its_own_answer(rig: Rig, owner: Any, text: str) -> None:
    assert owner.GetHostByName(text) == Hostent(text, (), (ip_address(text),))
    assert rig.names.looking_up == []


def test_what_is_known_is_answered_at_once(rig: Rig, owner: Any) -> None:
    rig.names.answers.update({NAME: Answer(HOST), FOUR: Answer(HOST_OF[FOUR]), SIX: Answer(HOST_OF[SIX])})
    assert owner.GetHostByName(NAME) == HOST
    assert owner.GetHostByAddr(FOUR.packed, None, AF_INET) == HOST_OF[FOUR]
    assert owner.GetHostByAddr(memoryview(SIX.packed), 16, AF_INET6) == HOST_OF[SIX]
    assert owner.GetHostByAddr(bytearray(SIX.packed), None, LINUX_AF_INET6) == HOST_OF[SIX]
    assert owner.GetHostByAddr(FOUR.packed + b"more", 4, AF_INET) == HOST_OF[FOUR]
    assert rig.names.looking_up == []


@pytest.mark.parametrize("code", [WSAHOST_NOT_FOUND, WSANO_DATA])
def test_what_is_known_not_to_be_there(rig: Rig, owner: Any, code: int) -> None:
    rig.names.answers.update({NAME: Answer(None, code), FOUR: Answer(None, code)})
    assert code_of(owner.GetHostByName, NAME) == failure(code)
    assert code_of(owner.GetHostByAddr, FOUR.packed, None, AF_INET) == failure(code)


def ask_for(owner: Any, question: Question) -> Callable[[], Hostent]:
    if isinstance(question, str):
        return lambda: owner.GetHostByName(question)
    return lambda: owner.GetHostByAddr(question.packed, None, AF_INET if question.version == 4 else AF_INET6)


@pytest.mark.parametrize("question", [NAME, FOUR, SIX])
@pytest.mark.parametrize("answer", [Answer(HOST), Answer(None, WSAHOST_NOT_FOUND), Answer(None, WSANO_DATA)])
def test_what_is_not_known_is_looked_up_once_while_the_filter_asks_again(
    rig: Rig, owner: Any, question: Question, answer: Answer
) -> None:
    """The loop is not the one that waits."""
    ask = ask_for(owner, question)
    for _ in range(3):
        assert code_of(ask) == failure(WSATRY_AGAIN)
    assert [asked for asked, _ in rig.names.looking_up] == [question]
    rig.names.answer(answer)
    if answer.host is None:
        assert code_of(ask) == failure(answer.code)
    else:
        assert ask() == answer.host
    assert rig.names.looking_up == []
    assert owner.names.pending == 0


@pytest.mark.parametrize("code", [WSATRY_AGAIN, WSANO_RECOVERY])
def test_a_failure_that_may_pass_is_tried_again(rig: Rig, owner: Any, code: int) -> None:
    for _ in range(2):
        assert code_of(owner.GetHostByName, NAME) == failure(WSATRY_AGAIN)
        rig.names.answer(Answer(None, code), remember=False)
    assert code_of(owner.GetHostByName, NAME) == failure(WSATRY_AGAIN)
    rig.names.answer(Answer(HOST))
    assert owner.GetHostByName(NAME) == HOST


def test_a_look_up_ends_by_the_deadline(rig: Rig, owner: Any) -> None:
    told: Told = []
    assert code_of(owner.GetHostByName, NAME) == failure(WSATRY_AGAIN)
    IHostNames(owner).look_up(NAME, teller(told))
    assert owner.names.pending == 2
    rig.clock.advance(20.0)
    assert owner.names.pending == 0
    assert rig.names.cancelled == 2
    rig.settle()
    assert told == [(None, failure(WSATRY_AGAIN))]
    assert code_of(owner.GetHostByName, NAME) == failure(WSATRY_AGAIN)
    assert len(rig.names.looking_up) == 3, "it is looked up anew"


def test_the_number_of_look_ups_is_bounded(rig: Rig, owner: Any) -> None:
    """B5.17: a limit on DNS queries; those that have ended count no more, those of others never."""
    for number in range(MOST_LOOK_UPS):
        assert code_of(owner.GetHostByName, f"host{number}.example") == failure(WSATRY_AGAIN)
    assert code_of(owner.GetHostByName, NAME) == FWX_E_DNS_QUOTA_EXCEEDED
    assert code_of(owner.GetHostByAddr, FOUR.packed, None, AF_INET) == FWX_E_DNS_QUOTA_EXCEEDED
    assert code_of(owner.GetHostByName, "host0.example") == failure(WSATRY_AGAIN), "it is pending"
    told: Told = []
    IHostNames(owner).look_up(NAME, teller(told))
    assert told == []
    rig.settle()
    assert told == [(None, FWX_E_DNS_QUOTA_EXCEEDED)]
    assert code_of(rig.session("10.0.0.7").GetHostByName, NAME) == failure(WSATRY_AGAIN)
    assert owner.GetHostByName("192.0.2.9").addresses == (IPv4Address("192.0.2.9"),)
    rig.names.answer(Answer(HOST))
    assert code_of(owner.GetHostByName, NAME) == failure(WSATRY_AGAIN)


# ---- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (None, E_POINTER),
        (b"www.example", E_INVALIDARG),
        (5, E_INVALIDARG),
        (FOUR, E_INVALIDARG),
        ("", failure(WSAHOST_NOT_FOUND)),
        ("a\0b", failure(WSAHOST_NOT_FOUND)),
        ("192.0.2.1\0", failure(WSAHOST_NOT_FOUND)),
        ("a." * 127 + "ab", failure(WSAHOST_NOT_FOUND)),
        ("é." * 86, failure(WSAHOST_NOT_FOUND)),
        ("a" * 100_000, failure(WSAHOST_NOT_FOUND)),
        ("a" * 64 + ".example", failure(WSAHOST_NOT_FOUND)),
        ("a..example", failure(WSAHOST_NOT_FOUND)),
        (".", failure(WSAHOST_NOT_FOUND)),
        ("\ud800.example", failure(WSAHOST_NOT_FOUND)),
    ],
)
def test_names_that_are_none(rig: Rig, owner: Any, name: Any, code: int) -> None:
    assert code_of(owner.GetHostByName, name) == code
    told: Told = []
    assert code_of(IHostNames(owner).look_up, name, teller(told)) == code
    rig.settle()
    assert (told, rig.names.looking_up, rig.records) == ([], [], [])


@pytest.mark.parametrize("name", ["a." * 126 + "a", "_service._tcp.example", "bücher.example", "www.example.", "a b"])
def test_names_that_may_be_some(rig: Rig, owner: Any, name: str) -> None:
    assert code_of(owner.GetHostByName, name) == failure(WSATRY_AGAIN)
    assert rig.names.looking_up[0][0] == name


def test_a_name_between_what_dns_and_what_winsock_allows(rig: Rig) -> None:
    """The resolver may know it; no policy speaks of it."""
    name = "a." * 127 + "a"
    assert code_of(rig.firewall.GetHostByName, name) == failure(WSATRY_AGAIN)
    assert code_of(rig.session().GetHostByName, name) == failure(WSAHOST_NOT_FOUND)
    assert "is longer than a DNS name can be" in rig.records[0].reason


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((None, None, AF_INET), E_POINTER),
        (("192.0.2.1", None, AF_INET), E_INVALIDARG),
        ((5, None, AF_INET), E_INVALIDARG),
        ((FOUR, None, AF_INET), E_INVALIDARG),
        ((b"abc", None, AF_INET), E_INVALIDARG),
        ((b"abcde", None, AF_INET), E_INVALIDARG),
        ((b"abcd", 3, AF_INET), E_INVALIDARG),
        ((b"abcd", 5, AF_INET), E_INVALIDARG),
        ((b"abcd", -1, AF_INET), E_INVALIDARG),
        ((b"abcd", "4", AF_INET), E_INVALIDARG),
        ((b"abcd", None, AF_INET6), E_INVALIDARG),
        ((SIX.packed, None, AF_INET), E_INVALIDARG),
        ((b"", 0, AF_INET), E_INVALIDARG),
        ((b"abcd", None, None), E_INVALIDARG),
        ((b"abcd", None, 1 << 40), E_INVALIDARG),
        ((b"abcd", None, "2"), E_INVALIDARG),
        ((b"abcd", None, 0), failure(WSAEAFNOSUPPORT)),
        ((b"abcd", None, 1), failure(WSAEAFNOSUPPORT)),
        ((b"abcd", None, -2), failure(WSAEAFNOSUPPORT)),
    ],
)
def test_addresses_that_are_none(rig: Rig, owner: Any, arguments: tuple[Any, ...], code: int) -> None:
    assert code_of(owner.GetHostByAddr, *arguments) == code
    assert rig.names.looking_up == []


@pytest.mark.parametrize(
    ("address", "done", "code"),
    [
        (None, print, E_POINTER),
        ("192.0.2.1", print, E_INVALIDARG),
        (b"\xc0\0\2\1", print, E_INVALIDARG),
        (FOUR, None, E_POINTER),
        (FOUR, "done", E_INVALIDARG),
    ],
)
def test_bad_arguments_of_a_look_up(rig: Rig, owner: Any, address: Any, done: Any, code: int) -> None:
    assert code_of(IHostNames(owner).look_up_address, address, done) == code
    rig.settle()
    assert (rig.names.looking_up, owner.names.pending) == ([], 0)


# ---- policy and log --------------------------------------------------------------------------------------------------


@pytest.fixture
def ruled(rig: Rig) -> Rig:
    """A policy that knows a name which nobody may reach, and networks for others."""
    rules = (
        Rule("no evil", "deny", ("any",), ("localhost",), ("evil",)),
        Rule("quiet", "allow", ("any",), ("localhost",), ("quiet",), log=False),
        Rule("out", "allow", ("HTTP",), ("localhost",), ("outside",)),
    )
    domains = (DomainSet("evil", ("evil.example",)), DomainSet("quiet", ("quiet.example",)))
    rig.engine.policy = Policy(rig.policy()._networks, domains, (), rules)
    return rig


def test_what_the_policy_denies_seems_not_to_exist(ruled: Rig) -> None:
    """And is logged as what it is; the firewall's own methods ask no policy and log nothing."""
    outside, inside = IPv4Address("203.0.113.5"), IPv4Address("10.9.9.9")
    ruled.names.answers.update({"evil.example": Answer(HOST), inside: Answer(HOST_OF[FOUR])})
    session = ruled.session()
    assert code_of(session.GetHostByName, "evil.example") == failure(WSAHOST_NOT_FOUND)
    assert code_of(session.GetHostByName, str(inside)) == failure(WSAHOST_NOT_FOUND)
    assert code_of(session.GetHostByAddr, inside.packed, None, AF_INET) == failure(WSAHOST_NOT_FOUND)
    assert ruled.names.looking_up == []
    assert [(each.action, each.resultcode, each.rule) for each in ruled.records] == [
        (Action.GHBN, FWX_E_POLICY_RULES_DENIED, "no evil"),
        (Action.GHBN, FWX_E_POLICY_RULES_DENIED, "Default rule"),
        (Action.GHBA, FWX_E_POLICY_RULES_DENIED, "Default rule"),
    ]
    assert "denies looking up evil.example" in ruled.records[0].reason
    ruled.records.clear()
    assert code_of(session.GetHostByAddr, outside.packed, None, AF_INET) == failure(WSATRY_AGAIN)
    assert ruled.firewall.GetHostByName("evil.example") == HOST
    assert ruled.firewall.GetHostByAddr(inside.packed, None, AF_INET) == HOST_OF[FOUR]
    assert ruled.records == []


def test_a_denied_look_up_is_told_the_same_way(ruled: Rig) -> None:
    told: Told = []
    IHostNames(ruled.session()).look_up("evil.example", teller(told))
    IHostNames(ruled.session()).look_up_address(IPv4Address("10.9.9.9"), teller(told))
    assert told == []
    ruled.settle()
    assert told == [(None, failure(WSAHOST_NOT_FOUND))] * 2
    assert [each.action for each in ruled.records] == [Action.GHBN, Action.GHBA]


def test_a_client_that_no_rule_speaks_of(ruled: Rig) -> None:
    session = ruled.session("10.9.9.9")
    assert code_of(session.GetHostByName, NAME) == failure(WSAHOST_NOT_FOUND)
    (record,) = ruled.records
    assert (record.source_ip, record.source_network, record.rule) == ("10.9.9.9", "external", "Default rule")


def test_a_call_that_answers_is_logged_once(ruled: Rig) -> None:
    """B9.12: GHBN and GHBA are look-ups by name and by address; what only began is none."""
    session, outside = ruled.session(), IPv4Address("203.0.113.5")
    assert code_of(session.GetHostByName, NAME) == failure(WSATRY_AGAIN)
    assert code_of(session.GetHostByAddr, outside.packed, None, AF_INET) == failure(WSATRY_AGAIN)
    assert ruled.records == []
    ruled.names.answer(Answer(HOST))
    ruled.names.answer(Answer(Hostent("five.example", (), (outside,))))
    assert ruled.records == []
    session.GetHostByName(NAME)
    session.GetHostByAddr(outside.packed, None, AF_INET)
    by_name, by_address = ruled.records
    assert (by_name.action, by_address.action) == (Action.GHBN, Action.GHBA) == (3, 4)
    assert (by_name.destination_name, by_name.destination_ip) == (NAME, str(SIX))
    assert (by_address.destination_name, by_address.destination_ip) == ("five.example", str(outside))
    assert by_address.destination_network == "outside"
    for each in ruled.records:
        assert (each.time, each.servername, each.source_ip, each.session_id) == (1000.0, "rig", CLIENT, session.id)
        assert (each.resultcode, each.rule, each.source_network, each.reason) == (0, "out", "localhost", "")
        assert (each.protocol, each.destination_port, each.connection_id) == ("", 0, 0)
        assert each.interface == "a session's look-up"


def test_what_was_not_found_is_logged(ruled: Rig) -> None:
    session = ruled.session()
    ruled.names.answers[NAME] = Answer(None, WSANO_DATA)
    assert code_of(session.GetHostByName, NAME) == failure(WSANO_DATA)
    (record,) = ruled.records
    assert (record.resultcode, record.destination_ip, record.reason) == (failure(WSANO_DATA), "", "not found")


def test_a_failure_that_no_later_call_tells_of_is_logged_when_it_comes(ruled: Rig) -> None:
    session = ruled.session()
    assert code_of(session.GetHostByName, NAME) == failure(WSATRY_AGAIN)
    ruled.clock.advance(1.5)
    ruled.names.answer(Answer(None, WSATRY_AGAIN), remember=False)
    assert code_of(session.GetHostByName, NAME) == failure(WSATRY_AGAIN)
    ruled.clock.advance(20.0)
    assert [(each.resultcode, each.reason, each.connection_time) for each in ruled.records] == [
        (failure(WSATRY_AGAIN), "not found", 1500),
        (failure(WSATRY_AGAIN), "not answered in time", 20000),
    ]


def test_the_quota_is_logged(ruled: Rig) -> None:
    session = ruled.session()
    for number in range(MOST_LOOK_UPS):
        assert code_of(session.GetHostByName, f"host{number}.example") == failure(WSATRY_AGAIN)
    assert code_of(session.GetHostByName, NAME) == FWX_E_DNS_QUOTA_EXCEEDED
    (record,) = ruled.records
    assert (record.action, record.resultcode) == (Action.GHBN, FWX_E_DNS_QUOTA_EXCEEDED)
    assert record.reason == "16 look-ups are pending"


def test_a_rule_that_does_not_log(ruled: Rig) -> None:
    ruled.names.answers["quiet.example"] = Answer(HOST)
    assert ruled.session().GetHostByName("quiet.example") == HOST
    assert ruled.records == []


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_after_the_end(rig: Rig, owner: Any) -> None:
    """Who waits is told; nothing is looked up any more, not even a number."""
    told: Told = []
    names = IHostNames(owner)
    names.look_up(NAME, teller(told))
    assert code_of(owner.GetHostByAddr, FOUR.packed, None, AF_INET) == failure(WSATRY_AGAIN)
    end = rig.firewall.close_sockets if owner is rig.firewall else owner.terminate
    end()
    assert rig.names.cancelled == 2
    assert owner.names.pending == 0
    rig.settle()
    assert told == [(None, FWX_E_TERMINATING)]
    for name in (NAME, "192.0.2.1"):
        assert code_of(owner.GetHostByName, name) == FWX_E_TERMINATING
        assert code_of(names.look_up, name, teller(told)) == FWX_E_TERMINATING
    assert code_of(owner.GetHostByAddr, FOUR.packed, None, AF_INET) == FWX_E_TERMINATING
    for _, done in rig.names.looking_up:
        done(Answer(HOST))
    rig.settle()
    assert len(told) == 1


# ---- who does not want to ask again ----------------------------------------------------------------------------------


def test_who_waits_is_told_once_on_the_loop_thread_and_never_inside_the_call(rig: Rig, owner: Any) -> None:
    told: Told = []
    names = IHostNames(owner)
    assert IHostNames(owner) is names
    assert sdk.IHostNames is IHostNames
    rig.names.answers[FOUR] = Answer(HOST_OF[FOUR])
    for ask, question in ((names.look_up, "192.0.2.1"), (names.look_up_address, FOUR), (names.look_up, NAME)):
        ask(question, teller(told))
        assert told == []
    rig.settle()
    assert told == [(Hostent("192.0.2.1", (), (FOUR,)), S_OK), (HOST_OF[FOUR], S_OK)]
    rig.names.answer(Answer(HOST))
    rig.settle()
    assert told[2:] == [(HOST, S_OK)]
    assert len(rig.records) == (0 if owner is rig.firewall else 3)
    names.look_up("none.example", teller(told))
    rig.names.answer(Answer(None, WSAHOST_NOT_FOUND))
    rig.settle()
    assert told[3:] == [(None, failure(WSAHOST_NOT_FOUND))]


def test_it_is_no_com_interface(owner: Any) -> None:
    assert code_of(owner.QueryInterface, IHostNames) == E_NOINTERFACE


@pytest.mark.parametrize("when", ["pending", "answered"])
def test_cancelled(rig: Rig, owner: Any, when: str) -> None:
    told: Told = []
    cancel = IHostNames(owner).look_up(NAME, teller(told))
    if when == "answered":
        rig.names.answer(Answer(HOST))
    cancel()
    cancel()
    rig.settle()
    assert told == []
    assert owner.names.pending == 0
    assert rig.names.cancelled == (when == "pending")


def test_a_callback_that_fails_is_reported(rig: Rig, owner: Any) -> None:
    def fail(host: Hostent | None, result: HRESULT) -> None:
        raise KeyError("in the callback")

    IHostNames(owner).look_up("192.0.2.1", fail)
    rig.settle()
    assert [alert.event for alert in rig.alerts] == ["Filter fault"]
    assert "in the callback" in rig.alerts[0].message


# ---- other threads ---------------------------------------------------------------------------------------------------


class Call(threading.Thread):
    """A call on a thread that is not the loop's."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        super().__init__(daemon=True)
        self._work = function, args
        self.result: Any = None
        self.start()

    def run(self) -> None:
        function, args = self._work
        try:
            self.result = function(*args)
        except COMError as error:
            self.result = error.hresult


def test_another_thread_waits_for_the_answer(rig: Rig, owner: Any) -> None:
    """B5.14: name resolution blocks there, and the loop goes on."""
    call = Call(owner.GetHostByName, NAME)
    rig.until(lambda: rig.names.looking_up)
    rig.settle()
    assert call.is_alive()
    rig.names.answer(Answer(HOST))
    rig.until(lambda: not call.is_alive())
    assert call.result == HOST
    call = Call(owner.GetHostByAddr, FOUR.packed, None, AF_INET)
    rig.until(lambda: rig.names.looking_up)
    rig.names.answer(Answer(None, WSANO_DATA))
    rig.until(lambda: not call.is_alive())
    assert call.result == failure(WSANO_DATA)


@pytest.mark.parametrize(
    ("name", "result"),
    [("192.0.2.1", Hostent("192.0.2.1", (), (FOUR,))), ("a..b", failure(WSAHOST_NOT_FOUND)), (None, E_POINTER)],
)
def test_another_thread_gets_what_needs_no_look_up(rig: Rig, owner: Any, name: Any, result: Any) -> None:
    call = Call(owner.GetHostByName, name)
    rig.until(lambda: not call.is_alive())
    assert call.result == result


def test_another_thread_is_denied_too(ruled: Rig) -> None:
    call = Call(ruled.session().GetHostByName, "evil.example")
    ruled.until(lambda: not call.is_alive())
    assert call.result == failure(WSAHOST_NOT_FOUND)
    assert [each.rule for each in ruled.records] == ["no evil"]


@pytest.mark.parametrize(("end", "result"), [("deadline", failure(WSATRY_AGAIN)), ("owner", FWX_E_TERMINATING)])
def test_another_thread_does_not_wait_for_ever(rig: Rig, owner: Any, end: str, result: int) -> None:
    call = Call(owner.GetHostByName, NAME)
    rig.until(lambda: rig.names.looking_up)
    if end == "deadline":
        rig.clock.advance(20.0)
    else:
        owner.names.close()
    rig.until(lambda: not call.is_alive())
    assert call.result == result
    assert rig.names.cancelled == 1


def test_another_thread_does_not_wait_for_a_loop_that_stands_still(
    rig: Rig, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up that it asked for is not begun afterwards."""
    monkeypatch.setattr("fwx.impl.hostnames._GRACE_SECONDS", 0.0)
    monkeypatch.setattr(rig.engine.connect_deadlines, "seconds", 0.01)
    call = Call(owner.GetHostByName, NAME)
    call.join(10)
    assert call.result == failure(WSATRY_AGAIN)
    rig.settle()
    assert owner.names.pending == 0
    assert rig.names.looking_up == []


def test_look_up_from_another_thread(rig: Rig, owner: Any) -> None:
    told: list[int] = []
    names = IHostNames(owner)
    call = Call(names.look_up, NAME, lambda host, result: told.append(threading.get_ident()))
    rig.until(lambda: rig.names.looking_up)
    rig.names.answer(Answer(HOST))
    rig.until(lambda: told)
    assert told == [threading.get_ident()]
    call.join(10)
    dropped = Call(names.look_up, NAME, print)
    dropped.join(10)
    assert not rig.names.looking_up
    Call(dropped.result).join(10)
    rig.settle()
    assert owner.names.pending == 0


# ---- the COM face ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interface", [IFWXFirewall, IFWXSession])
def test_the_com_face(rig: Rig, interface: Any) -> None:
    """The size that is needed comes back; then the answer, of one family."""
    face = raw(rig.firewall if interface is IFWXFirewall else rig.session(), interface)
    buffer: Ref[Hostent] = Ref()
    room = Ref(10)
    assert face.GetHostByName(NAME, buffer, room) == failure(WSATRY_AGAIN)
    assert (buffer.value, room.value) == (None, 10)
    rig.names.answer(Answer(HOST))
    assert face.GetHostByName(NAME, buffer, room) == failure(ERROR_INSUFFICIENT_BUFFER)
    assert room.value == 32 + 8 * (2 + 2) + len("web.example\0www.example\0") + 4
    assert face.GetHostByName(NAME, buffer, room) == S_OK
    assert buffer.value == Hostent("web.example", (NAME,), (FOUR,))
    rig.names.answers[SIX] = Answer(HOST_OF[SIX])
    room.value = 1024
    assert face.GetHostByAddr(SIX.packed, 16, AF_INET6, buffer, room) == S_OK
    assert buffer.value == HOST_OF[SIX]
    assert room.value == 32 + 8 * (1 + 2) + len("web.example\0") + 16
    assert face.GetHostByName(None, buffer, room) == E_POINTER
    assert face.GetHostByName("", buffer, room) == failure(WSAHOST_NOT_FOUND)
    assert face.GetHostByAddr(None, 4, AF_INET, buffer, room) == E_POINTER
    assert face.GetHostByAddr(FOUR.packed, 5, AF_INET, buffer, room) == E_INVALIDARG
