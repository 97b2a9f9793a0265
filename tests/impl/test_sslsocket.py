"""CreateSSLNetworkSocket and the sockets that it makes (B4.16 to B4.19)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from fwx import sdk
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.networks import Networks
from fwx.impl.policy import Policy, Protocol
from fwx.impl.raw import Ref, raw
from fwx.impl.sslsocket import FWXSSLSocket
from fwx.impl.tls import BLOCK
from fwx.impl.tlscredentials import TlsCredentials
from fwx.interfaces import (
    FWX_PROTOCOL_TCP,
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
    ERROR_OPERATION_ABORTED,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAECONNABORTED,
    WSAEINVAL,
    WSAENOTCONN,
    WSAENOTSOCK,
    WSAESHUTDOWN,
    WSAETIMEDOUT,
    COMError,
)
from fwx.testing import AttachingFilter, MemoryFirewall, Recorder, memory_pair
from tests.impl import certificates
from tests.impl.certificates import SERVER, client_leaf, roots, shows
from tests.impl.tlsparts import UNDERNEATH, Conversation, TwoWires, Wire, towards_client, towards_server

VERSIONS = ("TLSv1.2", "TLSv1.3")


@pytest.fixture
def memory() -> Iterator[MemoryFirewall]:
    memory = MemoryFirewall()
    yield memory
    memory.close()
    assert not memory.network.open_transports
    assert not memory.firewall._sockets
    assert not memory.faults


@pytest.fixture
def wire(memory: MemoryFirewall) -> Iterator[Callable[[], Wire]]:
    """Makes sockets of the service whose other end is the test's."""
    made: list[Wire] = []

    def make() -> Wire:
        made.append(Wire(memory))
        return made[-1]

    yield make
    memory.close()
    for each in made:
        each.peer.close()
    memory.loop.run()


@pytest.fixture
def talk() -> Iterator[Callable[..., Conversation]]:
    """Makes conversations; when the test is over nothing of them may be left."""
    made: list[Conversation] = []

    def make(*args: Any, **options: Any) -> Conversation:
        made.append(Conversation(*args, **options))
        made[-1].loop.run()
        return made[-1]

    yield make
    for each in made:
        each.close()
        assert not each.memory.network.open_transports
        assert not each.memory.firewall._sockets


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


def winsock(code: int) -> int:
    return HRESULT_FROM_WIN32(code)


# ---- the arguments ---------------------------------------------------------------------------------------------------

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
    """B4.17: with the GUID and the existing socket; the credentials go through as the objects that they are."""
    under, cell = memory_pair(memory.loop), Ref[Any]()
    face = raw(memory.firewall, IFWXFirewall2)
    arguments = (0, SERVER, len(SERVER), certificates.client(), None, 1, GUID_NULL, 5, 6, 0, under.left)
    assert face.CreateSSLNetworkSocket(*arguments, cell) == S_OK
    assert IFWXNetworkSocket.providedBy(cell.value)
    socket = raw(cell.value, IFWXNetworkSocket)
    assert socket.Connect(SocketAddress("127.0.0.1", 1), 16) == E_NOTIMPL
    assert socket.Accept(Recorder(), 0) == E_NOTIMPL
    cell.value.Close(True)


# ---- both sides ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_both_sides(talk: Callable[..., Conversation], version: str) -> None:
    """B4.16: ``fwxServerSide``, the side of the server, plays the TLS client; ``fwxClientSide`` the TLS server."""
    options = {"protocols": (version,), "alpn": ("http/1.1",)}
    made = talk(client=certificates.client(**options), server=certificates.server(**options))
    client, server = sdk.tls_info(made.client), sdk.tls_info(made.server)
    assert client is not None
    assert server is not None
    assert (client.version, client.alpn, client.server_name) == (version, "http/1.1", SERVER)
    assert (client.cipher, client.session_reused) == (server.cipher, False)
    assert (server.version, server.alpn, server.server_name) == (version, "http/1.1", SERVER)
    assert client.peer_certificate is not None, "the TLS client has seen the server's certificate"
    assert server.peer_certificate is None
    made.pair.send(made.client, b"request")
    assert made.pair.receive_all(made.server, 7) == b"request"


def test_nothing_is_known_before_the_handshake(memory: MemoryFirewall, wire: Callable[[], Wire]) -> None:
    end = wire()
    socket = towards_server(memory.firewall, end.socket, certificates.client())
    assert sdk.tls_info(socket) is None
    assert not sdk.ITls(socket).is_tunnel()  # type: ignore[call-arg]
    assert sdk.tls_info(towards_server(memory.firewall, None, certificates.client())) is None
    with pytest.raises(TypeError):
        sdk.tls_info(end.socket)


def test_default_credentials_stand_for_nobody(talk: Callable[..., Conversation]) -> None:
    """B4.16: they hold no user: the client role shows no certificate of theirs. The server role has to."""
    strict = certificates.server(authorities=roots())
    known = talk(client=shows(client_leaf(), authorities=roots()), server=strict, asks=True)
    nobody = Conversation.__new__(Conversation)
    nobody.memory, nobody.loop, nobody.under = known.memory, known.loop, memory_pair(known.loop)
    default = shows(client_leaf(), authorities=roots())
    client = towards_server(known.memory.firewall, nobody.under.left, None, default=default)
    server = towards_client(known.memory.firewall, nobody.under.right, None, asks=True, default=strict)
    known.loop.run()
    assert sdk.tls_info(known.server).peer_certificate is not None  # type: ignore[union-attr]
    assert sdk.tls_info(server).peer_certificate is None  # type: ignore[union-attr]
    assert sdk.tls_info(client) is not None
    nobody.under.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("asks", "requires", "shown", "known"),
    [
        (False, False, True, False),
        (True, False, True, True),
        (True, False, False, False),
        (False, True, True, True),
        (True, True, True, True),
    ],
)
def test_client_certificates(
    talk: Callable[..., Conversation], version: str, asks: bool, requires: bool, shown: bool, known: bool
) -> None:
    """B4.16: the client is asked for a certificate where the socket or its credentials say so."""
    options = {"authorities": roots(), "protocols": (version,)}
    server = certificates.server(require_client_certificate=requires, **options)
    made = talk(
        client=shows(client_leaf(), **options) if shown else TlsCredentials(**options), server=server, asks=asks
    )
    made.pair.send(made.client, b"hello")
    assert made.pair.receive_all(made.server, 5) == b"hello"
    info = sdk.tls_info(made.server)
    assert info is not None
    assert (info.peer_certificate is not None) == known


# ---- certificates that are refused -----------------------------------------------------------------------------------


def issued(*names: str, **options: Any) -> TlsCredentials:
    return shows(certificates.authority().issue_cert(*names, **options))


def self_signed() -> TlsCredentials:
    ca = certificates.stranger()
    return TlsCredentials(certificate=ca.cert_pem.bytes(), key=ca.private_key_pem.bytes())


REFUSED: dict[str, tuple[Callable[[], TlsCredentials], dict[str, Any], str]] = {
    "expired": (lambda: issued(SERVER, not_after=certificates.YESTERDAY), {}, "certificate has expired"),
    "not yet valid": (lambda: issued(SERVER, not_before=certificates.TOMORROW), {}, "certificate is not yet valid"),
    "another name": (lambda: issued("other.example"), {}, "Hostname mismatch"),
    "a wildcard for another label": (lambda: issued("*.server.example"), {}, "Hostname mismatch"),
    "another address": (lambda: issued("127.0.0.2"), {"host_name": "127.0.0.1"}, "IP address mismatch"),
    "an address for a name": (lambda: issued("127.0.0.1"), {}, "Hostname mismatch"),
    "self-signed": (self_signed, {}, "self-signed certificate"),
    "an unknown authority": (
        lambda: shows(certificates.stranger().issue_cert(SERVER)),
        {},
        "unable to get local issuer certificate",
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("server", "options", "words"), REFUSED.values(), ids=REFUSED)
def test_a_certificate_that_is_refused(
    talk: Callable[..., Conversation],
    server: Callable[[], TlsCredentials],
    options: dict[str, Any],
    words: str,
    version: str,
) -> None:
    """B4.16: the client role checks chain and name; both ends fail, the peer by the alert, and both are logged."""
    shown = server()
    pinned = TlsCredentials(certificate=shown.certificate, key=shown.key, protocols=(version,))
    made = talk(server=pinned, **options)
    client, server_end = made.outcomes()
    assert (client.success, client.code) == (False, WSAECONNABORTED)
    assert (server_end.success, server_end.code) == (False, WSAECONNABORTED)
    assert any(words in reason and "certificate verify failed" in reason for reason in made.reasons), made.reasons
    assert any("the peer's alert" in reason for reason in made.reasons), made.reasons
    assert {record.action for record in made.memory.records} == {Action.Failed}
    assert {record.resultcode for record in made.memory.records} == {int(winsock(WSAECONNABORTED))}
    assert len(made.memory.records) == 2
    recorder = Recorder()
    made.client.Send(FWXIOBuffer(b"late"), recorder, 1)
    made.client.Recv(None, recorder, 2)
    made.loop.run()
    assert [(done.tag, done.success, done.code) for done in recorder.calls] == [
        (1, False, WSAECONNABORTED),
        (2, False, WSAECONNABORTED),
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_that_is_too_weak_for_the_level(talk: Callable[..., Conversation], version: str) -> None:
    """trustme makes no key that OpenSSL's usual level refuses, so the level is raised; all its keys are below it."""
    made = talk(client=certificates.client(ciphers="DEFAULT@SECLEVEL=4", protocols=(version,)))
    assert [done.success for done in made.outcomes()] == [False, False]
    assert len(made.reasons) == 2


REFUSED_CLIENTS: dict[str, tuple[Callable[[], TlsCredentials], str]] = {
    "none": (certificates.client, "peer did not return a certificate"),
    "an unknown authority": (
        lambda: shows(certificates.stranger().issue_cert("me.example"), authorities=roots()),
        "unable to get local issuer certificate",
    ),
    "expired": (
        lambda: shows(
            certificates.authority().issue_cert("me.example", not_after=certificates.YESTERDAY), authorities=roots()
        ),
        "certificate has expired",
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("client", "words"), REFUSED_CLIENTS.values(), ids=REFUSED_CLIENTS)
def test_a_client_that_is_refused(
    talk: Callable[..., Conversation], client: Callable[[], TlsCredentials], words: str, version: str
) -> None:
    strict = certificates.server(authorities=roots(), require_client_certificate=True, protocols=(version,))
    made = talk(client=client(), server=strict)
    client_end, server_end = made.outcomes()
    assert (client_end.success, server_end.success) == (False, False)
    assert any(words in reason for reason in made.reasons), made.reasons


def test_what_is_accepted_only_when_it_is_asked_for(talk: Callable[..., Conversation]) -> None:
    for credentials, host_name, shown in (
        (certificates.client(check_host_name=False), None, issued("other.example")),
        (certificates.client(check_host_name=False), SERVER, issued("other.example")),
        (TlsCredentials(verify=False), None, self_signed()),
        (TlsCredentials(verify=False), SERVER, issued(SERVER, not_after=certificates.YESTERDAY)),
    ):
        made = talk(client=credentials, server=shown, host_name=host_name)
        assert sdk.tls_info(made.client) is not None


@pytest.mark.parametrize(
    ("client", "server", "words"),
    [
        ({"protocols": ("TLSv1.2",)}, {"protocols": ("TLSv1.3",)}, "unsupported protocol"),
        ({"protocols": ("TLSv1.3",)}, {"protocols": ("TLSv1.2",)}, "unsupported protocol"),
        (
            {"protocols": ("TLSv1.2",), "ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"},
            {"protocols": ("TLSv1.2",), "ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"},
            "no shared cipher",
        ),
    ],
)
def test_ends_that_have_nothing_in_common(
    talk: Callable[..., Conversation], client: dict[str, Any], server: dict[str, Any], words: str
) -> None:
    made = talk(client=certificates.client(**client), server=certificates.server(**server))
    assert [done.success for done in made.outcomes()] == [False, False]
    assert any(words in reason for reason in made.reasons), made.reasons


# ---- names, sessions, protocols --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_each_name_has_its_credentials(memory: MemoryFirewall, version: str) -> None:
    """SNI chooses certificate, ALPN and whether a client certificate is required, all of it."""
    strict = issued("strict.example")
    strict = TlsCredentials(
        certificate=strict.certificate,
        key=strict.key,
        authorities=roots(),
        require_client_certificate=True,
        protocols=(version,),
    )
    leaf = certificates.authority().issue_cert("any.wild.example")
    wild = shows(leaf, alpn=("wild",), protocols=(version,))
    base = certificates.server(names={"strict.example": strict, "*.wild.example": wild}, alpn=("base",))
    client = certificates.client(alpn=("base", "wild"), protocols=(version,))
    outcomes = {}
    for name in (SERVER, "any.wild.example", "strict.example"):
        under = memory_pair(memory.loop)
        socket = towards_server(memory.firewall, under.left, client, name)
        server = towards_client(memory.firewall, under.right, base)
        memory.loop.run()
        info = sdk.tls_info(server)
        outcomes[name] = None if info is None else info.alpn
        for each in (socket, server):
            each.Close(True)
        memory.loop.run()
    assert outcomes == {SERVER: "base", "any.wild.example": "wild", "strict.example": None}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("underneath", UNDERNEATH)
def test_a_session_is_resumed(version: str, underneath: str) -> None:
    client, server = certificates.client(protocols=(version,)), certificates.server(protocols=(version,))
    memory = MemoryFirewall()
    reused = []
    for _ in range(3):
        made = Conversation(UNDERNEATH[underneath], client=client, server=server, firewall=memory)
        made.pair.send(made.server, b"x")
        assert made.pair.receive_all(made.client, 1) == b"x"
        infos = [sdk.tls_info(made.client), sdk.tls_info(made.server)]
        reused.append([info is not None and info.session_reused for info in infos])
        for each in (made.client, made.server):
            each.Close(False)
        made.loop.run()
        made.under.close()
    assert reused == [[False, False], [True, True], [True, True]]
    memory.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("forgetful", ["client", "server"])
def test_no_session_is_resumed_where_one_end_does_not_want_it(version: str, forgetful: str) -> None:
    client = certificates.client(protocols=(version,), resume=forgetful != "client")
    server = certificates.server(protocols=(version,), resume=forgetful != "server")
    for _ in range(2):
        made = Conversation(client=client, server=server)
        made.pair.send(made.server, b"x")
        made.pair.receive_all(made.client, 1)
        info = sdk.tls_info(made.client)
        assert info is not None
        assert not info.session_reused
        made.client.Close(False)
        made.server.Close(False)
        made.loop.run()
        made.close()


def test_a_session_of_one_name_is_none_for_another(memory: MemoryFirewall) -> None:
    """A client that was let in under one name must not come in under another by resuming (RFC 6066, 3)."""
    strict = TlsCredentials(
        certificate=certificates.server().certificate,
        key=certificates.server().key,
        authorities=roots(),
        require_client_certificate=True,
    )
    base = certificates.server(names={"127-0-0-1.wild.example": strict})
    client = certificates.client(check_host_name=False)
    for name, comes_in in ((SERVER, True), ("127-0-0-1.wild.example", False)):
        session = client.session_for(SERVER, anonymous=False)
        if session is not None:
            client.keep_session(name, session, anonymous=False)
        under = memory_pair(memory.loop)
        left = towards_server(memory.firewall, under.left, client, name)
        right = towards_client(memory.firewall, under.right, base)
        memory.loop.run()
        assert (sdk.tls_info(right) is not None) == comes_in
        recorder = Recorder()
        left.Recv(None, recorder, 0)
        right.Send(FWXIOBuffer(b"x"), None, 0)
        memory.loop.run()
        for each in (left, right):
            each.Close(True)
        memory.loop.run()


def test_the_protocol_is_in_the_record(memory: MemoryFirewall, wire: Callable[[], Wire]) -> None:
    """B4.17: ProtocolGuid names the traffic."""
    protocol = Protocol("mail", uuid4(), ())
    memory.engine.policy = Policy(Networks((), memory.engine.policy._networks._local), (), (protocol,), ())
    end = wire()
    arguments = (SERVER, None, certificates.client(), None, fwxServerSide, protocol.guid, 0, 0, False, end.socket)
    memory.firewall.CreateSSLNetworkSocket(False, *arguments)
    end.peer.send(b"220 welcome\r\n")
    assert [record.application_protocol for record in memory.records] == ["mail"]


# ---- the stream ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_what_has_come_before_the_own_end_is_not_lost(version: str) -> None:
    """B3.25: OpenSSL throws away data that it meets while it sends close_notify; it must have been read before."""
    wires = TwoWires(certificates.client(protocols=(version,)), certificates.server(protocols=(version,)))
    wires.carry()
    received = Recorder()
    wires.client.Recv(FWXIOBuffer.allocated(1), received, 0)
    wires.memory.loop.run()
    wires.server.Send(FWXIOBuffer(b"0123456789" * 5000), None, 0)
    wires.carry()
    assert received.calls[0].data == b"0"
    wires.client.Shutdown(False)
    wires.carry()
    data = b"0"
    while len(data) < 50000:
        recorder = Recorder()
        wires.client.Recv(FWXIOBuffer.allocated(777), recorder, 0)
        wires.carry()
        assert recorder.calls[0].success
        data += recorder.calls[0].data
    assert data == b"0123456789" * 5000
    wires.server.Send(FWXIOBuffer(b"more"), None, 0)
    recorder = Recorder()
    wires.client.Recv(None, recorder, 0)
    wires.carry()
    assert recorder.calls[0].data == b"more"
    wires.server.Shutdown(False)
    ends = Recorder()
    wires.client.Recv(None, ends, 0)
    wires.server.Recv(None, ends, 1)
    wires.carry()
    assert [(done.success, done.data) for done in ends.calls] == [(True, b"")] * 2
    wires.client.Recv(None, ends, 2)
    wires.carry()
    assert (ends.calls[2].success, ends.calls[2].data) == (True, b"")
    wires.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_end_without_close_notify_is_a_failure(memory: MemoryFirewall, version: str) -> None:
    """RFC 8446 6.1: an attacker can cut the connection; only close_notify is the end."""
    wires = TwoWires(certificates.client(protocols=(version,)), certificates.server(protocols=(version,)), memory)
    wires.carry()
    recorder = Recorder()
    wires.server.Recv(None, recorder, 1)
    wires.client.Send(FWXIOBuffer(b"half a story"), None, 0)
    wires.carry()
    wires.right.peer.shutdown()
    wires.server.Recv(None, recorder, 2)
    wires.server.Recv(None, recorder, 3)
    memory.loop.run()
    assert [(done.tag, done.success, done.code) for done in recorder.calls] == [
        (1, True, 0),
        (2, False, WSAECONNABORTED),
        (3, False, WSAECONNABORTED),
    ]
    reason = "TLS failed: the peer ended the connection without close_notify"
    assert [record.reason for record in memory.records] == [reason]
    wires.close()


def test_close_sends_close_notify(memory: MemoryFirewall) -> None:
    """B3.26: what is queued, close_notify, the end; also when the handshake has not been done yet."""
    made = Conversation(firewall=memory)
    received = Recorder()
    made.client.Send(FWXIOBuffer(bytes(300000)), None, 0)
    made.client.Close(False)
    made.server.Recv(None, received, 0)
    made.loop.run()
    while received.calls[-1].data:
        made.server.Recv(None, received, 0)
        made.loop.run()
    assert sum(len(done.data) for done in received.calls) == 300000
    assert all(done.success for done in received.calls)
    made.server.Close(False)
    made.loop.run()
    made.under.close()


def test_close_before_the_handshake_says_nothing(memory: MemoryFirewall, wire: Callable[[], Wire]) -> None:
    end = wire()
    socket = towards_client(memory.firewall, end.socket, certificates.server())
    recorder = Recorder()
    socket.Recv(None, recorder, 0)
    memory.loop.run()
    socket.Close(False)
    assert end.peer.receive() == b""
    assert end.peer.ended
    assert [(done.success, done.code) for done in recorder.calls] == [(False, ERROR_OPERATION_ABORTED)]


def test_what_is_posted_after_the_end(memory: MemoryFirewall) -> None:
    made = Conversation(firewall=memory)
    made.loop.run()
    made.client.Shutdown(False)
    assert code_of(made.client.Send, FWXIOBuffer(b"x"), None, 0) == winsock(WSAESHUTDOWN)
    made.client.Close(False)
    assert code_of(made.client.Recv, None, Recorder(), 0) == winsock(WSAENOTSOCK)
    made.server.Close(True)
    made.loop.run()
    made.under.close()


def test_what_a_stopped_reader_costs(memory: MemoryFirewall) -> None:
    """Backpressure is end to end: nothing is received underneath that nobody asked for, and little is on its way."""
    made = Conversation(firewall=memory)
    made.loop.run()
    sent = Recorder()
    for number in range(8):
        made.client.Send(FWXIOBuffer(bytes(1 << 20)), sent, number)
    made.loop.run()
    assert not sent.calls
    layer = made.client._layer
    assert layer.sent == 2 * BLOCK
    assert layer.backlog == (8 << 20) - 2 * BLOCK
    assert made.server._layer.received == 0
    assert made.pair.receive_all(made.server, 8 << 20) == bytes(8 << 20)
    made.loop.run()
    assert [done.tag for done in sent.calls] == list(range(8))
    made.client.Close(True)
    made.server.Close(True)
    made.loop.run()
    made.under.close()


def test_empty_sends_complete_in_order(talk: Callable[..., Conversation]) -> None:
    made = talk()
    sent = Recorder()
    for number, data in enumerate((b"", b"a", b"", b"", b"b", b"")):
        made.client.Send(FWXIOBuffer(data), sent, number)
    assert made.pair.receive_all(made.server, 2) == b"ab"
    made.loop.run()
    assert [(done.tag, done.success) for done in sent.calls] == [(number, True) for number in range(6)]


# ---- time ------------------------------------------------------------------------------------------------------------


def test_a_handshake_has_a_deadline(memory: MemoryFirewall, wire: Callable[[], Wire]) -> None:
    end = wire()
    socket = towards_server(memory.firewall, end.socket, certificates.client())
    recorder = Recorder()
    socket.Send(FWXIOBuffer(b"x"), recorder, 1)
    socket.Recv(None, recorder, 2)
    memory.loop.advance(19.0)
    assert not recorder.calls
    memory.loop.advance(2.0)
    assert [(done.success, done.code) for done in recorder.calls] == [(False, WSAETIMEDOUT)] * 2
    assert [record.reason for record in memory.records] == ["the TLS handshake failed: it took too long"]
    end.peer.receive()
    assert end.peer.was_reset


def test_the_default_time_outs(memory: MemoryFirewall) -> None:
    """B4.16: they are those of every operation on the socket, in milliseconds; one that is up ends the connection."""
    made = Conversation(firewall=memory, send_timeout=0, recv_timeout=1500)
    recorder = Recorder()
    made.loop.run()
    made.client.Recv(None, recorder, "received")
    made.client.Send(FWXIOBuffer(bytes(4 << 20)), recorder, "sent")
    memory.loop.advance(1.4)
    assert not recorder.calls
    memory.loop.advance(0.2)
    assert {(done.tag, done.success, done.code) for done in recorder.calls} == {
        ("received", False, WSAETIMEDOUT),
        ("sent", False, WSAETIMEDOUT),
    }
    assert sdk.IFWXNetworkSocket.providedBy(made.client)
    made.server.Close(True)
    made.loop.run()
    made.under.close()


def test_a_send_that_nobody_takes(memory: MemoryFirewall) -> None:
    """B4.16: dwDefaultSendTimeout."""
    made = Conversation(firewall=memory, send_timeout=250)
    recorder = Recorder()
    made.client.Send(FWXIOBuffer(b"quick"), recorder, "quick")
    assert made.pair.receive_all(made.server, 5) == b"quick"
    made.client.Send(FWXIOBuffer(bytes(4 << 20)), recorder, "slow")
    memory.loop.advance(1)
    assert [(done.tag, done.success, done.code) for done in recorder.calls] == [
        ("quick", True, 0),
        ("slow", False, WSAETIMEDOUT),
    ]
    made.server.Close(True)
    made.loop.run()
    made.under.close()


def test_a_closed_socket_lingers_as_long_as_data_moves(memory: MemoryFirewall) -> None:
    made = Conversation(firewall=memory)
    made.loop.run()
    sent = Recorder()
    made.client.Send(FWXIOBuffer(bytes(4 << 20)), sent, 0)
    made.client.Close(False)
    memory.loop.advance(29.0)
    assert made.client in memory.firewall._sockets
    made.pair.receive_all(made.server, 600 << 10)
    memory.loop.advance(2.0)
    assert not sent.calls
    memory.loop.advance(31.0)
    assert made.client not in memory.firewall._sockets
    assert [(done.success, done.code) for done in sent.calls] == [(False, WSAETIMEDOUT)]
    made.server.Close(True)
    made.loop.run()
    made.under.close()


# ---- tunnelling ------------------------------------------------------------------------------------------------------


def test_a_tunnel_where_it_is_allowed(memory: MemoryFirewall, wire: Callable[[], Wire]) -> None:
    """B4.16: a client that speaks no TLS is passed through as it is, both ways, with its ends."""
    end = wire()
    socket = towards_client(memory.firewall, end.socket, certificates.server(), tunnel=True)
    recorder = Recorder()
    socket.Recv(None, recorder, 0)
    end.peer.send(b"SSH-2.0-client\r\n")
    assert recorder.calls[0].data == b"SSH-2.0-client\r\n"
    assert sdk.tls_info(socket) is None
    assert sdk.ITls(socket).is_tunnel()  # type: ignore[call-arg]
    socket.Send(FWXIOBuffer(b"SSH-2.0-server\r\n"), recorder, 1)
    assert end.peer.receive() == b"SSH-2.0-server\r\n"
    socket.Shutdown(False)
    assert end.peer.receive() == b""
    assert end.peer.ended
    end.peer.send(b"more")
    end.peer.shutdown()
    for wanted in (b"more", b"", b""):
        socket.Recv(FWXIOBuffer.allocated(10), recorder, 2)
        memory.loop.run()
        assert (recorder.calls[-1].success, recorder.calls[-1].data) == (True, wanted)
    assert not memory.records


def test_no_tunnel_where_it_is_not_allowed(memory: MemoryFirewall, wire: Callable[[], Wire]) -> None:
    end = wire()
    socket = towards_client(memory.firewall, end.socket, certificates.server())
    recorder = Recorder()
    socket.Recv(None, recorder, 0)
    end.peer.send(b"SSH-2.0-client\r\n")
    assert [(done.success, done.code) for done in recorder.calls] == [(False, WSAECONNABORTED)]
    assert end.peer.receive() == b""
    assert end.peer.ended
    assert [record.reason for record in memory.records] == ["the TLS handshake failed: wrong version number"]


def test_tls_where_a_tunnel_is_allowed(talk: Callable[..., Conversation]) -> None:
    """In the client role it changes nothing: a server that speaks no TLS is refused."""
    made = talk(tunnel=True)
    made.pair.send(made.client, b"hello")
    assert made.pair.receive_all(made.server, 5) == b"hello"
    assert sdk.tls_info(made.server) is not None
    wire = Wire(made.memory)
    socket = towards_server(made.memory.firewall, wire.socket, certificates.client(), tunnel=True)
    recorder = Recorder()
    socket.Recv(None, recorder, 0)
    wire.peer.send(b"220 welcome\r\n")
    assert (recorder.calls[0].success, recorder.calls[0].code) == (False, WSAECONNABORTED)
    wire.peer.close()


def test_a_tunnel_that_ends_before_it_began(memory: MemoryFirewall, wire: Callable[[], Wire]) -> None:
    for names in ({}, {"a.example": certificates.server()}):
        end = wire()
        credentials = certificates.server(names=names)
        socket = towards_client(memory.firewall, end.socket, credentials, tunnel=True)
        recorder = Recorder()
        socket.Recv(None, recorder, 0)
        memory.loop.run()
        end.peer.shutdown()
        assert [(done.success, done.code) for done in recorder.calls] == [(False, WSAECONNABORTED)]
        assert memory.records[-1].reason.endswith("the peer ended the connection during the handshake")


# ---- without a socket underneath, and with one that is a network socket ----------------------------------------------


def test_bind_and_listen_take_part_in_packet_filtering(memory: MemoryFirewall) -> None:
    """B4.21: the port is open from Listen to Close, as of every network socket."""
    socket = towards_client(memory.firewall, None, certificates.server())
    socket.Bind(SocketAddress("127.0.0.1"), None, None)
    assert not len(memory.packet_filter)
    socket.Listen(5)
    opening = next(iter(memory.packet_filter))
    assert (opening.protocol, opening.local, opening.remote) == (FWX_PROTOCOL_TCP, socket.GetSockName(), None)
    socket.SetSockOpt(0xFFFF, 0x0008, (1).to_bytes(4, "little"))
    assert socket.GetSockOpt(0xFFFF, 0x0008) == (1).to_bytes(4, "little")
    ip_filter = memory.firewall.CreateIpFilter()
    socket.SetIpFilter(ip_filter)
    assert socket.GetIpFilter() is not None
    socket.Close(False)
    assert not len(memory.packet_filter)


def test_a_socket_that_was_bound_ends_with_the_service(memory: MemoryFirewall) -> None:
    socket = towards_client(memory.firewall, None, certificates.server())
    socket.Bind(SocketAddress("127.0.0.1"), None, None)
    socket.Listen(5)
    memory.firewall.close_sockets()
    assert not len(memory.packet_filter)


def test_names_and_options_are_those_of_the_network_socket_underneath(memory: MemoryFirewall) -> None:
    listener = memory.network.listen(SocketAddress("192.0.2.9", 443))
    under = memory.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    under.Connect(SocketAddress("192.0.2.9", 443))
    memory.loop.run()
    socket = towards_server(memory.firewall, under, certificates.client(), recv_timeout=7)
    assert socket.GetPeerName() == under.GetPeerName()
    assert socket.GetSockName() == under.GetSockName()
    socket.SetSockOpt(0xFFFF, 0x0008, (1).to_bytes(4, "little"))
    assert under.GetSockOpt(0xFFFF, 0x0008) == socket.GetSockOpt(0xFFFF, 0x0008) == (1).to_bytes(4, "little")
    assert socket.GetSockOpt(0xFFFF, 0x1006) == (7).to_bytes(4, "little"), "SO_RCVTIMEO is the SSL socket's own"
    assert under.GetSockOpt(0xFFFF, 0x1006) == bytes(4)
    socket.SetIpFilter(memory.firewall.CreateIpFilter())
    assert under.GetIpFilter() is not None
    assert socket.GetIpFilter() is not None
    socket.SetIpFilter(None)
    assert under.GetIpFilter() is None
    socket.Close(True)
    memory.loop.run()
    listener.close(False)
    assert under not in memory.firewall._sockets, "it is closed with the socket above"


def test_a_filters_socket_has_no_names_and_no_options(talk: Callable[..., Conversation]) -> None:
    made = talk()
    assert code_of(made.client.GetSockName) == winsock(WSAEINVAL)
    assert code_of(made.client.GetPeerName) == winsock(WSAENOTCONN)
    assert code_of(made.client.SetSockOpt, 0xFFFF, 0x0008, bytes(4)) == winsock(WSAENOTCONN)
    assert code_of(made.client.GetSockOpt, 0xFFFF, 0x0008) == winsock(WSAENOTCONN)
    assert code_of(made.client.SetIpFilter, made.memory.firewall.CreateIpFilter()) == winsock(WSAENOTCONN)
    made.client.SetIpFilter(None)
    assert made.client.GetIpFilter() is None


def test_a_socket_that_still_connects(memory: MemoryFirewall) -> None:
    """The handshake waits for the connection; a connection that fails fails what was posted."""
    under = memory.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    under.Connect(SocketAddress("192.0.2.9", 443))
    socket = towards_server(memory.firewall, under, certificates.client())
    recorder = Recorder()
    socket.Send(FWXIOBuffer(b"x"), recorder, 0)
    memory.loop.run()
    assert [(done.success, done.code) for done in recorder.calls] == [(False, 10061)]
    unconnected = memory.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    socket = towards_server(memory.firewall, unconnected, certificates.client())
    socket.Recv(None, recorder, 0)
    memory.loop.run()
    assert (recorder.calls[1].success, recorder.calls[1].code) == (False, WSAENOTCONN)
    under.Close(True)


# ---- between filters, and with the service ---------------------------------------------------------------------------


class Holder(sdk.DataPump):
    """A data filter that lays TLS over its external socket, and holds both."""

    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> None:
        self.plain = piInternalSocket
        self.secure = towards_server(self.firewall, pIExternalSocket, certificates.client())
        self.received = Recorder()
        self.secure.Recv(None, self.received, 0)

    firewall: Any


def test_it_ends_with_the_connection_underneath(memory: MemoryFirewall) -> None:
    holder = Holder()
    holder.firewall = memory.firewall
    memory.start(lambda: AttachingFilter(lambda: holder))
    client, server = memory.open().established()
    memory.end_connections()
    assert [done.success for done in holder.received.calls] == [False]
    assert holder.secure not in memory.firewall._sockets
    client.close()
    server.close()


def test_it_ends_with_the_service(memory: MemoryFirewall) -> None:
    made = Conversation(firewall=memory)
    made.loop.run()
    recorder = Recorder()
    made.client.Recv(None, recorder, 0)
    made.server.Send(FWXIOBuffer(bytes(4 << 20)), recorder, 1)
    made.server.Close(False)
    memory.firewall.close_sockets()
    memory.loop.run()
    assert sorted((done.tag, done.success) for done in recorder.calls) == [(0, False), (1, False)]
    made.under.close()


def test_a_completion_that_fails_resets_the_connection() -> None:
    memory = MemoryFirewall()
    made = Conversation(firewall=memory)

    def fail(done: Any) -> None:
        raise RuntimeError("a bug of the filter")

    other = Recorder()
    made.client.Recv(None, Recorder(fail), 0)
    made.server.Recv(None, other, 0)
    made.server.Send(FWXIOBuffer(b"x"), None, 0)
    memory.loop.run()
    assert any("RuntimeError" in each for each in memory.faults)
    assert [done.success for done in other.calls] == [False]
    made.close()
