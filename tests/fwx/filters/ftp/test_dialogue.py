"""The conversation: what passes, what is refused with which reply, and in which order the client gets its replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.ftp.dialogue import MOST_WAITING, Dialogue, Rules
from fwx.filters.ftp.ports import PortRefusedError
from fwx.sdk import SocketAddress

SERVER, OUTSIDE, CLIENT = "192.0.2.80", "198.51.100.1", "192.0.2.1"


class Ports:
    """Opens any port of the server and of the client, and keeps a journal."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def passive(self, host: str, port: int) -> SocketAddress:
        self.calls.append(f"passive {host}:{port}")
        if host not in ("", SERVER):
            raise PortRefusedError("425 no", "foreign", is_attack=True)
        return SocketAddress(SERVER, port)

    def active(self, client: SocketAddress) -> SocketAddress:
        self.calls.append(f"active {client}")
        if client.host != CLIENT:
            raise PortRefusedError("504 no", "bounce", is_attack=True)
        return SocketAddress(OUTSIDE, 5001)

    def close(self) -> None:
        self.calls.append("close")


class Talk:
    """A dialogue with what it lets pass."""

    def __init__(self, **rules: object) -> None:
        self.ports = Ports()
        self.dialogue = Dialogue(Rules(**rules), self.ports)  # type: ignore[arg-type]
        self.dialogue.from_server(b"220 ready\r\n")
        self.taken()

    def taken(self) -> tuple[bytes, bytes]:
        """What is to be sent to the server and to the client."""
        self.dialogue.go_on()
        sent = bytes(self.dialogue.to_server), bytes(self.dialogue.to_client)
        self.dialogue.to_server.clear()
        self.dialogue.to_client.clear()
        return sent

    def client(self, data: bytes) -> tuple[bytes, bytes]:
        self.dialogue.from_client(data)
        return self.taken()

    def server(self, data: bytes) -> tuple[bytes, bytes]:
        self.dialogue.from_server(data)
        return self.taken()


def test_a_transfer() -> None:
    talk = Talk()
    assert talk.client(b"user ann\r\n") == (b"USER ann\r\n", b"")
    assert talk.server(b"331 password\r\n") == (b"", b"331 password\r\n")
    assert talk.client(b"PASS x y\r\n") == (b"PASS x y\r\n", b"")
    assert talk.server(b"230-hello\r\n 227 no\r\n230 in\r\n") == (b"", b"230-hello\r\n 227 no\r\n230 in\r\n")
    assert talk.client(b"PASV\r\n") == (b"PASV\r\n", b"")
    told = talk.server(b"227 I wait at 192,0,2,80,4,1\r\n")
    assert told == (b"", b"227 Entering Passive Mode (192,0,2,80,4,1).\r\n")
    assert talk.client(b"RETR file\r\n") == (b"RETR file\r\n", b"")
    assert talk.server(b"150 comes\r\n") == (b"", b"150 comes\r\n")
    assert talk.server(b"226 was it\r\n") == (b"", b"226 was it\r\n")
    assert talk.ports.calls == ["passive 192.0.2.80:1025"]
    assert (talk.dialogue.notes, talk.dialogue.remarks, talk.dialogue.over) == ([], [], False)


@pytest.mark.parametrize("line", [b"PORT 192,0,2,1,4,1\r\n", b"eprt |1|192.0.2.1|1025|\r\n"])
def test_active(line: bytes) -> None:
    """RFC 959 and 2428: the server hears of the firewall's port."""
    talk = Talk()
    assert talk.client(line) == (b"PORT 198,51,100,1,19,137\r\n", b"")
    assert talk.server(b"200 fine\r\n") == (b"", b"200 fine\r\n")
    assert talk.ports.calls == ["active 192.0.2.1:1025"]
    talk.client(line)
    talk.server(b"500 no\r\n")
    assert talk.ports.calls[1:] == ["active 192.0.2.1:1025", "close"]


def test_extended() -> None:
    talk = Talk()
    assert talk.client(b"EPSV ALL\r\n") == (b"EPSV ALL\r\n", b"")
    assert talk.server(b"200 fine\r\n") == (b"", b"200 fine\r\n")
    talk.client(b"EPSV 1\r\n")
    assert talk.server(b"229 there (!!!1025!)\r\n") == (b"", b"229 Entering Extended Passive Mode (|||1025|)\r\n")
    assert talk.ports.calls == ["passive :1025"]


def test_pipelining() -> None:
    """Commands keep their order, and so do replies, ours among them; a port waits for the replies before it."""
    talk = Talk()
    sent = talk.client(b"CWD a\r\nLPRT 4\r\nPASV\r\nRETR x\r\nPASV\r\nRETR y\r\nQUIT\r\n")
    assert sent == (b"CWD a\r\n", b"")
    assert talk.dialogue.held
    assert talk.server(b"250 there\r\n") == (b"PASV\r\nRETR x\r\n", b"250 there\r\n502 LPRT is not allowed here\r\n")
    talk.server(b"227 (192,0,2,80,4,1)\r\n")
    assert talk.server(b"150 x\r\n") == (b"", b"150 x\r\n")
    assert talk.server(b"226 x\r\n") == (b"PASV\r\nRETR y\r\nQUIT\r\n", b"226 x\r\n")
    talk.server(b"227 (192,0,2,80,4,2)\r\n")
    assert talk.server(b"150 y\r\n226 y\r\n221 bye\r\n") == (b"", b"150 y\r\n226 y\r\n221 bye\r\n")
    assert talk.ports.calls == ["passive 192.0.2.80:1025", "passive 192.0.2.80:1026"]


def test_abort() -> None:
    talk = Talk()
    talk.client(b"RETR x\r\n")
    talk.server(b"150 x\r\n")
    assert talk.client(b"\xff\xf4\xff\xf2ABOR\r\n") == (b"ABOR\r\n", b"")
    assert talk.server(b"426 cut\r\n226 fine\r\n") == (b"", b"426 cut\r\n226 fine\r\n")
    assert not talk.dialogue.notes


@pytest.mark.parametrize(
    ("line", "reply", "alarming"),
    [
        (b"PORT 192,0,2,9,4,1", b"504 no", True),
        (b"EPRT |1|192.0.2.9|1025|", b"504 no", True),
        (b"PORT 1,2,3", b"501 PORT needs h1,h2,h3,h4,p1,p2", False),
        (b"LPSV", b"502 LPSV is not allowed here", False),
        (b"cpsv", b"502 CPSV is not allowed here", False),
        (b"SITE EXEC ls", b"502 SITE is not allowed here", False),
        (b"XYZZY", b"500 Command unknown", False),
        (b"AUTH TLS", b"534 AUTH is not allowed here", False),
        (b"PROT P", b"503 PROT needs AUTH first", False),
        (b"STOR x", b"550 Permission denied, read only", False),
        (b"MDTM 20200101000000 x", b"550 Permission denied, read only", False),
        (b"", b"500 Command not understood", False),
    ],
)
def test_a_command_that_is_refused(line: bytes, reply: bytes, alarming: bool) -> None:
    """It is never passed on, and the conversation goes on."""
    data = line + b"\r\n"
    for place in range(len(data) + 1):
        talk = Talk(refused=frozenset({"SITE"}), read_only=True)
        first, second = talk.client(data[:place]), talk.client(data[place:])
        assert (first[0] + second[0], first[1] + second[1]) == (b"", reply + b"\r\n")
        assert (len(talk.dialogue.notes), len(talk.dialogue.remarks)) == (alarming, not alarming)
        assert talk.client(b"NOOP\r\n") == (b"NOOP\r\n", b"")


def test_unknown_verbs_by_option() -> None:
    talk = Talk(passes_unknown=True)
    assert talk.client(b"XYZZY a\r\n") == (b"XYZZY a\r\n", b"")
    assert talk.client(b"LPRT 4\r\n")[0] == b""


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"NOOP\nDELE x\r\n", b"500 Syntax error: a bare LF in a line\r\n"),
        (b"RETR a\rb\r\n", b"500 Syntax error: a bare CR in a line\r\n"),
        (b"RETR a\x00.txt\r\n", b"500 Syntax error: a NUL in a line\r\n"),
        (b"RETR " + b"x" * 5000, b"500 Syntax error: a line of more than 4096 bytes\r\n"),
    ],
)
def test_a_line_that_is_none(data: bytes, reply: bytes) -> None:
    talk = Talk()
    assert talk.client(data) == (b"", reply)
    assert talk.dialogue.over
    assert len(talk.dialogue.notes) == 1
    assert talk.client(b"\r\nNOOP\r\n") == (b"", b"")


def test_too_many() -> None:
    talk = Talk(errors=2)
    talk.client(b"XYZZY\r\n")
    assert talk.client(b"XYZZY\r\nNOOP\r\n") == (b"", b"421 Too many errors\r\n")
    assert talk.dialogue.over


def test_a_client_that_sends_and_sends() -> None:
    talk = Talk()
    sent, _ = talk.client(b"NOOP\r\n" * 3000)
    assert sent == b"NOOP\r\n" * MOST_WAITING
    assert talk.dialogue.held
    assert talk.server(b"200 fine\r\n") == (b"NOOP\r\n", b"200 fine\r\n")


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        (b"", b"227 (192,0,2,80,4,1)\r\n"),
        (b"NOOP\r\n", b"227 (192,0,2,80,4,1)\r\n"),
        (b"EPSV\r\n", b"227 (192,0,2,80,4,1)\r\n"),
        (b"PASV\r\n", b"229 (|||1025|)\r\n"),
        (b"PASV\r\n", b"200 fine\r\n"),
        (b"NOOP\r\n", b"234 go\r\n"),
        (b"NOOP\r\n", b"200 one\r\n200 two\r\n"),
        (b"NOOP\r\n", b"hello\r\n"),
        (b"NOOP\r\n", b"200 x\n"),
    ],
)
def test_a_server_that_is_out_of_order(asked: bytes, reply: bytes) -> None:
    talk = Talk()
    talk.client(asked)
    assert talk.server(reply)[1].endswith(b"421 The server is out of order\r\n")
    assert talk.dialogue.over
    assert talk.dialogue.notes[0].startswith("the server: ")
    assert talk.ports.calls == []


@pytest.mark.parametrize(
    ("reply", "alarming"), [(b"227 (192,0,2,9,4,1)", True), (b"227 nowhere", False), (b"227 (192,0,2,80,0,0)", False)]
)
def test_a_passive_port_that_is_refused(reply: bytes, alarming: bool) -> None:
    """The client hears of no port, and may go on."""
    talk = Talk()
    talk.client(b"PASV\r\n")
    _, told = talk.server(reply + b"\r\n")
    assert told.startswith(b"425 ")
    assert (len(talk.dialogue.notes), len(talk.dialogue.remarks)) == (alarming, not alarming)
    assert talk.client(b"NOOP\r\n") == (b"NOOP\r\n", b"")


FEATURES = b"211-Features:\r\n AUTH TLS\r\n EPRT\r\n MFMT\r\n PBSZ\r\n PROT\r\n SIZE\r\n211 End\r\n"


def test_features() -> None:
    """RFC 2389: what is refused is not offered."""
    talk = Talk(refused=frozenset({"EPRT"}), read_only=True)
    talk.client(b"FEAT\r\n")
    assert talk.server(FEATURES)[1] == b"211-Features:\r\n SIZE\r\n211 End\r\n"
    talk = Talk(passes_tls=True)
    talk.client(b"FEAT\r\n")
    assert talk.server(FEATURES)[1] == FEATURES


HELLO = b"\x16\x03\x01\x00\x05\n\n\r\x00"


def test_tls() -> None:
    talk = Talk(passes_tls=True)
    assert talk.client(b"AUTH GSSAPI\r\n") == (b"", b"504 AUTH is for TLS alone\r\n")
    assert talk.client(b"AUTH TLS\r\n") == (b"AUTH TLS\r\n", b"")
    assert talk.server(b"500 no\r\n") == (b"", b"500 no\r\n")
    assert talk.client(b"AUTH tls\r\n") == (b"AUTH tls\r\n", b"")
    assert talk.server(b"234 go\r\n") == (b"", b"234 go\r\n")
    assert talk.client(HELLO[:1]) == (b"", b"")
    assert not talk.dialogue.secured
    assert talk.client(HELLO[1:]) == (HELLO, b"")
    assert talk.dialogue.secured
    assert talk.dialogue.remarks[-1].startswith("AUTH: ")


@pytest.mark.parametrize("when", ["with", "behind", "after"])
def test_a_command_smuggled_in_before_tls(when: str) -> None:
    talk = Talk(passes_tls=True)
    sent = talk.client(b"AUTH TLS\r\n" + (b"DELE x\r\n" if when == "with" else b""))
    if when == "after":
        talk.server(b"234 go\r\n")
    if when != "with":
        sent = talk.client(b"DELE x\r\n")
    assert sent == (b"", b"503 Data behind AUTH\r\n")
    assert talk.dialogue.over


def test_a_server_that_goes_on_before_tls() -> None:
    talk = Talk(passes_tls=True)
    talk.client(b"AUTH TLS\r\n")
    assert talk.server(b"234 go\r\n227 (192,0,2,80,4,1)\r\n") == (b"", b"421 The server is out of order\r\n")
    talk = Talk(passes_tls=True)
    talk.client(b"AUTH TLS\r\n")
    talk.server(b"234 go\r\n")
    talk.server(b"200 x\r\n")
    assert talk.dialogue.over


SAID = [
    b"NOOP", b"PASV", b"EPSV", b"PORT 192,0,2,1,4,1", b"PORT 192,0,2,9,4,1", b"RETR x", b"AUTH TLS", b"\r\n", b"\r",
    b"\n", b"\x00", b"\xff\xf4", b"\xff", b" ", b"DELE x",
]  # fmt: skip
REPLIED = [
    b"200 x\r\n", b"227 (192,0,2,80,4,1)\r\n", b"227 (192,0,2,9,4,1)\r\n", b"229 (|||1025|)\r\n", b"150 x\r\n",
    b"230 x\r\n", b"\n", b"421 x\r\n", b"234 x\r\n", b"500 x\r\n",
]  # fmt: skip
steps = st.lists(
    st.one_of(
        st.tuples(st.just("client"), st.sampled_from(SAID)), st.tuples(st.just("server"), st.sampled_from(REPLIED))
    ),
    max_size=25,
)


@given(said=steps, passes_tls=st.booleans())
def test_whatever_is_said(said: list[tuple[str, bytes]], passes_tls: bool) -> None:
    """Only whole commands that were not refused reach the server; of a port only those hear that was opened."""
    talk = Talk(read_only=True, passes_tls=passes_tls)
    to_server = to_client = b""
    for side, data in said:
        if not talk.dialogue.secured and not talk.dialogue.over:
            one, other = getattr(talk, side)(data)
            to_server, to_client = to_server + one, to_client + other
    if not talk.dialogue.secured:
        assert to_server == b"" or to_server.endswith(b"\r\n")
        # An argument may say anything: pieces without an end of line make one.
        lines = to_server.split(b"\r\n")
        assert not [line for line in lines if line.startswith(b"DELE")]
        assert not [line for line in lines if line.startswith(b"PORT") and b"192,0,2" in line]
        assert not set(to_server.replace(b"\r\n", b"")) & set(b"\r\n\x00")
    assert b"192,0,2,9" not in to_client
    opened = sum(call.startswith("passive") for call in talk.ports.calls)
    assert to_client.count(b"227 ") + to_client.count(b"229 ") <= opened
