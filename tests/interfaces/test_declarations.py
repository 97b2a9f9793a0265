"""The declarations against the project's own table of Wspfwext.idl, ``tests/data/wspfwext.toml`` (double entry)."""

from __future__ import annotations

import copy
import inspect
import tomllib
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from zope.interface import Attribute, taggedValue

import fwx.interfaces
from fwx.interfaces import (
    DWORD,
    E_INVALIDARG,
    HRESULT,
    SOCKADDR,
    COMInterfaceClass,
    Idl,
    IFWXConnection,
    IFWXFirewall2,
    IFWXIOBuffer,
    IFWXNetworkSocket,
    IFWXSession,
    IFWXSocket,
    IUnknown,
    Length,
    LengthOf,
    MethodIdl,
    Out,
    Passing,
    UserContextType,
    com_interfaces,
    iid,
    interface_of,
    methods,
    query_iid,
)

TABLE = tomllib.loads((Path(__file__).parents[1] / "data" / "wspfwext.toml").read_text())
FOREIGN = {
    "IClassFactory",
    "IFPCApplicationFilter",
    "IFPCPolicyRule",
    "IFPCProtocolDefinition",
    "IFPCVendorParametersSet",
    "IFPCVendorParametersSets",
}
INTERFACES = tuple(com_interfaces())


def declared(interface: COMInterfaceClass) -> dict[str, Any]:
    """Return what the declaration says, in the form of the table."""
    base = interface.__bases__[0]
    entry: dict[str, Any] = {
        "iid": str(iid(interface)).upper(),
        "base": base.__name__ if isinstance(base, COMInterfaceClass) else "",
        "methods": [],
    }
    if attributes := interface.queryDirectTaggedValue("attributes"):
        entry["attributes"] = list(attributes)
    for method in methods(interface):
        if method.interface is not interface:
            continue
        row: dict[str, Any] = {"name": method.idl_name, "slot": method.slot}
        row["params"] = [list(parameter.row) for parameter in method.parameters]
        if method.attributes:
            row["attributes"] = list(method.attributes)
        if method.returns != "HRESULT":
            row["returns"] = method.returns
        entry["methods"].append(row)
    return entry


def differences(table: dict[str, Any]) -> list[str]:
    """Return one line for each difference between *table* and the declarations, by interface and method."""
    own = {each.__name__: declared(each) for each in INTERFACES if each.__name__ not in FOREIGN}
    found = [f"{name}: {kind}" for name, kind in one_sided(table, own)]
    for name in sorted(table.keys() & own.keys()):
        left, right = dict(table[name]), dict(own[name])
        rows = left.pop("methods"), right.pop("methods")
        found += [f"{name}: {key}" for key in unequal(left, right)]
        found += [f"{name}.{line}" for line in method_differences(*rows)]
    return found


def one_sided(table: dict[str, Any], own: dict[str, Any]) -> list[tuple[str, str]]:
    only_there = [(name, "only in the table") for name in sorted(table.keys() - own.keys())]
    return only_there + [(name, "only declared") for name in sorted(own.keys() - table.keys())]


def unequal(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    return [key for key in sorted(left.keys() | right.keys()) if left.get(key) != right.get(key)]


def method_differences(table: list[dict[str, Any]], own: list[dict[str, Any]]) -> list[str]:
    left, right = {row["name"]: row for row in table}, {row["name"]: row for row in own}
    found = [f"{name}: {kind}" for name, kind in one_sided(left, right)]
    shared, places = [name for name in left if name in right], [name for name in right if name in left]
    found += [f"{name}: place" for name, other in zip(shared, places, strict=True) if name != other]
    return found + [f"{name}: {key}" for name in shared for key in unequal(left[name], right[name])]


def test_every_declaration_is_that_of_the_table() -> None:
    assert differences(TABLE) == []


def test_the_table_holds_47_interfaces_and_iunknown() -> None:
    assert len(TABLE) == 48
    assert sum(len(entry["methods"]) for name, entry in TABLE.items() if name != "IUnknown") == 180


def swap_methods(table: dict[str, Any]) -> None:
    rows = table["IFWXSocket"]["methods"]
    rows[0], rows[2] = rows[2], rows[0]


def swap_parameters(table: dict[str, Any]) -> None:
    params = table["IFWXSocket"]["methods"][0]["params"]
    params[0], params[1] = params[1], params[0]


def rename_parameter(table: dict[str, Any]) -> None:
    table["IFWXSession"]["methods"][0]["params"][0][2] = "address"


def change_type(table: dict[str, Any]) -> None:
    table["IFWXNetworkSocket"]["methods"][0]["params"][1][1] = "INT"


def change_direction(table: dict[str, Any]) -> None:
    table["IFWXNetworkSocket"]["methods"][2]["params"][1][0] = "inout"


def drop_attribute(table: dict[str, Any]) -> None:
    table["IFWXConnection"]["methods"][0]["params"][2].pop()


def drop_method_attribute(table: dict[str, Any]) -> None:
    del table["IFWXIOBuffer"]["methods"][0]["attributes"]


def change_slot(table: dict[str, Any]) -> None:
    table["IFWXDataFilter"]["methods"][1]["slot"] = 5


def change_iid(table: dict[str, Any]) -> None:
    table["IFWXFilter"]["iid"] = "00000000-0000-0000-C000-000000000046"


def change_base(table: dict[str, Any]) -> None:
    table["IFWXFirewall3"]["base"] = "IFWXFirewall"


def drop_interface_attribute(table: dict[str, Any]) -> None:
    table["IFWXNetworkSocketInspection"]["attributes"].pop()


def drop_method(table: dict[str, Any]) -> None:
    del table["IFWXSocket"]["methods"][0]


def add_method(table: dict[str, Any]) -> None:
    table["IFWXSocket"]["methods"].append({"name": "Peek", "slot": 10, "params": []})


def drop_parameter(table: dict[str, Any]) -> None:
    table["IFWXSocket"]["methods"][1]["params"].pop()


def drop_interface(table: dict[str, Any]) -> None:
    del table["IFWXUdpDestination"]


def add_interface(table: dict[str, Any]) -> None:
    table["IFWXFirewall4"] = {"iid": "8B7A9C50-5A0E-4B1E-9E55-6C1B7F5D2A11", "base": "IFWXFirewall3", "methods": []}


@pytest.mark.parametrize(
    ("damage", "reported"),
    [
        (swap_methods, ["IFWXSocket.Recv: place", "IFWXSocket.Send: place"]),
        (swap_parameters, ["IFWXSocket.Send: params"]),
        (rename_parameter, ["IFWXSession.GetClientAddress: params"]),
        (drop_parameter, ["IFWXSocket.SendTo: params"]),
        (change_type, ["IFWXNetworkSocket.Connect: params"]),
        (change_direction, ["IFWXNetworkSocket.GetSockName: params"]),
        (drop_attribute, ["IFWXConnection.AttachDataFilter: params"]),
        (drop_method_attribute, ["IFWXIOBuffer.GetBufferAndSize: attributes"]),
        (drop_interface_attribute, ["IFWXNetworkSocketInspection: attributes"]),
        (change_slot, ["IFWXDataFilter.Detach: slot"]),
        (change_iid, ["IFWXFilter: iid"]),
        (change_base, ["IFWXFirewall3: base"]),
        (drop_method, ["IFWXSocket.Send: only declared"]),
        (add_method, ["IFWXSocket.Peek: only in the table"]),
        (drop_interface, ["IFWXUdpDestination: only declared"]),
        (add_interface, ["IFWXFirewall4: only in the table"]),
    ],
)
def test_a_damaged_table_is_reported(damage: Any, reported: list[str]) -> None:
    table = copy.deepcopy(TABLE)
    damage(table)
    assert differences(table) == reported


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda each: each.__name__)
def test_every_interface_and_member_has_a_docstring(interface: COMInterfaceClass) -> None:
    assert inspect.getdoc(interface) or interface.getDoc()
    undocumented = [name for name, member in interface.namesAndDescriptions() if not member.getDoc().strip()]
    assert undocumented == []


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda each: each.__name__)
def test_methods_say_what_comes_back_and_what_is_raised(interface: COMInterfaceClass) -> None:
    for method in methods(interface):
        if method.interface is not interface or method.is_property:
            continue
        text = interface[method.name].getDoc()
        outward = [each for each in method.parameters if each.passing in (Passing.RESULT, Passing.BOTH)]
        assert ":returns:" in text or not outward, f"{method.name} does not say what it returns"
        assert ":returns:" in text or ":raises" in text, f"{method.name} says neither what it returns nor raises"
        assert all(f"*{each.name}*" in text for each in outward), f"{method.name} does not name its outs"


def test_all_names_exist_and_none_is_missing_from_all() -> None:
    public = set(fwx.interfaces.__all__)
    assert len(public) == len(fwx.interfaces.__all__)
    assert public <= vars(fwx.interfaces).keys()
    named = {name for name, value in vars(fwx.interfaces).items() if isinstance(value, COMInterfaceClass)}
    assert named <= public


def test_iid_is_the_interfaces_own() -> None:
    assert iid(IFWXSocket) == UUID("0CF075B5-A8F6-11D0-A7F1-0000F8750B21")
    assert iid(IFWXNetworkSocket) != iid(IFWXSocket)

    class INameless(IFWXSocket):
        """Inherits no IID."""

    assert query_iid(INameless) is None
    with pytest.raises(LookupError, match="INameless has no IID"):
        iid(INameless)


@pytest.mark.parametrize(
    ("identifier", "interface"),
    [
        (UUID("0CF075B5-A8F6-11D0-A7F1-0000F8750B21"), IFWXSocket),
        ("{0cf075b5-a8f6-11d0-a7f1-0000f8750b21}", IFWXSocket),
        (UUID("00000000-0000-0000-C000-000000000046"), IUnknown),
        (UUID(int=7), None),
        ("IFWXSocket", None),
        (7, None),
        (None, None),
    ],
)
def test_interface_of(identifier: object, interface: COMInterfaceClass | None) -> None:
    assert interface_of(identifier) is interface


def test_no_two_interfaces_share_an_iid() -> None:
    known = [found for each in INTERFACES if (found := query_iid(each)) is not None]
    assert len(known) == len(set(known)) == 49


@pytest.mark.parametrize(
    ("interface", "name", "passing"),
    [
        (IFWXNetworkSocket, "GetSockName", {"Address": "result", "AddressLength": "length of a result"}),
        (IFWXNetworkSocket, "Connect", {"Address": "argument", "AddressLength": "length"}),
        (
            IFWXIOBuffer,
            "ReadAt",
            {"ulOffset": "argument", "pv": "result", "cb": "argument", "pcbRead": "length of a result"},
        ),
        (IFWXConnection, "GetConnectionFlags", {"pOutputFlags": "result"}),
    ],
)
def test_how_the_python_face_passes(interface: COMInterfaceClass, name: str, passing: dict[str, str]) -> None:
    method = next(each for each in methods(interface) if each.name == name)
    assert {each.name: str(each.passing) for each in method.parameters} == passing


def test_in_out_parameters() -> None:
    by_name = {each.name: each for each in methods(IFWXSession)}
    proxy = next(each for each in by_name["BindForClient"].parameters if each.name == "ProxyAddress")
    assert (proxy.direction, proxy.passing) == ("inout", Passing.BOTH)
    hook = methods(fwx.interfaces.IFWXFilter)[5].parameters[2]
    assert (hook.name, hook.direction, hook.passing) == ("pFilterHookEvents", "inout", Passing.FILLED)


def test_the_name_that_python_would_mangle() -> None:
    method = methods(IFWXNetworkSocket)[18]
    assert (method.name, method.idl_name) == ("_SetPacketFilterOptions", "__SetPacketFilterOptions")


def test_slots_go_on_from_the_base() -> None:
    assert [each.slot for each in methods(IFWXFirewall2)] == list(range(3 + 13 + 6))
    assert methods(IFWXFirewall2)[0].interface is IUnknown


def test_an_interface_has_exactly_one_base() -> None:
    with pytest.raises(TypeError, match="exactly one base"):
        type(IUnknown)("IBoth", (IFWXSocket, IFWXConnection), {"__module__": __name__})


class IForeign(IUnknown):
    """An interface of somebody else, in another module: the table of types serves it too."""

    taggedValue("iid", UUID("8B7A9C50-5A0E-4B1E-9E55-6C1B7F5D2A10"))

    Level: Annotated[DWORD, Out("pVal", "DWORD*", "retval"), MethodIdl("propget")] = Attribute("A number.")

    def Exchange(
        count: int,
        peer: IFWXSocket | None,
        data: Annotated[bytes, Idl("BYTE*", "size_is(cb)")],
        cb: Annotated[DWORD | None, LengthOf("data")],
        cookie: UserContextType,
    ) -> tuple[
        Annotated[IFWXSocket, Out("ppSocket", before="cookie")],
        Annotated[SOCKADDR, Out("Address", length=Length("Size", "LPDWORD"))],
    ]:
        """Try the table of types."""

    def Ask() -> HRESULT:
        """Answer by the success code."""


def test_an_interface_of_somebody_else() -> None:
    level, exchange, ask = methods(IForeign)[3:]
    assert (level.slot, level.raw_name, level.is_property) == (3, "get_Level", True)
    assert [each.row for each in exchange.parameters] == [
        ("in", "int", "count"),
        ("in", "IFWXSocket*", "peer"),
        ("in", "BYTE*", "data", "size_is(cb)"),
        ("in", "DWORD", "cb"),
        ("out", "IFWXSocket**", "ppSocket"),
        ("in", "UserContextType", "cookie"),
        ("out", "LPSOCKADDR", "Address"),
        ("inout", "LPDWORD", "Size"),
    ]
    assert (ask.returns, ask.parameters) == ("HRESULT", ())
    assert E_INVALIDARG == 0x80070057


def bare_parameter() -> COMInterfaceClass:
    class IBare(IUnknown):
        def Do(x) -> None:  # type: ignore[no-untyped-def]
            """No annotation."""

    return IBare


def unknown_type() -> COMInterfaceClass:
    class IOdd(IUnknown):
        def Do(x: complex) -> None:
            """No IDL type."""

    return IOdd


def unmarked_result() -> COMInterfaceClass:
    class IOdd(IUnknown):
        def Do() -> str:
            """No mark."""

    return IOdd


def bare_result() -> COMInterfaceClass:
    class IOdd(IUnknown):
        def Do(x: int):  # type: ignore[no-untyped-def]
            """No annotation."""

    return IOdd


def unmarked_member() -> COMInterfaceClass:
    class IOdd(IUnknown):
        def Do() -> tuple[int, str]:
            """No marks."""

    return IOdd


def bare_attribute() -> COMInterfaceClass:
    class IOdd(IUnknown):
        Level = Attribute("No annotation.")

    return IOdd


def unknown_out() -> COMInterfaceClass:
    class IOdd(IUnknown):
        def Do() -> Annotated[complex, Out("pResult")]:
            """No IDL type."""

    return IOdd


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (bare_parameter, "IBare.Do: parameter x is not annotated"),
        (unknown_type, "IOdd.Do: parameter x needs Idl"),
        (unmarked_result, "IOdd.Do: the result needs Out"),
        (bare_result, "IOdd.Do: the result is not annotated"),
        (unmarked_member, "IOdd.Do: a member of the result needs Out"),
        (bare_attribute, "IOdd.Level: an attribute of a COM interface needs an annotation"),
        (unknown_out, "IOdd.Do: out pResult needs its IDL type"),
    ],
)
def test_a_declaration_that_says_too_little(declare: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        methods(declare())
