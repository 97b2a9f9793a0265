"""QueryInterface obeys the laws of COM on every object of the service, tear-offs of plugins included."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface import Interface

from fwx import sdk
from fwx.impl.raw import Ref, raw
from fwx.interfaces import (
    E_NOINTERFACE,
    E_POINTER,
    FWX_PROTOCOL_TCP,
    HRESULT,
    S_OK,
    COMError,
    COMInterfaceClass,
    IFWXConnection,
    IFWXDataFilter,
    IFWXFilter,
    IFWXFirewall,
    IFWXFirewall2,
    IFWXIOBuffer,
    IFWXIOCompletion,
    IFWXNetworkSocket,
    IFWXReservedPorts,
    IFWXSession,
    IFWXSessionFilter,
    IFWXSocket,
    IUnknown,
    com_interfaces,
    interface_of,
    query_iid,
)
from fwx.testing import AttachingFilter, MemoryFirewall

PLUGIN = """
from uuid import UUID

from zope.interface import implementer, taggedValue

from fwx import sdk


class INotes(sdk.IUnknown):
    taggedValue("iid", UUID("5b1f6a0e-3c53-4f38-a7a5-6c2f6f0b7d01"))

    def Note(text: str) -> None: ...


@implementer(INotes)
class Notes(sdk.TearOff):
    def __init__(self, owner):
        super().__init__(owner)
        self.texts = []

    def Note(self, text):
        self.texts.append(text)


@implementer(sdk.IFWXReservedPorts)
class Ports(sdk.TearOff):
    def GetFirstPort(self):
        return 7000

    def GetCount(self):
        return 1

    def GetTransportProtocol(self):
        return 6


def register(registry):
    registry.register_adapter(Notes, (sdk.IFWXFirewall,), INotes)
    registry.register_adapter(Notes, (sdk.IFWXSession,), INotes)
    registry.register_adapter(Ports, (sdk.IFWXFirewall,), sdk.IFWXReservedPorts)
"""
METADATA = "Metadata-Version: 2.1\nName: fwx-probe-notes\nVersion: 1.0\n"

Form = Callable[[COMInterfaceClass], object]
FORMS: tuple[Form, ...] = (
    lambda interface: interface,
    query_iid,
    lambda interface: str(query_iid(interface)),
    lambda interface: "{" + str(query_iid(interface)).upper() + "}",
)
# What is asked for by its IID too; the interfaces of other SDKs that are declared without one are left out.
INTERFACES = tuple(each for each in com_interfaces() if query_iid(each) is not None)
NAMES = (
    "firewall",
    "session",
    "connection",
    "internal socket",
    "external socket",
    "firewall's socket",
    "session's socket",
    "buffer",
    "window buffer",
    "filter",
    "session filter",
    "data filter",
)
OWN: dict[str, COMInterfaceClass] = {
    "firewall": IFWXFirewall2,
    "session": IFWXSession,
    "connection": IFWXConnection,
    "internal socket": IFWXSocket,
    "external socket": IFWXSocket,
    "firewall's socket": IFWXNetworkSocket,
    "session's socket": IFWXNetworkSocket,
    "buffer": IFWXIOBuffer,
    "window buffer": IFWXIOBuffer,
    "filter": IFWXFilter,
    "session filter": IFWXSessionFilter,
    "data filter": IFWXDataFilter,
}


class Watched(sdk.DataPump):
    sockets: tuple[Any, Any]

    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> None:
        # The service's own sockets, which the observer of the memory firewall stands in front of.
        self.sockets = piInternalSocket._socket, pIExternalSocket._socket
        super().SetSockets(piInternalSocket, pIExternalSocket, piConnection, punkFilterContext)


def objects_of(firewall: MemoryFirewall) -> dict[str, Any]:
    """Return one object of every kind that the service and a filter hand to each other."""
    made: dict[str, Any] = {"data filter": Watched()}
    made["filter"] = AttachingFilter(lambda: made["data filter"])
    firewall.start(lambda: made["filter"])
    made["firewall"] = firewall.firewall
    made["session"] = firewall.session()
    made["connection"] = firewall.open().connection
    made["internal socket"], made["external socket"] = made["data filter"].sockets
    made["firewall's socket"] = made["firewall"].CreateNetworkSocket(FWX_PROTOCOL_TCP)
    made["session's socket"] = made["session"].CreateNetworkSocket(FWX_PROTOCOL_TCP)
    made["buffer"] = made["firewall"].CreateConstBuffer(b"abc")
    made["window buffer"] = made["firewall"].CreateWindowBuffer(made["buffer"], 1, 1)
    made["session filter"] = made["filter"].AttachToSession(made["session"], None)
    assert sorted(made) == sorted(NAMES)
    return made


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A distribution of somebody else's that is installed beside fwx; yields its module."""
    folder: Path = tmp_path_factory.mktemp("site")
    (folder / "fwx_probe_notes.py").write_text(PLUGIN)
    info = folder / "fwx_probe_notes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text("[fwx.components]\nnotes = fwx_probe_notes:register\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.syspath_prepend(folder)
        import fwx_probe_notes  # type: ignore[import-not-found]

        yield fwx_probe_notes
    sys.modules.pop("fwx_probe_notes", None)


@pytest.fixture(scope="module", params=["the service alone", "with a plugin"])
def objects(request: pytest.FixtureRequest, plugin: Any) -> Iterator[dict[str, Any]]:
    firewall = MemoryFirewall(plugins=request.param == "with a plugin")
    yield objects_of(firewall)
    firewall.close()
    assert not firewall.faults


def ask(target: Any, riid: object) -> Any:
    """Return the face, or the HRESULT of the refusal; nothing else may come out."""
    try:
        return target.QueryInterface(riid)
    except COMError as error:
        return error.hresult


@pytest.mark.parametrize("name", NAMES)
def test_every_object_has_its_interface_and_those_above(name: str, objects: dict[str, Any]) -> None:
    target, own = objects[name], OWN[name]
    for interface in own.__iro__:
        if isinstance(interface, COMInterfaceClass):
            for form in FORMS:
                assert ask(target, form(interface)) is target


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    steps=st.lists(st.tuples(st.sampled_from(INTERFACES), st.sampled_from(FORMS)), min_size=1, max_size=12),
)
def test_the_laws_hold_on_every_walk(
    objects: dict[str, Any], name: str, steps: list[tuple[COMInterfaceClass, Form]]
) -> None:
    """Walk from face to face in any order, in any form of asking."""
    start = objects[name]
    identity = start.QueryInterface(IUnknown)
    face, came_by = start, OWN[name]
    for interface, form in steps:
        answer = ask(face, form(interface))
        assert_same(answer, ask(start, interface), "stable and transitive: any face gives what the first gives")
        assert_same(answer, ask(face, interface), "stable: the same again, however it is asked")
        if isinstance(answer, HRESULT):
            assert answer == E_NOINTERFACE
            continue
        assert interface.providedBy(answer)
        assert answer.QueryInterface(IUnknown) is identity, "identity: one object"
        assert answer.QueryInterface(interface) is answer, "reflexive: a face finds itself"
        assert answer.QueryInterface(came_by) is face, "symmetric: the way back"
        face, came_by = answer, interface


def assert_same(left: Any, right: Any, law: str) -> None:
    assert left == right if isinstance(left, HRESULT) else left is right, law


@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_is_for_ever(name: str, objects: dict[str, Any]) -> None:
    target = objects[name]
    lacking = [interface for interface in INTERFACES if isinstance(ask(target, interface), HRESULT)]
    assert len(lacking) > len(INTERFACES) // 2
    for interface in lacking:
        for form in FORMS:
            assert ask(target, form(interface)) == E_NOINTERFACE
        assert interface(target, None) is None


def test_a_data_filters_socket_is_no_network_socket(objects: dict[str, Any]) -> None:
    """B3.4, B4.1."""
    for name in ("internal socket", "external socket"):
        assert ask(objects[name], IFWXNetworkSocket) == E_NOINTERFACE


# ---- bad input -------------------------------------------------------------------------------------------------------


class INotCom(Interface):
    """An interface of zope's, without an IID."""


class INoIid(IUnknown):
    """A COM interface that somebody forgot to give an IID."""


WRONG: tuple[tuple[object, HRESULT], ...] = (
    (None, E_POINTER),
    ("", E_NOINTERFACE),
    ("not an IID", E_NOINTERFACE),
    ("0CF075B5-A8F6-11D0-A7F1-0000F8750B2", E_NOINTERFACE),
    ("0CF075B5-A8F6-11D0-A7F1-0000F8750B21x", E_NOINTERFACE),
    ("00000000-dead-beef-0000-000000000000", E_NOINTERFACE),
    (UUID("00000000-dead-beef-0000-000000000000"), E_NOINTERFACE),
    (UUID(int=0), E_NOINTERFACE),
    (b"0CF075B5-A8F6-11D0-A7F1-0000F8750B21", E_NOINTERFACE),
    (7, E_NOINTERFACE),
    (7.5, E_NOINTERFACE),
    (True, E_NOINTERFACE),
    ([], E_NOINTERFACE),
    ({}, E_NOINTERFACE),
    (object(), E_NOINTERFACE),
    (dict, E_NOINTERFACE),
    (INotCom, E_NOINTERFACE),
    (INoIid, E_NOINTERFACE),
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("riid", "hresult"), WRONG)
def test_a_wrong_identifier_gives_the_documented_result(
    name: str, riid: object, hresult: HRESULT, objects: dict[str, Any]
) -> None:
    with pytest.raises(COMError) as failure:
        objects[name].QueryInterface(riid)
    assert failure.value.hresult == hresult


@settings(max_examples=100, deadline=None)
@given(riid=st.one_of(st.text(), st.binary(), st.integers(), st.floats(), st.uuids(), st.lists(st.integers())))
def test_no_identifier_raises_anything_else(objects: dict[str, Any], riid: object) -> None:
    known = {query_iid(interface) for interface in INTERFACES}
    if not (isinstance(riid, UUID) and riid in known):
        assert ask(objects["firewall"], riid) == E_NOINTERFACE


def test_what_provides_nothing() -> None:
    bare = sdk.Unknown()
    assert bare.QueryInterface(IUnknown) is bare
    for interface in INTERFACES:
        if interface is not IUnknown:
            assert ask(bare, interface) == E_NOINTERFACE
        assert interface(object(), None) is None
        with pytest.raises(COMError) as failure:
            raw(object(), interface)
        assert failure.value.hresult == E_NOINTERFACE


# ---- the COM face ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_com_face_fills_a_cell_and_raises_nothing(name: str, objects: dict[str, Any]) -> None:
    target, own = objects[name], OWN[name]
    face = raw(target, own)
    cell: Ref[Any] = Ref("left over")
    assert face.QueryInterface(query_iid(own), cell) == S_OK
    assert cell.value is target
    assert target.Release() == 1, "the interface came with a reference"
    assert face.QueryInterface(query_iid(own), None) == E_POINTER
    assert face.QueryInterface(UUID(int=1), cell) == E_NOINTERFACE
    assert cell.value is None


@pytest.mark.parametrize(("riid", "hresult"), WRONG)
def test_the_com_face_refuses_a_wrong_identifier(riid: object, hresult: HRESULT, objects: dict[str, Any]) -> None:
    cell: Ref[Any] = Ref("left over")
    assert raw(objects["firewall"], IFWXFirewall).QueryInterface(riid, cell) == hresult
    assert cell.value is None


# ---- tear-offs of a plugin -------------------------------------------------------------------------------------------


@pytest.fixture
def firewall(plugin: Any) -> Iterator[MemoryFirewall]:
    firewall = MemoryFirewall(plugins=True)
    yield firewall
    firewall.close()


def test_a_plugin_gives_firewall_and_session_an_interface(firewall: MemoryFirewall, plugin: Any) -> None:
    session = firewall.session()
    for owner, own in ((firewall.firewall, IFWXFirewall2), (session, IFWXSession)):
        notes = owner.QueryInterface(plugin.INotes)
        notes.Note("kept in the tear-off")
        assert owner.QueryInterface(plugin.INotes).texts == ["kept in the tear-off"], "one tear-off for each object"
        assert notes.QueryInterface(own) is owner, "symmetric: the way back"
        assert notes.QueryInterface(IUnknown) is owner.QueryInterface(IUnknown), "one identity"
        assert notes.QueryInterface(plugin.INotes) is notes, "reflexive"
        assert plugin.INotes(owner) is notes, "the Python way of asking"
        assert own(notes) is owner
    assert session.QueryInterface(plugin.INotes) is not firewall.firewall.QueryInterface(plugin.INotes)


def test_a_published_interface_is_found_by_its_iid_on_a_tear_off(firewall: MemoryFirewall, plugin: Any) -> None:
    owner = firewall.firewall
    for form in FORMS:
        ports = owner.QueryInterface(form(IFWXReservedPorts))
        assert isinstance(ports, plugin.Ports)
        assert ports.GetFirstPort() == 7000
        assert ports.QueryInterface(form(IFWXFirewall)) is owner
        assert ports.QueryInterface(plugin.INotes) is owner.QueryInterface(plugin.INotes), "transitive: side to side"


def test_a_plugins_own_interface_is_found_by_its_iid(firewall: MemoryFirewall, plugin: Any) -> None:
    owner = firewall.firewall
    for identifier in (UUID("5b1f6a0e-3c53-4f38-a7a5-6c2f6f0b7d01"), "{5B1F6A0E-3C53-4F38-A7A5-6C2F6F0B7D01}"):
        assert owner.QueryInterface(identifier) is owner.QueryInterface(plugin.INotes)


def test_what_is_no_com_interface_is_not_found(firewall: MemoryFirewall) -> None:
    """The registry is reached by IComponentLookup(obj); it has no way back, so QueryInterface does not give it."""
    assert ask(firewall.firewall, sdk.IComponentLookup) == E_NOINTERFACE
    assert sdk.IComponentLookup(firewall.firewall) is firewall.registry


def test_what_the_plugin_did_not_adapt_stays_as_it_is(firewall: MemoryFirewall, plugin: Any) -> None:
    connection = firewall.open().connection
    assert ask(connection, plugin.INotes) == E_NOINTERFACE
    assert ask(firewall.session(), IFWXReservedPorts) == E_NOINTERFACE
    assert ask(MemoryFirewall().firewall, plugin.INotes) == E_NOINTERFACE, "a service without plugins"


def test_a_tear_off_counts_for_its_owner_and_lives_with_it(firewall: MemoryFirewall, plugin: Any) -> None:
    session = firewall.session("192.0.2.77")
    notes = session.QueryInterface(plugin.INotes)
    assert notes.AddRef() == 2
    assert session.Release() == 1
    gone = weakref.ref(notes)
    firewall.sessions.close()
    del session, notes
    gc.collect()
    assert gone() is None


def test_a_completion_is_found_on_the_data_filter_that_is_one(objects: dict[str, Any]) -> None:
    assert objects["data filter"].QueryInterface(IFWXIOCompletion) is objects["data filter"]


@pytest.mark.parametrize(
    "text",
    [
        "0CF075B5A8F611D0A7F10000F8750B21",
        "urn:uuid:0CF075B5-A8F6-11D0-A7F1-0000F8750B21",
        "}0CF075B5-A8F6-11D0-A7F1-0000F8750B21{",
        "{0CF075B5-A8F6-11D0-A7F1-0000F8750B21",
        "0CF075B5-A8F6-11D0-A7F1-0000F8750B2\uff11",
        "0CF0-75B5A8F6-11D0-A7F1-0000F8750B21",
    ],
)
def test_text_that_only_resembles_an_iid(text: str) -> None:
    """The registry form, with or without braces, is the only spelling of an IID."""
    assert interface_of(text) is None
    assert interface_of("{0CF075B5-A8F6-11D0-A7F1-0000F8750B21}") is IFWXSocket
