"""The arguments of CreateSSLNetworkSocket (B4.16, B4.17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from fwx import sdk
from fwx.impl.raw import Ref, raw
from fwx.impl.sslsocket import FWXSSLSocket
from fwx.impl.tlscredentials import TlsCredentials
from fwx.interfaces import (
    GUID_NULL,
    IFWXFirewall2,
    IFWXNetworkSocket,
    SocketAddress,
    fwxClientSide,
    fwxServerSide,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_NOTIMPL,
    E_POINTER,
    S_OK,
    COMError,
)
from fwx.testing import MemoryFirewall, Recorder, memory_pair
from tests.impl.tls import certificates
from tests.impl.tls.certificates import SERVER, roots, shows
from tests.impl.tls.parts import towards_client, towards_server


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


GOOD: tuple[Any, ...] = (False, SERVER, None, None, None, fwxServerSide, GUID_NULL, 0, 0, False, None)
NAME, LENGTH, CREDS, DEFAULT, SIDE, GUID, SEND, RECV, EXISTING = 1, 2, 3, 4, 5, 6, 7, 8, 10
BAD: dict[str, tuple[dict[int, Any], int]] = {
    "a name that is no text": ({NAME: b"server"}, E_INVALIDARG),
    "a name with a NUL": ({NAME: "a\0b"}, E_INVALIDARG),
    "a name with a space": ({NAME: "a b"}, E_INVALIDARG),
    "a name with an empty label": ({NAME: "a..b"}, E_INVALIDARG),
    "a name that begins with a dot": ({NAME: ".a"}, E_INVALIDARG),
    "a name with a wildcard": ({NAME: "*.example"}, E_INVALIDARG),
    "a name that is too long": ({NAME: ".".join(["a" * 63] * 4)}, E_INVALIDARG),
    "a label that is too long": ({NAME: "a" * 64}, E_INVALIDARG),
    "an address with a port": ({NAME: "127.0.0.1:443"}, E_INVALIDARG),
    "an address in brackets": ({NAME: "[::1]"}, E_INVALIDARG),
    "a length beyond the name": ({LENGTH: len(SERVER) + 1}, E_INVALIDARG),
    "a negative length": ({LENGTH: -1}, E_INVALIDARG),
    "no name to check": ({NAME: None}, E_INVALIDARG),
    "an empty name": ({NAME: ""}, E_INVALIDARG),
    "a name cut to nothing": ({LENGTH: 0}, E_INVALIDARG),
    "credentials of another kind": ({CREDS: {"user": "me"}}, E_INVALIDARG),
    "default credentials of another kind": ({DEFAULT: 7}, E_INVALIDARG),
    "no side": ({SIDE: 0}, E_INVALIDARG),
    "a third side": ({SIDE: 3}, E_INVALIDARG),
    "a side in words": ({SIDE: "client"}, E_INVALIDARG),
    "no GUID": ({GUID: None}, E_POINTER),
    "a GUID as text": ({GUID: str(GUID_NULL)}, E_INVALIDARG),
    "a protocol that nobody defined": ({GUID: uuid4()}, E_INVALIDARG),
    "a negative time": ({SEND: -1}, E_INVALIDARG),
    "a time of 33 bits": ({RECV: 1 << 32}, E_INVALIDARG),
    "a socket that is none": ({EXISTING: object()}, E_INVALIDARG),
    "a server without a certificate": ({SIDE: fwxClientSide}, E_INVALIDARG),
    "a server whose credentials have none": (
        {SIDE: fwxClientSide, CREDS: TlsCredentials(authorities=roots()), DEFAULT: TlsCredentials()},
        E_INVALIDARG,
    ),
}


@pytest.mark.parametrize(("changes", "result"), BAD.values(), ids=BAD)
def test_bad_arguments(memory: MemoryFirewall, changes: dict[int, Any], result: int) -> None:
    arguments = [changes.get(position, each) for position, each in enumerate(GOOD)]
    assert code_of(memory.firewall.CreateSSLNetworkSocket, *arguments) == result


@pytest.mark.parametrize(
    ("name", "length", "asked"),
    [
        (SERVER, None, SERVER),
        ("Server.Example.", None, SERVER),
        (SERVER + ".more", len(SERVER), SERVER),
        ("bücher.example", None, "xn--bcher-kva.example"),
        ("127.0.0.1", None, None),
        ("::1", None, None),
    ],
)
def test_the_host_name(memory: MemoryFirewall, name: str, length: int | None, asked: str | None) -> None:
    """B4.16: it is sent as SNI, a literal address is not; a length cuts it."""
    leaf = certificates.authority().issue_cert(SERVER, "xn--bcher-kva.example", "127.0.0.1", "::1")
    under = memory_pair(memory.loop)
    arguments = (name, length, certificates.client(), None, fwxServerSide, GUID_NULL, 0, 0, False, under.left)
    client = memory.firewall.CreateSSLNetworkSocket(False, *arguments)
    server = towards_client(memory.firewall, under.right, shows(leaf))
    memory.loop.run()
    for socket in (client, server):
        info = sdk.tls_info(socket)
        assert info is not None
        assert info.server_name == asked


def test_the_adapter_makes_it(memory: MemoryFirewall) -> None:
    """B4.5: the third creator; DESIGN 4: the registry's multi-adapter named ssl, of the firewall and the parameters."""
    socket = towards_server(memory.firewall, None, certificates.client())
    assert type(socket) is FWXSSLSocket
    components = [each for each in memory.registry.components() if each.name == "ssl"]
    assert [(each.required, each.provided) for each in components] == [
        (("IFWXFirewall2", "ITlsParameters"), "IFWXNetworkSocket")
    ]


def test_the_com_face_takes_all_twelve(memory: MemoryFirewall) -> None:
    """B4.17: with the GUID and the existing socket; credentials pass as objects. B4.18: the result cannot connect."""
    under, cell = memory_pair(memory.loop), Ref[Any]()
    face = raw(memory.firewall, IFWXFirewall2)
    arguments = (0, SERVER, len(SERVER), certificates.client(), None, 1, GUID_NULL, 5, 6, 0, under.left)
    assert face.CreateSSLNetworkSocket(*arguments, cell) == S_OK
    assert IFWXNetworkSocket.providedBy(cell.value)
    socket = raw(cell.value, IFWXNetworkSocket)
    assert socket.Connect(SocketAddress("127.0.0.1", 1), 16) == E_NOTIMPL
    assert socket.Accept(Recorder(), 0) == E_NOTIMPL
    cell.value.Close(True)
