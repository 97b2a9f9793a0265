"""The IDL of the interfaces, written out from the declarations in :mod:`fwx.interfaces`.

``fwx idl`` prints what :func:`render` returns: text that an IDL compiler (MIDL, or Wine's ``widl``) takes with nothing
but its own ``unknwn.idl``. The C types of Windows headers are defined where they are used; in the C header these
definitions give way to the real ones if their headers were included before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from enum import Enum, IntEnum, IntFlag, auto
from ipaddress import IPv6Address
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final, Union, cast, get_args, get_origin, get_type_hints
from uuid import UUID

import fwx.interfaces
from fwx.interfaces import COMInterfaceClass, MethodInfo, ParameterInfo, com_interfaces, iid, methods, query_iid
from fwx.interfaces import constants as _constants
from fwx.interfaces import enums as _enums
from fwx.interfaces import hresult as _hresult
from fwx.interfaces import protocols as _protocols
from fwx.interfaces import structs as _structs
from fwx.interfaces.address import SocketAddress

_HEAD: Final = """\
/* The application filter interfaces, printed by fwx idl.

   A C program that needs socket headers (winsock2.h, or sys/socket.h and netinet/in.h) includes them before the header
   that the IDL compiler makes of this. */

import "unknwn.idl";
"""

_IMPORTED: Final = frozenset({"IUnknown", "IClassFactory"})
"""The interfaces that ``unknwn.idl`` holds."""

_PREDEFINED: Final = frozenset(
    [
        *("const", "struct", "unsigned", "char", "int", "long", "void"),
        *("BOOL", "BOOLEAN", "BYTE", "CHAR", "USHORT", "INT", "UINT", "LONG", "ULONG", "DWORD", "LONGLONG"),
        *("DWORD_PTR", "HANDLE_PTR", "LPDWORD", "LPSTR", "LPCSTR", "LPCWSTR", "BSTR"),
        *("GUID", "REFGUID", "REFIID", "REFCLSID"),
    ]
)
"""The keywords, and the types that ``unknwn.idl`` brings along."""

_WINDOWS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "IN_ADDR": """\
cpp_quote("#if !defined(s_addr) && !defined(_NETINET_IN_H)")
struct in_addr { ULONG s_addr; };
cpp_quote("#endif")
typedef struct in_addr IN_ADDR;
""",
        "in6_addr": """\
cpp_quote("#if !defined(s6_addr) && !defined(_NETINET_IN_H)")
struct in6_addr { BYTE s6_addr[16]; };
cpp_quote("#endif")
""",
        "SOCKADDR": """\
cpp_quote("#if !defined(_WINSOCKAPI_) && !defined(_WINSOCK2API_) && !defined(_SYS_SOCKET_H)")
struct sockaddr { USHORT sa_family; CHAR sa_data[14]; };
cpp_quote("#endif")
typedef struct sockaddr SOCKADDR;
""",
        "LPSOCKADDR": "typedef SOCKADDR *LPSOCKADDR;\n",
        "LPHOSTENT": """\
cpp_quote("#if !defined(_WINSOCKAPI_) && !defined(_WINSOCK2API_)")
struct hostent { char *h_name; char **h_aliases; short h_addrtype; short h_length; char **h_addr_list; };
cpp_quote("#endif")
typedef struct hostent *LPHOSTENT;
""",
        "LPOVERLAPPED": """\
cpp_quote("#if !defined(_MINWINBASE_) && !defined(_WINBASE_)")
struct _OVERLAPPED { ULONG_PTR Internal; ULONG_PTR InternalHigh; DWORD Offset; DWORD OffsetHigh; HANDLE_PTR hEvent; };
cpp_quote("#endif")
typedef struct _OVERLAPPED *LPOVERLAPPED;
""",
        "LPINT": "typedef INT *LPINT;\n",
        "UserContextType": "typedef __int64 UserContextType;\n",
    }
)
"""The C types that ``unknwn.idl`` lacks."""

_INTEGERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AddressLength": "DWORD",
        "AddressType": "INT",
        "HostentLength": "DWORD",
        "IpRangesNumber": "unsigned int",
        "LocalAddressLength": "DWORD",
        "Protocol": "INT",
        "RemoteAddressLength": "DWORD",
        "dwGlobalEvents": "DWORD",
        "uiContextSlot": "unsigned int",
    }
)
"""The members that Python calls ``int``: IDL type by name."""

_MEMBERS: Final[Mapping[type, tuple[str, str]]] = MappingProxyType(
    {
        SocketAddress: ("[ref]", "LPSOCKADDR"),
        _structs.Hostent: ("", "LPHOSTENT"),
        IPv6Address: ("", "struct in6_addr"),
        UUID: ("", "GUID"),
        bool: ("", "BOOL"),
        str: ("[ref]", "LPSTR"),
    }
)
"""The other plain members: IDL attributes and type by Python type."""


class UnknownNameError(LookupError):
    """Names were asked for that no declaration has; the text has the nearest name for each."""


class Section(Enum):
    """Where a definition stands in the text; the order of the members is that of the text."""

    CONSTANTS = auto()
    WINDOWS = auto()
    TYPES = auto()
    INTERFACES = auto()


@dataclass(frozen=True, slots=True)
class Definition:
    """One thing that the IDL defines.

    :ivar name: what ``fwx idl`` knows it by.
    :ivar section: where it stands.
    :ivar text: its IDL, with the line end.
    :ivar mentions: the names in it. An interface among them is declared before it, anything else defined before it.
    :ivar base: the interface that is defined before it.
    """

    name: str
    section: Section
    text: str
    mentions: tuple[str, ...] = ()
    base: str | None = None


def render(names: Sequence[str] = ()) -> str:
    """Return the IDL of *names* with the types they need, or of everything. Called by ``fwx idl``.

    :param names: interfaces, enumerations, structures, unions or constants, in the SDK's spelling. Interfaces that
        they only mention are declared and not defined.
    :raises UnknownNameError: some of *names* are unknown.
    :raises LookupError: a declaration mentions a type that has no definition.
    """
    known = definitions()
    interfaces = frozenset(interface.__name__ for interface in com_interfaces())
    _check_names(names, known.keys() | interfaces)
    chosen: dict[str, Definition] = {}
    for name in names or known:
        if name in known:
            _choose(known[name], known, interfaces, chosen)
    declared = {each.name for each in chosen.values() if each.section is Section.INTERFACES}
    declared |= {mention for each in chosen.values() for mention in each.mentions if mention in interfaces}
    declared |= interfaces.intersection(names)
    return "\n".join(_blocks(chosen.values(), sorted(declared - _IMPORTED)))


def _check_names(names: Iterable[str], known: Iterable[str]) -> None:
    by_lower = {name.lower(): name for name in known}
    unknown = [name for name in names if by_lower.get(name.lower()) != name]
    if not unknown:
        return
    lines = []
    for name in unknown:
        near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
        hint = f"did you mean {by_lower[near[0]]}?" if near else "fwx idl without a name prints all there are"
        lines.append(f"no interface, enumeration, structure or constant is called {name!r}; {hint}")
    raise UnknownNameError("\n".join(lines))


def _choose(
    wanted: Definition,
    known: Mapping[str, Definition],
    interfaces: frozenset[str],
    chosen: dict[str, Definition],
) -> None:
    """Put *wanted* into *chosen*, after all that has to be defined before it."""
    if wanted.name in chosen:
        return
    needed = [name for name in wanted.mentions if name not in interfaces and name not in _PREDEFINED]
    if wanted.base is not None and wanted.base not in _IMPORTED:
        needed.append(wanted.base)
    for name in needed:
        if name not in known:
            raise LookupError(f"{wanted.name} mentions the IDL type {name}, which has no definition")
        _choose(known[name], known, interfaces, chosen)
    chosen[wanted.name] = wanted


def _blocks(chosen: Iterable[Definition], declared: Iterable[str]) -> Iterator[str]:
    texts: dict[Section, list[str]] = {section: [] for section in Section}
    for each in chosen:
        texts[each.section].append(each.text)
    yield _HEAD
    if texts[Section.CONSTANTS]:
        yield "".join(texts[Section.CONSTANTS])
    yield from texts[Section.WINDOWS]
    if forward := "".join(f"interface {name};\n" for name in declared):
        yield forward
    yield from texts[Section.TYPES]
    yield from texts[Section.INTERFACES]


def definitions() -> Mapping[str, Definition]:
    """Return everything that :func:`render` can define, by name, in the order in which it prints all of it.

    :raises LookupError: a member of a structure has a Python type for which there is no IDL type.
    :raises TypeError: a method's declaration says too little; see :func:`fwx.interfaces.methods`.
    """
    every = [
        *_constant_definitions(),
        *(Definition(name, Section.WINDOWS, text, _WINDOWS_MENTIONS.get(name, ())) for name, text in _WINDOWS.items()),
        *map(_enumeration, _enumerations()),
        _network_types(),
        *map(_structure, _structures()),
        _HOOK_EVENTS,
        *(_interface(each) for each in com_interfaces() if each.__name__ not in _IMPORTED and query_iid(each)),
    ]
    return MappingProxyType({each.name: each for each in every})


_WINDOWS_MENTIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({"LPSOCKADDR": ("SOCKADDR",)})
_HOOK_EVENTS: Final = Definition(
    "PFwxFilterHookEvents",
    Section.TYPES,
    "typedef FwxFilterHookEvents *PFwxFilterHookEvents;\n",
    ("FwxFilterHookEvents",),
)


# ---- constants -------------------------------------------------------------------------------------------------------


def _constant_definitions() -> Iterator[Definition]:
    for name, value in vars(_constants).items():
        if isinstance(value, str) and name.endswith("_NAMESPACE"):
            yield _macro(name, f'"{value}"')
        elif isinstance(value, int) and name.startswith("FWX_"):
            yield _macro(name, str(value) if name.startswith("FWX_PROTOCOL_") else f"{value:#x}")
    for name, value in vars(_hresult).items():
        if name.startswith("FWX_E_"):
            yield _macro(name, f"((HRESULT)0x{int(value):08X})")
    for name, value in vars(_protocols).items():
        if isinstance(value, UUID) and value.int:
            yield _macro(name, f'"{{{str(value).upper()}}}"')


def _macro(name: str, value: str) -> Definition:
    quoted = value.replace('"', '\\"')
    return Definition(name, Section.CONSTANTS, f'cpp_quote("#define {name} {quoted}")\n')


# ---- enumerations, structures, unions --------------------------------------------------------------------------------


def _enumerations() -> Iterator[type[IntEnum | IntFlag]]:
    for value in vars(_enums).values():
        if isinstance(value, type) and issubclass(value, (IntEnum, IntFlag)) and len(value.__members__):
            yield value


def _enumeration(kind: type[IntEnum | IntFlag]) -> Definition:
    form = "#x" if issubclass(kind, IntFlag) else "d"
    return _enum(kind.__name__, {name: f"{member.value:{form}}" for name, member in kind.__members__.items()})


def _network_types() -> Definition:
    """Return the enumeration of the administration SDK that ``IFWXNetworkElement.GetType`` answers."""
    return _enum(
        "FpcNetworkTypes", {name: str(value) for name, value in vars(_constants).items() if name.startswith("fpc")}
    )


def _enum(name: str, members: Mapping[str, str]) -> Definition:
    # v1_enum: 32 bits on the wire too, which the flags need.
    body = ",\n".join(f"    {member} = {value}" for member, value in members.items())
    return Definition(name, Section.TYPES, f"typedef [v1_enum] enum {name}\n{{\n{body}\n}} {name};\n")


def _structures() -> Iterator[type]:
    for name, value in vars(_structs).items():
        if isinstance(value, type) and value.__module__ == _structs.__name__ and name.startswith("Fwx"):
            yield value


def _structure(kind: type) -> Definition:
    names = {**vars(fwx.interfaces), **vars(_structs), "SocketAddress": SocketAddress, "IPv6Address": IPv6Address}
    hints = get_type_hints(kind, None, names)
    members = {name: hint for name, hint in hints.items() if not name.startswith("_")}
    if is_dataclass(kind):
        rows = [_member(kind, name, members) for name in members]
        return _compound(kind.__name__, f"typedef struct {kind.__name__}", rows)
    selected: Mapping[int, str] = kind._selected  # type: ignore[attr-defined]
    rows = [(f"[case({_cases(selected, name)})]", *_plain(kind, name, hint)[1:]) for name, hint in members.items()]
    if nothing := _cases(selected, ""):
        rows.append((f"[case({nothing})]", "", ""))
    tag = type(next(iter(selected))).__name__
    return _compound(kind.__name__, f"typedef [switch_type({tag})] union {kind.__name__}", rows, tag)


def _cases(selected: Mapping[int, str], name: str) -> str:
    """Return the enumerators that select the member *name* of a union."""
    return ", ".join(event.name for event, member in selected.items() if member == name and isinstance(event, Enum))


def _compound(name: str, opening: str, rows: Iterable[tuple[str, str, str]], *mentions: str) -> Definition:
    rows = list(rows)
    body = "".join(f"    {' '.join(filter(None, row))};\n" for row in rows)
    named = tuple(each for _, idl, _ in rows for each in _identifiers(idl))
    return Definition(name, Section.TYPES, f"{opening}\n{{\n{body}}} {name};\n", (*mentions, *named))


def _member(kind: type, name: str, members: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return attributes, type and name of a member of the structure *kind*."""
    hint = members[name]
    if hint is bytes:
        length = f"{name}Length"
        return f"[size_is({length}), length_is({length})]", "BYTE*", name
    if get_origin(hint) is tuple:
        return f"[size_is({name}Number)]", f"{get_args(hint)[0].__name__}*", name
    selected = getattr(hint, "_selected", None)
    if selected is not None:
        tag = next(each for each, type_ in members.items() if type_ is type(next(iter(selected))))
        return f"[switch_is({tag})]", hint.__name__, name
    return _plain(kind, name, hint)


def _plain(kind: type, name: str, hint: Any) -> tuple[str, str, str]:
    if get_origin(hint) in (Union, UnionType):
        hint = next(each for each in get_args(hint) if each is not NoneType)
    if hint is int and name in _INTEGERS:
        return "", _INTEGERS[name], name
    if hint in _MEMBERS:
        return (*_MEMBERS[hint], name)
    if isinstance(hint, COMInterfaceClass):
        return "", f"{hint.__name__}*", name
    if isinstance(hint, type) and (issubclass(hint, Enum) or hint.__module__ == _structs.__name__):
        return "", hint.__name__, name
    raise LookupError(f"{kind.__name__}.{name}: there is no IDL type for {hint!r}")


def _identifiers(idl: str) -> list[str]:
    return re.findall(r"[A-Za-z_]\w*", idl)


# ---- interfaces ------------------------------------------------------------------------------------------------------


def _interface(interface: COMInterfaceClass) -> Definition:
    name, base = interface.__name__, interface.__bases__[0].__name__
    own = [method for method in methods(interface) if method.interface is interface]
    attributes = ["object", f"uuid({str(iid(interface)).upper()})", "pointer_default(unique)"]
    attributes += cast("Any", interface).queryDirectTaggedValue("attributes") or ()
    heading = f"[{', '.join(attributes)}]\ninterface {name} : {base}\n"
    mentions = tuple(each for method in own for parameter in method.parameters for each in _identifiers(parameter.idl))
    body = "".join(method_idl(method) for method in own)
    return Definition(name, Section.INTERFACES, f"{heading}{{\n{body}}};\n", mentions, base)


def method_idl(method: MethodInfo) -> str:
    attributes = f"    [{', '.join(method.attributes)}]\n" if method.attributes else ""
    parameters = ",".join(f"\n        {_parameter(each)}" for each in method.parameters)
    return f"{attributes}    {method.returns} {method.idl_name}({parameters});\n"


def _parameter(parameter: ParameterInfo) -> str:
    direction = {"in": ("in",), "out": ("out",), "inout": ("in", "out"), "unmarked": ()}[parameter.direction]
    attributes = (*direction, *parameter.attributes)
    marks = f"[{', '.join(attributes)}] " if attributes else ""
    element, brackets, _ = parameter.idl.partition("[]")
    return f"{marks}{element} {parameter.name}{brackets}"
