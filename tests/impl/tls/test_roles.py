"""Both sides of an SSL socket, names, sessions, and peers that speak no TLS (B4.16)."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from fwx import sdk
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.networks import Networks
from fwx.impl.policy import Policy
from fwx.impl.protocol import Protocol
from fwx.impl.tlscredentials import TlsCredentials
from fwx.interfaces import (
    fwxServerSide,
)
from fwx.interfaces.hresult import (
    WSAECONNABORTED,
)
from fwx.testing import MemoryFirewall, Recorder, memory_pair
from tests.impl.tls import certificates
from tests.impl.tls.certificates import SERVER, client_leaf, roots, shows
from tests.impl.tls.parts import UNDERNEATH, Conversation, Wire, towards_client, towards_server
from tests.impl.tls.test_clienthello import hello, records

VERSIONS = ("TLSv1.2", "TLSv1.3")


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


# ---- names, sessions, protocols --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_each_name_has_its_credentials(memory: MemoryFirewall, version: str) -> None:
    """SNI chooses certificate, ALPN and whether a client certificate is required, all of it."""
    strict = certificates.issued("strict.example")
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


def test_a_name_that_is_hidden_is_no_way_in(memory: MemoryFirewall, wire: Callable[[], Wire]) -> None:
    """A ClientHello in more pieces than are read meets the credentials for no name; OpenSSL then reads its name."""
    end = wire()
    base = certificates.server(names={"strict.example": certificates.server()})
    socket = towards_client(memory.firewall, end.socket, base)
    recorder = Recorder()
    socket.Recv(None, recorder, 0)
    end.peer.send(records(hello("strict.example"), 1))
    assert [(done.success, done.code) for done in recorder.calls] == [(False, WSAECONNABORTED)]
    assert end.peer.receive()[-2:] == b"\x02\x70", "the alert unrecognized_name"


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
