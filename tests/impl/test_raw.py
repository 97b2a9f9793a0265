"""The COM face: generated from the declarations, takes every parameter, fills cells, never raises."""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

import pytest
from zope.interface import implementer

from fwx.impl.raw import Ref, raw
from fwx.interfaces import (
    E_ABORT,
    E_FAIL,
    E_INVALIDARG,
    E_NOINTERFACE,
    E_NOTIMPL,
    E_OUTOFMEMORY,
    E_POINTER,
    E_UNEXPECTED,
    ERROR_INSUFFICIENT_BUFFER,
    FWX_E_BUFFERFULL,
    GUID_NULL,
    HRESULT,
    HRESULT_FROM_WIN32,
    S_FALSE,
    S_OK,
    WSAEFAULT,
    COMError,
    COMInterfaceClass,
    FwxDataFilterPriorityClass,
    FwxFilterHookEvents,
    Hostent,
    IFWXAuthenticatedUser,
    IFWXConnection,
    IFWXDataFilter,
    IFWXFilter,
    IFWXFirewall,
    IFWXFirewall2,
    IFWXIOBuffer,
    IFWXIpFilter,
    IFWXNetworkElement,
    IFWXNetworkSocket,
    IFWXReservedPorts,
    IFWXSession,
    IFWXSocket,
    IFWXTaskCompletion,
    IUnknown,
    ParameterInfo,
    Passing,
    SocketAddress,
    com_interfaces,
    iid,
    methods,
)

V4 = SocketAddress("192.0.2.1", 80)
V6 = SocketAddress("2001:db8::1", 80)


class Script:
    """Provides any interface; every method records its arguments and plays what the test has set."""

    def __init__(self, **played: Any) -> None:
        self.played = played
        self.calls: list[tuple[Any, ...]] = []
        self.count = 1

    def AddRef(self) -> int:
        self.count += 1
        return self.count

    def Release(self) -> int:
        self.count -= 1
        return self.count

    def __getattr__(self, name: str) -> Any:
        played = self.__dict__.get("played", {})
        if name not in played:
            raise AttributeError(name=name, obj=self)
        action = played[name]

        def method(*arguments: Any) -> Any:
            self.calls.append(arguments)
            if isinstance(action, BaseException):
                raise action
            return action(*arguments) if callable(action) else action

        return method


@implementer(IFWXSocket, IFWXFirewall2, IFWXSession, IFWXConnection, IFWXFilter, IFWXDataFilter, IFWXTaskCompletion)
class Anything(Script):
    pass


@implementer(IFWXNetworkSocket, IFWXIOBuffer, IFWXIpFilter, IFWXNetworkElement, IFWXReservedPorts)
class AnythingElse(Script):
    pass


@implementer(IUnknown)
class Nothing:
    """Provides IUnknown and has none of its methods."""


def test_every_interface_has_a_face_with_every_method_in_order() -> None:
    for interface in com_interfaces():

        @implementer(interface)
        class Provider:
            pass

        face = raw(Provider(), interface)
        made = [name for each in reversed(type(face).__mro__) for name in vars(each) if not name.startswith("__")]
        expected = [each.raw_name for each in methods(interface)]
        assert [name for name in made if name != "_object"] == expected


def test_every_method_of_an_empty_provider_is_not_implemented() -> None:
    for interface in com_interfaces():

        @implementer(interface)
        class Provider:
            pass

        face = raw(Provider(), interface)
        for method in methods(interface):
            arguments = [sample(each) for each in method.parameters]
            expected = 0 if method.returns == "ULONG" else E_NOTIMPL
            assert getattr(face, method.raw_name)(*arguments) == expected, method.raw_name
            assert getattr(face, method.raw_name)(*arguments, 1) == (0 if expected == 0 else E_INVALIDARG)


def sample(parameter: ParameterInfo) -> object:
    """Return a value that passes for *parameter*."""
    by_type: dict[object, object] = {
        str: "text",
        UUID: GUID_NULL,
        SocketAddress: V4,
        FwxFilterHookEvents: FwxFilterHookEvents(),
        object: 0,
    }
    by_idl: dict[str, object] = {
        "LPSOCKADDR[]": (V4,),
        "GUID[]": (GUID_NULL,),
        "FwxSslSocketSide": 1,
        "FwxFirewallEventType": 1,
    }
    if parameter.passing is Passing.BOTH:
        return Ref(V4)
    if parameter.passing in (Passing.RESULT, Passing.RESULT_LENGTH):
        return Ref(0)
    if parameter.idl in by_idl:
        return by_idl[parameter.idl]
    if isinstance(parameter.type, COMInterfaceClass):
        return None
    return by_type.get(parameter.type, b"" if parameter.idl.endswith("*") else 0)


def test_the_face_is_generated_once_for_an_interface() -> None:
    assert type(raw(Anything(), IFWXSocket)) is type(raw(Anything(), IFWXSocket))


def test_an_interface_that_the_object_lacks() -> None:
    with pytest.raises(COMError) as caught:
        raw(Nothing(), IFWXSocket)
    assert caught.value.hresult == E_NOINTERFACE


def test_arguments_pass_in_order_and_none_means_s_ok() -> None:
    socket = Anything(Send=None)
    assert raw(socket, IFWXSocket).Send("buffer", "completion", 7) == S_OK
    assert socket.calls == [("buffer", "completion", 7)]


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_wrong_number_of_arguments(count: int) -> None:
    socket = Anything(Send=None)
    assert raw(socket, IFWXSocket).Send(*[None] * count) == E_INVALIDARG
    assert socket.calls == []


@pytest.mark.parametrize(
    ("failure", "hresult"),
    [
        (COMError(E_ABORT), E_ABORT),
        (NotImplementedError(), E_NOTIMPL),
        (MemoryError(), E_OUTOFMEMORY),
        (S_FALSE, S_FALSE),
        (E_FAIL, E_FAIL),
        (int(E_FAIL), E_FAIL),
        (0, S_OK),
    ],
)
def test_results_and_exceptions_become_hresults(failure: Any, hresult: HRESULT) -> None:
    assert raw(Anything(CompleteTask=failure), IFWXTaskCompletion).CompleteTask(0) == hresult


@pytest.mark.parametrize("result", [ValueError("no"), TypeError("no"), AttributeError("no"), "text", True, 2**40])
def test_a_bug_is_logged_with_its_traceback(result: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert raw(Anything(CompleteTask=result), IFWXTaskCompletion).CompleteTask(0) == E_UNEXPECTED
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("call", "hresult"),
    [
        (lambda face: face.UpdateServiceStatus(0), S_OK),
        (lambda face: face.UpdateServiceStatus(2**32 - 1), S_OK),
        (lambda face: face.UpdateServiceStatus(2**32), E_INVALIDARG),
        (lambda face: face.UpdateServiceStatus(-1), E_INVALIDARG),
        (lambda face: face.UpdateServiceStatus("1"), E_INVALIDARG),
        (lambda face: face.UpdateServiceStatus(1.0), E_INVALIDARG),
        (lambda face: face.UpdateServiceStatus(None), E_INVALIDARG),
        (lambda face: face.PostTaskCompletion(None, 2**64 - 1), S_OK),
        (lambda face: face.PostTaskCompletion(None, 2**64), E_INVALIDARG),
        (lambda face: face.PostTaskCompletion(None, -1), E_INVALIDARG),
        (lambda face: face.PostTaskCompletion(None, object()), E_INVALIDARG),
        (lambda face: face.PostTaskCompletion(None, None), E_INVALIDARG),
    ],
)
def test_numbers_outside_their_type(call: Callable[[Any], HRESULT], hresult: HRESULT) -> None:
    assert call(raw(Anything(UpdateServiceStatus=None, PostTaskCompletion=None), IFWXFirewall2)) == hresult


def test_bool_and_enumerations_arrive_as_such() -> None:
    connection = Anything(AttachDataFilter=None, Close=None)
    assert raw(connection, IFWXConnection).AttachDataFilter("filter", 3, None) == S_OK
    assert raw(connection, IFWXSocket).Close(1) == S_OK
    assert connection.calls == [("filter", FwxDataFilterPriorityClass.fwx_dfpc_Middle, None), (True,)]
    assert type(connection.calls[0][1]) is FwxDataFilterPriorityClass
    assert raw(connection, IFWXConnection).AttachDataFilter("filter", 7, None) == E_INVALIDARG


@pytest.mark.parametrize(
    ("address", "length", "hresult"),
    [
        (V4, 16, S_OK),
        (V4, 17, E_INVALIDARG),
        (V6, 28, S_OK),
        (V4, None, E_INVALIDARG),
        (None, 0, E_POINTER),
        ("192.0.2.1", 9, E_INVALIDARG),
    ],
)
def test_an_address_and_its_length(address: object, length: object, hresult: HRESULT) -> None:
    assert raw(AnythingElse(Connect=None), IFWXNetworkSocket).Connect(address, length) == hresult


def test_null_is_passed_where_it_is_legal() -> None:
    session = Anything(AllowFutureConnect=lambda *_: Anything())
    arguments = (V4, 16, None, 0, 6, 0, GUID_NULL, None, None, None)
    assert raw(session, IFWXSession).AllowFutureConnect(*arguments, Ref()) == S_OK
    assert session.calls == [arguments]


@pytest.mark.parametrize(
    ("room", "hresult", "stored", "left"),
    [(16, S_OK, V4, 16), (128, S_OK, V4, 16), (15, HRESULT_FROM_WIN32(WSAEFAULT), None, 16)],
)
def test_an_address_that_comes_out(room: int, hresult: HRESULT, stored: object, left: int) -> None:
    address: Ref[SocketAddress] = Ref()
    length = Ref(room)
    assert raw(AnythingElse(GetSockName=V4), IFWXNetworkSocket).GetSockName(address, length) == hresult
    assert (address.value, length.value) == (stored, left)


@pytest.mark.parametrize(
    ("address", "length", "hresult"),
    [(None, Ref(16), E_POINTER), (Ref(), None, E_POINTER), (Ref(), Ref(), E_INVALIDARG), (Ref(), 16, E_INVALIDARG)],
)
def test_a_cell_that_is_missing(address: object, length: object, hresult: HRESULT) -> None:
    socket = AnythingElse(GetSockName=V4)
    assert raw(socket, IFWXNetworkSocket).GetSockName(address, length) == hresult
    assert socket.calls == []


def test_bytes_with_their_count() -> None:
    buffer = AnythingElse(ReadAt=b"data", GetBufferAndSize=memoryview(b"abc"))
    data: Ref[bytes] = Ref()
    count: Ref[int] = Ref()
    face = raw(buffer, IFWXIOBuffer)
    assert face.ReadAt(2, data, 10, count) == S_OK
    assert (buffer.calls, data.value, count.value) == ([(2, 10)], b"data", 4)
    assert face.ReadAt(2, data, 10, None) == S_OK
    assert face.ReadAt(2, None, 10, count) == E_POINTER
    view: Ref[memoryview] = Ref()
    assert face.GetBufferAndSize(view, count) == S_OK
    assert (view.value, count.value) == (b"abc", 3)


def test_an_option_that_comes_out() -> None:
    face = raw(AnythingElse(GetSockOpt=b"\1\0\0\0"), IFWXNetworkSocket)
    value: Ref[bytes] = Ref()
    length = Ref(2)
    assert face.GetSockOpt(1, 2, value, length) == HRESULT_FROM_WIN32(WSAEFAULT)
    assert (value.value, length.value) == (None, 4)
    assert face.GetSockOpt(1, 2, value, length) == S_OK
    assert value.value == b"\1\0\0\0"


def test_a_length_beyond_the_bytes() -> None:
    face = raw(AnythingElse(Append=3, SetSockOpt=None), IFWXIOBuffer)
    written: Ref[int] = Ref()
    assert face.Append(b"abc", 4, written) == E_INVALIDARG
    assert face.Append(b"abc", 3, written) == S_OK
    assert face.Append(None, 0, written) == E_POINTER
    assert written.value == 3


@pytest.mark.parametrize(("method", "arguments"), [("Append", (b"abcdef", 6)), ("SendToBuffer", ("destination", 0, 6))])
def test_outs_of_a_failed_method_are_stored(method: str, arguments: tuple[Any, ...]) -> None:
    done: Ref[int] = Ref()
    buffer = AnythingElse(**{method: COMError(FWX_E_BUFFERFULL, outs=(4,))})
    assert getattr(raw(buffer, IFWXIOBuffer), method)(*arguments, done) == FWX_E_BUFFERFULL
    assert done.value == 4


def test_outs_that_do_not_fit_the_declaration(caplog: pytest.LogCaptureFixture) -> None:
    socket = AnythingElse(GetSockName=COMError(E_FAIL, outs=(object(),)))
    assert raw(socket, IFWXNetworkSocket).GetSockName(Ref(), Ref(16)) == E_UNEXPECTED
    assert "TypeError" in caplog.text


def test_two_outs() -> None:
    allocated: Ref[int] = Ref()
    actual: Ref[int] = Ref()
    assert raw(AnythingElse(GetBufferSizes=(8, 3)), IFWXIOBuffer).GetBufferSizes(allocated, actual) == S_OK
    assert (allocated.value, actual.value) == (8, 3)


@pytest.mark.parametrize("result", [5, (5,), (1, 2, 3), None])
def test_too_few_or_too_many_outs(result: object, caplog: pytest.LogCaptureFixture) -> None:
    assert raw(AnythingElse(GetBufferSizes=result), IFWXIOBuffer).GetBufferSizes(Ref(), Ref()) == E_UNEXPECTED
    assert "expected a tuple of 2 outs" in caplog.text


def test_an_out_that_looks_like_a_failure_is_an_out() -> None:
    flags: Ref[int] = Ref()
    assert raw(Anything(GetConnectionFlags=0x8000_0000), IFWXConnection).GetConnectionFlags(flags) == S_OK
    assert flags.value == 0x8000_0000


def test_an_interface_that_comes_out_carries_a_reference() -> None:
    made = AnythingElse()
    cell: Ref[object] = Ref()
    assert raw(Anything(CreateNetworkSocket=made), IFWXFirewall).CreateNetworkSocket(6, cell) == S_OK
    assert (cell.value, made.count) == (made, 2)


@pytest.mark.parametrize("failure", [COMError(E_FAIL), MemoryError(), E_FAIL])
def test_an_interface_is_null_after_a_failure(failure: Any) -> None:
    cell: Ref[object] = Ref("rubbish")
    face = raw(Anything(CreateNetworkSocket=failure), IFWXFirewall)
    assert face.CreateNetworkSocket(6, cell) in (E_FAIL, E_OUTOFMEMORY)
    assert cell.value is None


def test_an_interface_that_may_be_null() -> None:
    cell: Ref[object] = Ref("rubbish")
    assert raw(Anything(GetIpFilter=lambda: None), IFWXConnection).GetIpFilter(cell) == S_OK
    assert cell.value is None


def test_an_out_that_was_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    assert raw(Anything(GetSession=None), IFWXConnection).GetSession(Ref()) == E_UNEXPECTED
    assert "expected ppSession, got None" in caplog.text


def test_an_out_pointer_that_may_be_null() -> None:
    face = raw(Anything(EmulateConnection=Anything(), GetSession=Anything()), IFWXConnection)
    assert face.EmulateConnection("filter", V4, 16, V4, 16, None) == S_OK
    assert face.GetSession(None) == E_POINTER


def test_an_array_of_interfaces() -> None:
    made = (Anything(), Anything())
    address = Ref(V4)
    cell: Ref[tuple[object, ...]] = Ref()
    session = Anything(BindForClient=(V6, made))
    arguments = ((V4, V4), 16, address, 16, 6, 2, 0, 5, GUID_NULL, None, None, None)
    assert raw(session, IFWXSession).BindForClient(*arguments, cell) == S_OK
    assert session.calls == [((V4, V4), 16, V4, 16, 6, 2, 0, 5, GUID_NULL, None, None, None)]
    assert (address.value, cell.value, [each.count for each in made]) == (V6, made, [2, 2])


@pytest.mark.parametrize(("size", "number"), [(17, 2), (16, 3)])
def test_lengths_of_an_array(size: int, number: int) -> None:
    arguments = ((V4, V4), size, Ref(V4), 16, 6, number, 0, 5, GUID_NULL, None, None, None, Ref())
    assert raw(Anything(BindForClient=None), IFWXSession).BindForClient(*arguments) == E_INVALIDARG


def test_an_out_before_an_in() -> None:
    session = Anything(EmulateClientBind=Anything())
    cell: Ref[object] = Ref()
    assert raw(session, IFWXSession).EmulateClientBind(V4, 16, V4, 16, 6, GUID_NULL, cell, True) == S_OK
    assert session.calls == [(V4, 16, V4, 16, 6, GUID_NULL, True)]


def test_a_structure_comes_out_into_the_callers_own() -> None:
    mine = FwxFilterHookEvents(dwGlobalEvents=1)
    face = raw(Anything(FilterInit=FwxFilterHookEvents(dwGlobalEvents=9)), IFWXFilter)
    assert face.FilterInit(Anything(), Ref(mine)) == S_OK
    assert mine.dwGlobalEvents == 9
    empty: Ref[FwxFilterHookEvents] = Ref()
    assert face.FilterInit(Anything(), empty) == S_OK
    assert empty.value == FwxFilterHookEvents(dwGlobalEvents=9)


def test_an_in_out_structure_is_filled_in_place() -> None:
    def attach(_: object, events: FwxFilterHookEvents) -> Anything:
        events.dwGlobalEvents = 4
        return Anything()

    hook = FwxFilterHookEvents(dwGlobalEvents=1)
    assert raw(Anything(AttachToSession=attach), IFWXFilter).AttachToSession("session", Ref(), hook) == S_OK
    assert hook.dwGlobalEvents == 4
    assert raw(Anything(AttachToSession=attach), IFWXFilter).AttachToSession("session", Ref(), None) == E_POINTER


def test_a_success_code_with_an_out() -> None:
    cell: Ref[int] = Ref()
    assert raw(AnythingElse(GetCount=(S_FALSE, 3)), IFWXReservedPorts).GetCount(cell) == S_FALSE
    assert cell.value == 3


def test_a_look_up() -> None:
    found = Hostent("www.example.org", ("alias",), (IPv4Address("192.0.2.1"),))
    needed = 32 + 8 * 4 + len("www.example.org") + 1 + len("alias") + 1 + 4
    buffer: Ref[Hostent] = Ref()
    room = Ref(needed - 1)
    face = raw(Anything(GetHostByName=found, GetHostByAddr=found), IFWXFirewall)
    assert face.GetHostByName("www.example.org", buffer, room) == HRESULT_FROM_WIN32(ERROR_INSUFFICIENT_BUFFER)
    assert (buffer.value, room.value) == (None, needed)
    assert face.GetHostByName("www.example.org", buffer, room) == S_OK
    assert buffer.value == found
    assert face.GetHostByAddr(b"\xc0\0\2\1", 5, 2, buffer, room) == E_INVALIDARG
    assert face.GetHostByAddr(b"\xc0\0\2\1", 4, 2, buffer, room) == S_OK


FOUR, FOUR_2 = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
SIX, SIX_2 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")


@pytest.mark.parametrize(
    ("addresses", "left", "size"),
    [
        ((FOUR, FOUR_2), (FOUR, FOUR_2), 8),
        ((SIX, SIX_2), (SIX, SIX_2), 32),
        ((SIX, FOUR, SIX_2, FOUR_2), (FOUR, FOUR_2), 8),
        ((), (), 0),
    ],
)
def test_a_hostent_has_one_family(addresses: tuple[Any, ...], left: tuple[Any, ...], size: int) -> None:
    """Its addresses have one length; code that looks at none expects IPv4."""
    found = Hostent("h", (), addresses)
    needed = 32 + 8 * (1 + len(left) + 1) + len("h") + 1 + size
    buffer: Ref[Hostent] = Ref()
    room = Ref(needed - 1)
    face = raw(Anything(GetHostByName=found), IFWXFirewall)
    assert face.GetHostByName("h", buffer, room) == HRESULT_FROM_WIN32(ERROR_INSUFFICIENT_BUFFER)
    assert (buffer.value, room.value) == (None, needed)
    assert face.GetHostByName("h", buffer, room) == S_OK
    assert buffer.value == Hostent("h", (), left)
    assert found.addresses == addresses


@pytest.mark.parametrize(
    ("host_name", "length", "hresult"),
    [("a", 1, S_OK), ("a", 2, E_INVALIDARG), (None, 0, S_OK), (b"a", 1, E_INVALIDARG)],
)
def test_a_text_and_its_length(host_name: object, length: int, hresult: HRESULT) -> None:
    face = raw(Anything(CreateSSLNetworkSocket=AnythingElse()), IFWXFirewall2)
    assert face.CreateSSLNetworkSocket(0, host_name, length, None, None, 1, GUID_NULL, 0, 0, 0, None, Ref()) == hresult


@implementer(IFWXAuthenticatedUser)
class User:
    Username = "anna"

    @property
    def Namespace(self) -> str:
        return self.missing  # type: ignore[attr-defined,no-any-return]

    @property
    def UserGroups(self) -> str:
        raise COMError(E_NOTIMPL)


def test_properties(caplog: pytest.LogCaptureFixture) -> None:
    face = raw(User(), IFWXAuthenticatedUser)
    cell: Ref[str] = Ref()
    assert face.get_Username(cell) == S_OK
    assert cell.value == "anna"
    assert face.get_UserGroups(cell) == E_NOTIMPL
    assert face.get_Namespace(cell) == E_UNEXPECTED
    assert "missing" in caplog.text
    assert face.get_Username(None) == E_POINTER


def test_query_interface() -> None:
    target = Anything(QueryInterface=lambda riid: target)
    cell: Ref[object] = Ref()
    face = raw(target, IUnknown)
    assert face.QueryInterface(iid(IFWXSocket), cell) == S_OK
    assert (cell.value, target.count, target.calls) == (target, 2, [(UUID("0CF075B5-A8F6-11D0-A7F1-0000F8750B21"),)])
    assert face.QueryInterface(iid(IFWXSocket), None) == E_POINTER
    target.played["QueryInterface"] = COMError(E_NOINTERFACE)
    assert face.QueryInterface(iid(IFWXIpFilter), cell) == E_NOINTERFACE
    assert cell.value is None


def test_counts(caplog: pytest.LogCaptureFixture) -> None:
    target = Anything()
    face = raw(target, IFWXSocket)
    assert (face.AddRef(), face.AddRef(), face.Release()) == (2, 3, 2)
    assert type(face.AddRef()) is int
    assert raw(Nothing(), IUnknown).AddRef() == 0


def test_a_cell_shows_its_value() -> None:
    assert repr(Ref(5)) == "Ref(5)"
