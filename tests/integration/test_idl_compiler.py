"""A real IDL compiler takes what ``fwx idl`` prints, and a C compiler finds in its header what the declarations say.

Nothing is run: the C programs are static assertions. The stand-ins below are what Windows brings along, as far as the
interfaces use it; Debian has the real files only in a package of 800 MB.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

from fwx.idl import Section, definitions, render
from fwx.interfaces import (
    COMInterfaceClass,
    IFWXSocket,
    MethodInfo,
    com_interfaces,
    constants,
    enums,
    hresult,
    methods,
    query_iid,
)

WIDL = "x86_64-w64-mingw32-widl"
C_OPTIONS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fsyntax-only", "-I.")
pytestmark = pytest.mark.requires(WIDL, "gcc")

UNKNWN_IDL = """
cpp_quote("#if 0")
typedef byte BYTE;
typedef boolean BOOLEAN;
typedef char CHAR;
typedef unsigned short USHORT;
typedef int INT;
typedef unsigned int UINT;
typedef long LONG;
typedef long BOOL;
typedef long HRESULT;
typedef unsigned long ULONG;
typedef unsigned long DWORD;
typedef DWORD *LPDWORD;
typedef __int64 LONGLONG;
typedef unsigned __int64 ULONG_PTR;
typedef unsigned __int64 DWORD_PTR;
typedef unsigned __int64 HANDLE_PTR;
typedef [string] CHAR *LPSTR;
typedef [string] const CHAR *LPCSTR;
typedef [string] const wchar_t *LPCWSTR;
typedef [unique] wchar_t *BSTR;
typedef struct _GUID { DWORD Data1; USHORT Data2; USHORT Data3; BYTE Data4[8]; } GUID;
typedef const GUID *REFGUID;
typedef const GUID *REFIID;
typedef const GUID *REFCLSID;
cpp_quote("#endif")

[local, object, uuid(00000000-0000-0000-C000-000000000046), pointer_default(unique)]
interface IUnknown
{
    HRESULT QueryInterface([in] REFIID riid, [out, iid_is(riid)] void **ppvObject);
    ULONG AddRef();
    ULONG Release();
}

[local, object, uuid(00000001-0000-0000-C000-000000000046), pointer_default(unique)]
interface IClassFactory : IUnknown
{
    HRESULT CreateInstance([in] IUnknown *pUnkOuter, [in] REFIID riid, [out, iid_is(riid)] void **ppvObject);
    HRESULT LockServer([in] BOOL fLock);
}
"""

# On Windows LONG has 32 bits. An IID becomes two numbers, which a static assertion can look at.
WINDOWS_H = """
#pragma once
#include <stddef.h>
#define interface struct
#define BEGIN_INTERFACE
#define END_INTERFACE
#define CONST_VTBL const
#define STDMETHODCALLTYPE
#define __RPC_USER
#define __RPC_STUB
#define EXTERN_C extern
#define DEFINE_GUID(name, a, b, c, d, e, f, g, h, i, j, k) \\
    enum { name##_high = a##ull << 32 | b##ull << 16 | c##ull }; \\
    enum { name##_low = d##ull << 56 | e##ull << 48 | f##ull << 40 | g##ull << 32 | h##ull << 24 | i##ull << 16 \\
        | j##ull << 8 | k##ull }
#define __int64 long long
typedef unsigned char BYTE, BOOLEAN;
typedef char CHAR, *LPSTR;
typedef const char *LPCSTR;
typedef unsigned short USHORT;
typedef int INT, LONG, BOOL, HRESULT;
typedef unsigned int UINT, ULONG, DWORD, *LPDWORD;
typedef long long LONGLONG, INT64;
typedef unsigned long long ULONG_PTR, DWORD_PTR, HANDLE_PTR;
typedef unsigned short WCHAR, *BSTR;
typedef const WCHAR *LPCWSTR;
typedef struct { DWORD Data1; USHORT Data2, Data3; BYTE Data4[8]; } GUID, IID;
typedef const GUID *REFGUID, *REFIID, *REFCLSID;
"""

STRUCTURE_SIZES = {
    "FwxAcceptEvent": 80,
    "FwxBindEvent": 64,
    "FwxConnectEvent": 64,
    "FwxEndConnectionEvent": 8,
    "FwxEstablishedConnectionEvent": 40,
    "FwxFilterHookEvents": 4,
    "FwxFirewallEvent": 88,
    "FwxFirewallEventParameters": 80,
    "FwxGetHostByAddrEvent": 48,
    "FwxGetHostByNameEvent": 40,
    "FwxIpRangeToNetworkElement": 24,
    "FwxIpRangesToNetworkElements": 16,
    "FwxIpRangesToNetworkElementsNotification": 24,
    "FwxListenEvent": 40,
    "FwxNcdEvent": 32,
    "FwxNcdEventParameters": 24,
    "FwxNetElementMembershipInNetworkSet": 16,
    "FwxUdpDestination": 72,
    "IN_ADDR": 4,
    "SOCKADDR": 16,
    "struct _OVERLAPPED": 32,
    "struct hostent": 32,
    "struct in6_addr": 16,
}

INTERFACES = tuple(com_interfaces())
TYPES = [name for name, each in definitions().items() if each.section in (Section.WINDOWS, Section.TYPES)]

Compile = Callable[[str], Path]
CheckC = Callable[..., str]


@pytest.fixture
def header_of(tmp_path: Path, program_path: Callable[[str], str]) -> Compile:
    """The function that has IDL compiled to a C header; the compiler must not say a word."""
    (tmp_path / "unknwn.idl").write_text(UNKNWN_IDL)
    (tmp_path / "windows.h").write_text(WINDOWS_H)
    (tmp_path / "ole2.h").touch()

    def compile_idl(source: Path) -> Path:
        command = [program_path(WIDL), "-h", "-o", source.with_suffix(".h").name, source.name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        return source.with_suffix(".h")

    def compile_text(idl: str) -> Path:
        source = tmp_path / "some.idl"
        source.write_text(idl)
        return compile_idl(source)

    compile_idl(tmp_path / "unknwn.idl")
    return compile_text


@pytest.fixture
def c_errors(program_path: Callable[[str], str]) -> CheckC:
    """The function that compiles assertions against a header and returns what the C compiler says."""

    def check(header: Path, assertions: Iterator[str]) -> str:
        source = header.with_suffix(".c")
        source.write_text("\n".join([f'#include "{header.name}"', *assertions, ""]))
        done = subprocess.run(
            [program_path("gcc"), *C_OPTIONS, source.name],
            cwd=header.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode == 0) == (not done.stderr)
        return done.stderr

    return check


def same(left: str, right: str, what: str) -> str:
    return f'_Static_assert({left} == {right}, "{what}");'


def interface_assertions(interface: COMInterfaceClass) -> Iterator[str]:
    """Go through what the header must agree with: the IID, the size of the vtable, each method's place and type."""
    name, found = interface.__name__, query_iid(interface)
    if found is None:
        yield f"{name} *known_by_name_only;"
        return
    high, low = divmod(found.int, 1 << 64)
    yield same(f"(unsigned long long)IID_{name}_high", f"{high:#x}ull", f"IID of {name}")
    yield same(f"(unsigned long long)IID_{name}_low", f"{low:#x}ull", f"IID of {name}")
    yield same(f"sizeof({name}Vtbl)", f"{len(methods(interface))} * sizeof(void *)", f"methods of {name}")
    for method in methods(interface):
        member = f"get_{method.name}" if method.is_property else method.idl_name
        yield same(f"offsetof({name}Vtbl, {member})", f"{method.slot} * sizeof(void *)", f"slot of {name}.{member}")
        types = f"__typeof__((({name}Vtbl *)0)->{member}), {c_type(name, method)}"
        yield same(f"__builtin_types_compatible_p({types})", "1", f"type of {name}.{member}")


def c_type(interface: str, method: MethodInfo) -> str:
    parameters = ["LONG" if each.idl == "long" else each.idl for each in method.parameters]
    return f"{method.returns} (*)({', '.join([f'{interface} *', *parameters])})"


def value_assertions() -> Iterator[str]:
    for name, value in [*vars(constants).items(), *vars(hresult).items()]:
        if name.startswith(("FWX_", "fpc")) and isinstance(value, int):
            yield same(f"(unsigned){name}", f"{int(value):#x}u", name)
    for name, value in vars(enums).items():
        if isinstance(value, IntEnum | IntFlag):
            yield same(f"(unsigned){name}", f"{value.value:#x}u", name)
    yield same("sizeof(AUTHENTICATED_RADIUS_USER_NAMESPACE)", "7", "RADIUS")
    yield same("sizeof(HTTP_PROTOCOL_GUID)", "39", "a GUID in braces")


def test_all_of_it_compiles_and_lies_where_fwx_says(header_of: Compile, c_errors: CheckC) -> None:
    def assertions() -> Iterator[str]:
        for interface in INTERFACES:
            if query_iid(interface):
                yield from interface_assertions(interface)
        for name, size in STRUCTURE_SIZES.items():
            yield same(f"sizeof({name})", str(size), f"size of {name}")
        yield from value_assertions()

    assert c_errors(header_of(render()), assertions()) == ""


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda each: each.__name__)
def test_each_interface_alone(header_of: Compile, c_errors: CheckC, interface: COMInterfaceClass) -> None:
    header = header_of(render([interface.__name__]))
    assert c_errors(header, interface_assertions(interface)) == ""


@pytest.mark.parametrize("name", TYPES)
def test_each_type_alone(header_of: Compile, c_errors: CheckC, name: str) -> None:
    spelling = f"struct {name}" if name == "in6_addr" else name
    assert c_errors(header_of(render([name])), iter([f"{spelling} *pointer;"])) == ""


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("HRESULT _IsDataAvailable();", "", "methods of IFWXSocket"),
        ("HRESULT Recv(", "HRESULT Other(); HRESULT Recv(", "slot of IFWXSocket.Recv"),
        ("[in] BOOLEAN fAbortive", "[in] BOOL fAbortive", "type of IFWXSocket.Shutdown"),
        ("uuid(0CF075B5", "uuid(1CF075B5", "IID of IFWXSocket"),
        ("0000F8750B21)", "0000F8750B22)", "IID of IFWXSocket"),
    ],
)
def test_a_difference_is_found(header_of: Compile, c_errors: CheckC, right: str, wrong: str, said: str) -> None:
    idl = render(["IFWXSocket"])
    assert right in idl
    assert said in c_errors(header_of(idl.replace(right, wrong)), interface_assertions(IFWXSocket))
