"""The filter in a firewall in memory, with real files: control and data connections of one client."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwx import sdk
from fwx.filter_loader import FilterOptionsError, make_filter
from fwx.filters.exe_block import ExeBlock
from fwx.filters.exe_block.port import ARRIVAL_SECONDS
from fwx.filters.exe_block.ports import UNUSED_SECONDS
from fwx.filters.ftp import FtpFilter
from fwx.impl.connection import FWXConnection
from fwx.testing import MemoryConnection, MemoryFirewall, Playbook
from fwx.testing.memory import MemoryPeer
from fwx.testing.sockets import CLIENT, SERVER

DATA = SERVER.with_port(1025)
EXTENDED = b"229 Entering Extended Passive Mode (|||1025|)\r\n"
WAITS = b"227 Entering Passive Mode (%s,4,1).\r\n" % SERVER.host.replace(".", ",").encode()
BEGINS, ENDS = b"150 here it comes\r\n", b"226 that was it\r\n"
REFUSED = b"550 Programs are not allowed here\r\n"
TEXT, PROGRAM = b"some text\r\n" * 20000, b"MZ" + bytes(100000)


class Talk:
    """A control connection; each step checks that nothing else was said."""

    def __init__(self, opened: MemoryConnection) -> None:
        self.client, self.server = opened.established()
        self.replies(b"220 files\r\n")

    def says(self, line: bytes) -> None:
        self.client.send(line)
        assert self.server.receive() == line

    def replies(self, reply: bytes, heard: bytes | None = None) -> None:
        self.server.send(reply)
        assert self.client.receive() == (reply if heard is None else heard)

    def asks(self, line: bytes, reply: bytes) -> None:
        self.says(line)
        self.replies(reply)

    def retrieves(self, line: bytes = b"RETR x\r\n") -> None:
        """Ask for a file, whose data connection is there: the client hears nothing until something has come."""
        self.says(line)
        self.replies(BEGINS, b"")

    def passive(self) -> None:
        self.asks(b"EPSV\r\n", EXTENDED)


@pytest.fixture
def start(fwx_firewall: MemoryFirewall, tmp_path: Path) -> Callable[..., Talk]:
    """Start the filter, others before it, and open a control connection."""

    def start(*before: type, user: str = "", **options: Any) -> Talk:
        for each in before:
            fwx_firewall.start(lambda each=each: make_filter(each, {}), each.__name__)
        given = {"folder": str(tmp_path), **options}
        host = fwx_firewall.start(lambda: make_filter(ExeBlock, given), "exe-block")
        assert host.state == "ready", host.reason
        return Talk(fwx_firewall.open(user=user))

    return start


@pytest.fixture
def data(fwx_firewall: MemoryFirewall) -> Callable[..., tuple[MemoryPeer, MemoryPeer]]:
    return lambda target=DATA: fwx_firewall.open(target).established()


def give(server: MemoryPeer, content: bytes, size: int = 60000) -> None:
    """Send a file over a data connection, as far as it is taken, and end it."""
    with contextlib.suppress(ConnectionResetError):
        for place in range(0, len(content), size):
            server.send(content[place : place + size])
    server.shutdown()


def test_a_file_passes(start: Any, data: Any, fwx_firewall: MemoryFirewall) -> None:
    """B12.1, B1.28: not a byte before all of it has come; then all of it, and the reply that ends the transfer."""
    talk = start()
    talk.passive()
    client, server = data()
    talk.retrieves(b"RETR notes\r\n")
    server.send(TEXT[:3])
    assert talk.client.receive() == b""
    server.send(TEXT[3:])
    assert talk.client.receive() == BEGINS
    assert client.receive() == b""
    talk.replies(ENDS, b"")
    server.shutdown()
    assert client.receive() == TEXT
    assert client.ended
    assert talk.client.receive() == ENDS
    client.close()
    assert [record.filters for record in fwx_firewall.records] == ["exe-block"]
    assert fwx_firewall.alerts == []


@pytest.mark.parametrize("last", [ENDS, b"426 the connection was reset\r\n"])
@pytest.mark.parametrize("content", [PROGRAM, b"MZ", b"ZM" + TEXT, b"\x7fELF\x02"])
def test_a_program_is_refused(
    start: Any, data: Any, fwx_firewall: MemoryFirewall, tmp_path: Path, content: bytes, last: bytes
) -> None:
    """B12.1: the client gets no byte of it, and a reply that is a refusal, whatever the server says."""
    talk = start()
    talk.passive()
    client, server = data()
    talk.retrieves(b"RETR setup.exe\r\n")
    give(server, content)
    assert client.receive() == b""
    assert (client.ended, client.was_reset) == (True, False)
    talk.replies(last, REFUSED)
    client.close()
    talk.client.close()
    assert list(tmp_path.iterdir()) == []
    for record in fwx_firewall.records:
        assert "exe-block: RETR setup.exe: a" in record.reason
    (alert,) = fwx_firewall.alerts
    assert (alert.event, alert.key) == ("Program blocked", CLIENT.host)
    assert alert.message.startswith(f"client {CLIENT.host}: RETR setup.exe: a")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cuts=st.lists(st.integers(1, 6), max_size=4), is_program=st.booleans())
def test_however_the_first_bytes_come(tmp_path: Path, cuts: list[int], is_program: bool) -> None:
    memory = MemoryFirewall()
    try:
        memory.start(lambda: make_filter(ExeBlock, {"folder": str(tmp_path)}))
        talk = Talk(memory.open())
        talk.passive()
        client, server = memory.open(DATA).established()
        talk.retrieves()
        content = b"\x7fELF is a program" if is_program else b"\x7fELS is none, MZ"
        place = 0
        for cut in [*cuts, len(content)]:
            server.receive()
            if not server.was_reset:
                server.send(content[place : place + cut])
            place += cut
        server.shutdown()
        assert client.receive() == (b"" if is_program else content)
        assert client.ended
        assert memory.faults == ()
    finally:
        memory.close()


CLIENT_SAYS = [b"RETR x", b"XRETR x", b"ABOR", b"NOOP", b"REST 0", b"TYPE I", b"QUIT", b"RETR x\r\nABOR"]
SERVER_SAYS = [
    BEGINS,
    ENDS,
    b"200 ok\r\n",
    b"350 ok\r\n",
    b"425 no\r\n",
    b"426 ",
    b"no\r\n",
    b"550 no\r\n",
    b"22",
    b"6 x\r\n",
]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("client"), st.sampled_from(CLIENT_SAYS)),
        st.tuples(st.just("server"), st.sampled_from(SERVER_SAYS)),
        st.tuples(st.just("connect"), st.just(b"")),
        st.tuples(st.just("data"), st.sampled_from([b"M", b"MZ", b"Z is more"])),
        st.tuples(st.sampled_from(["client ends", "data ends", "data resets", "time"]), st.just(b"")),
    ),
    max_size=14,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(happens=steps)
def test_whatever_happens_no_program_arrives(tmp_path: Path, happens: list[tuple[str, bytes]]) -> None:
    """What the server sends over the data port never begins with MZ at the client, and nothing is left."""
    memory = MemoryFirewall()
    try:
        memory.start(lambda: make_filter(ExeBlock, {"folder": str(tmp_path)}))
        talk = Talk(memory.open())
        talk.passive()
        made: list[tuple[MemoryPeer, MemoryPeer]] = []
        for what, piece in [("connect", b""), *happens]:
            # Who has been reset, or has ended, cannot go on.
            with contextlib.suppress(OSError):
                happen(what, piece, memory, talk, made)
        for client, server in made:
            with contextlib.suppress(OSError):
                server.shutdown()
            assert not client.receive().startswith(b"MZ")
        assert memory.faults == ()
    finally:
        memory.close()
    assert held(tmp_path) == []


def happen(
    what: str, piece: bytes, memory: MemoryFirewall, talk: Talk, made: list[tuple[MemoryPeer, MemoryPeer]]
) -> None:
    match what:
        case "client":
            talk.client.send(piece + b"\r\n")
        case "server":
            talk.server.send(piece)
        case "client ends":
            talk.client.shutdown()
        case "time":
            memory.loop.advance(ARRIVAL_SECONDS)
        case "connect":
            opened = memory.open(DATA)
            if opened.server is not None:
                made.append(opened.established())
        case "data" if made:
            made[-1][1].send(piece)
        case "data ends" if made:
            made[-1][1].shutdown()
        case "data resets" if made:
            made[-1][1].reset()


@pytest.mark.parametrize("verb", [b"LIST", b"NLST", b"MLSD"])
def test_a_listing_is_no_file(start: Any, data: Any, verb: bytes) -> None:
    """A folder may hold a file whose name begins so."""
    talk = start()
    talk.passive()
    client, server = data()
    talk.asks(verb + b"\r\n", BEGINS)
    server.send(b"MZ.txt\r\n")
    assert client.receive() == b"MZ.txt\r\n"
    talk.replies(ENDS)
    server.shutdown()
    assert client.receive() == b""
    assert client.ended


def test_a_listing_does_not_cover_a_file(start: Any, data: Any) -> None:
    """All that was asked for over one port counts, not what came first or last."""
    talk = start()
    talk.passive()
    client, server = data()
    talk.asks(b"LIST nowhere\r\n", b"450 no such folder\r\n")
    talk.retrieves()
    give(server, PROGRAM)
    assert client.receive() == b""
    talk.replies(ENDS, REFUSED)


@pytest.mark.parametrize("order", ["before", "after"])
def test_data_before_the_client_asks(start: Any, data: Any, order: str) -> None:
    """Nothing is known of it, so it is held."""
    talk = start()
    talk.passive()
    client, server = data()
    if order == "before":
        server.send(b"MZ")
    talk.says(b"XRETR x\r\n")
    # Nobody knows whether the client has to send something first.
    talk.replies(BEGINS, b"" if order == "before" else None)
    if order == "after":
        server.send(b"MZ")
    assert client.receive() == b""
    talk.replies(ENDS, REFUSED)


def test_each_transfer_has_its_own_verdict(start: Any, data: Any, fwx_firewall: MemoryFirewall) -> None:
    talk = start()
    for content in (TEXT, PROGRAM, TEXT):
        talk.passive()
        client, server = data()
        talk.retrieves()
        give(server, content)
        passes = content == TEXT
        assert client.receive() == (content if passes else b"")
        talk.replies(ENDS, BEGINS + ENDS if passes else REFUSED)
        client.close()
        server.close()
    assert len(fwx_firewall.engine.factories) == 1


def test_one_transfer_at_a_time(start: Any, data: Any) -> None:
    """What a client sends ahead reaches the server when the reply before is there."""
    talk = start()
    talk.client.send(b"EPSV\r\nRETR a\r\nEPSV\r\nRETR b\r\n")
    assert talk.server.receive() == b"EPSV\r\n"
    for more in (b"EPSV\r\n", b""):
        talk.replies(EXTENDED)
        assert talk.server.receive().startswith(b"RETR ")
        client, server = data()
        talk.replies(BEGINS, b"")
        give(server, PROGRAM)
        talk.replies(ENDS, REFUSED)
        assert talk.server.receive() == more
        client.close()
        server.close()


def test_the_reply_overtakes_the_data_connection(start: Any, data: Any, fwx_firewall: MemoryFirewall) -> None:
    talk = start()
    talk.passive()
    talk.asks(b"RETR x\r\n", BEGINS)
    talk.replies(ENDS, b"")
    _, server = data()
    assert talk.client.receive() == b""
    give(server, PROGRAM)
    assert talk.client.receive() == REFUSED
    talk.asks(b"EPSV\r\n", EXTENDED)
    talk.asks(b"RETR y\r\n", BEGINS)
    talk.replies(ENDS, b"")
    fwx_firewall.loop.advance(ARRIVAL_SECONDS)
    assert talk.client.receive() == ENDS  # there was none


def test_a_data_connection_that_is_not_made(start: Any, fwx_firewall: MemoryFirewall) -> None:
    talk = start()
    talk.passive()
    talk.asks(b"RETR x\r\n", BEGINS)
    assert fwx_firewall.open(DATA, answers=False).server is None
    talk.replies(b"425 nobody came\r\n")
    talk.asks(b"NOOP\r\n", b"200 ok\r\n")


def test_an_empty_file(start: Any, data: Any) -> None:
    talk = start()
    talk.passive()
    client, server = data()
    talk.retrieves()
    server.shutdown()
    assert client.receive() == b""
    assert client.ended
    talk.replies(ENDS, BEGINS + ENDS)


@pytest.mark.parametrize("who", ["client", "server", "control"])
def test_an_end_in_the_middle(start: Any, data: Any, fwx_firewall: MemoryFirewall, tmp_path: Path, who: str) -> None:
    """Nothing is left of the file, and nothing of it arrives that was not whole."""
    talk = start()
    talk.passive()
    client, server = data()
    talk.retrieves()
    server.send(TEXT)
    assert talk.client.receive() == BEGINS
    if who == "control":
        talk.client.reset()
        server.shutdown()
        assert client.receive() == TEXT
    else:
        (client if who == "client" else server).reset()
        other = server if who == "client" else client
        assert other.receive() == b""
        assert other.was_reset
        talk.replies(b"426 reset\r\n")
    assert list(tmp_path.iterdir()) == []


def test_a_port_of_another_server(start: Any, data: Any) -> None:
    """The same port of another server is none of its business, and passes."""
    talk = start()
    talk.passive()
    client, server = data(sdk.SocketAddress("198.51.100.9", 1025))
    server.send(b"MZ")
    assert client.receive() == b"MZ"
    talk.asks(b"NOOP\r\n", b"200 ok\r\n")


@pytest.mark.parametrize(
    ("control", "data"), [("198.51.100.1", "::ffff:198.51.100.1"), ("::ffff:198.51.100.1", "198.51.100.1")]
)
def test_the_same_server_by_its_other_address(
    start: Any, fwx_firewall: MemoryFirewall, control: str, data: str
) -> None:
    """An IPv4 address in IPv6 leads to the same server."""
    start()
    talk = Talk(fwx_firewall.open(sdk.SocketAddress(control, 21)))
    talk.passive()
    client, server = fwx_firewall.open(sdk.SocketAddress(data, 1025)).established()
    talk.retrieves()
    give(server, PROGRAM)
    assert client.receive() == b""
    talk.replies(ENDS, REFUSED)


@pytest.mark.parametrize("port", [SERVER.port, DATA.port])
def test_behind_an_upstream(start: Any, data: Any, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """The address there is one of the upstream's: nobody knows where it leads, so what comes is looked at."""
    monkeypatch.setattr(FWXConnection, "upstream", property(lambda each: "other" if each.target.port == port else ""))
    talk = start()
    talk.passive()
    client, server = data(sdk.SocketAddress("198.51.100.9", 1025))
    talk.retrieves()
    give(server, PROGRAM)
    assert client.receive() == b""
    talk.replies(ENDS, REFUSED)


def test_no_low_port_is_watched(start: Any, fwx_firewall: MemoryFirewall) -> None:
    """A server that names a third party's port 443 would have all that clients fetch there held."""
    talk = start()
    talk.says(b"PASV\r\n")
    talk.replies(b"227 here (198,51,100,9,1,187)\r\n", b"425 Can't open data connection\r\n")
    talk.client.send(b"RETR x\r\n")
    assert (talk.client.receive(), talk.server.receive()) == (b"425 Use PORT or PASV first\r\n", b"")
    (alert,) = fwx_firewall.alerts
    assert alert.event == "File not looked at"
    assert alert.message.endswith("reply 227: port 443 of the server is below 1024")


def test_a_data_connection_as_somebody_else(start: Any, fwx_firewall: MemoryFirewall) -> None:
    """B2.42: the sessions of one client are told apart by user, and it need not be the same."""
    talk = start(user="ann")
    talk.passive()
    client, server = fwx_firewall.open(DATA, user="bob").established()
    talk.retrieves()
    give(server, PROGRAM)
    assert client.receive() == b""
    talk.replies(ENDS, REFUSED)


def test_a_server_with_an_ipv6_address(start: Any, fwx_firewall: MemoryFirewall) -> None:
    """B2.40: SetDataFilterFactory knows IPv4 addresses alone; the port is enough."""
    start()
    talk = Talk(fwx_firewall.open(sdk.SocketAddress("2001:db8::1", 21)))
    talk.passive()
    client, server = fwx_firewall.open(sdk.SocketAddress("2001:db8::1", 1025)).established()
    talk.retrieves()
    give(server, PROGRAM)
    assert client.receive() == b""
    talk.replies(ENDS, REFUSED)


def test_the_control_connection_ends_before_the_data_connection(
    start: Any, data: Any, fwx_firewall: MemoryFirewall
) -> None:
    """A transfer that was asked for is watched for a minute more; a port that was not used, no longer."""
    talk = start()
    talk.passive()
    talk.client.reset()
    assert len(fwx_firewall.engine.factories) == 0
    keeps = fwx_firewall.open(SERVER.with_port(9))
    talk = Talk(fwx_firewall.open())
    talk.passive()
    talk.says(b"RETR x\r\n")
    talk.client.reset()
    client, server = data()
    give(server, PROGRAM)
    assert client.receive() == b""
    fwx_firewall.loop.advance(UNUSED_SECONDS)
    assert len(fwx_firewall.engine.factories) == 0
    keeps.client.reset()


@pytest.mark.parametrize("who", ["name", "address", "network", "nobody"])
def test_who_is_exempt(start: Any, data: Any, who: str, fwx_firewall: MemoryFirewall) -> None:
    """B12.1: by name who has one, by address who has none."""
    options = {
        "name": {"exempt_users": ["ann", "bea"]},
        "address": {"exempt_addresses": [CLIENT.host]},
        "network": {"exempt_addresses": ["2001:db8::/32", "192.0.2.0/24"]},
        "nobody": {"exempt_users": ["anna"], "exempt_addresses": ["192.0.3.0/24"]},
    }[who]
    talk = start(user="ann", **options)
    talk.passive()
    client, server = fwx_firewall.open(DATA, user="ann").established()
    talk.says(b"RETR x\r\n")
    talk.replies(BEGINS, b"" if who == "nobody" else None)
    give(server, b"MZ...")
    assert client.receive() == (b"" if who == "nobody" else b"MZ...")
    talk.replies(ENDS, REFUSED if who == "nobody" else ENDS)


def test_an_upload_passes(start: Any, data: Any) -> None:
    talk = start()
    talk.passive()
    client, server = data()
    talk.asks(b"STOR setup.exe\r\n", BEGINS)
    client.send(b"MZ")
    assert server.receive() == b"MZ"
    client.shutdown()
    server.shutdown()
    talk.replies(ENDS)


@pytest.mark.parametrize("content", [TEXT, PROGRAM])
def test_an_upload_that_is_looked_at(start: Any, data: Any, fwx_firewall: MemoryFirewall, content: bytes) -> None:
    talk = start(uploads=True)
    talk.client.send(b"APPE x\r\n")
    assert talk.client.receive() == b"502 APPE is not allowed here\r\n"
    talk.passive()
    client, server = data()
    client.send(content[:2])  # before anybody knows what it is for
    talk.says(b"STOR x\r\n")
    talk.replies(BEGINS, BEGINS if content == TEXT else b"")
    if content == TEXT:
        client.send(content[2:])
        client.shutdown()
        assert server.receive() == content
        server.shutdown()
        talk.replies(ENDS)
    else:
        assert server.receive() == b""
        assert server.was_reset
        assert client.receive() == b""
        assert client.was_reset
        talk.replies(b"426 reset\r\n", REFUSED)
        assert [alert.event for alert in fwx_firewall.alerts] == ["Program blocked"]


def test_the_largest_file(start: Any, data: Any, fwx_firewall: MemoryFirewall) -> None:
    talk = start(largest=60000)
    for content, last in ((bytes(60000), ENDS), (bytes(60001), b"552 The file is too large to be looked at\r\n")):
        talk.passive()
        client, server = data()
        talk.retrieves()
        give(server, content)
        assert client.receive() == (content if last == ENDS else b"")
        talk.replies(ENDS, BEGINS + last)
        client.close()
        server.close()
    (alert,) = fwx_firewall.alerts
    assert (alert.event, alert.message) == (
        "File not looked at",
        f"client {CLIENT.host}: RETR x: more than 60000 bytes",
    )


def test_the_file_goes_through_the_completion_port(start: Any, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B12.2, B5.18, B5.19: each byte is written and read by an overlapped operation."""
    moved = {"WriteFile": 0, "ReadFile": 0}

    def count(name: str) -> Callable[..., None]:
        access = getattr(sdk, name)

        def counting(hFile: int, buffer: Any, size: None, overlapped: Any) -> None:
            moved[name] += buffer.GetBufferSizes()[name == "WriteFile"]
            access(hFile, buffer, size, overlapped)

        return counting

    for name in moved:
        monkeypatch.setattr(sdk, name, count(name))
    talk = start()
    talk.passive()
    client, server = data()
    talk.retrieves()
    give(server, TEXT)
    assert client.receive() == TEXT
    assert moved == {"WriteFile": len(TEXT), "ReadFile": len(TEXT)}


def test_the_file_that_holds_it(start: Any, data: Any, tmp_path: Path) -> None:
    """It has no name, belongs to its owner alone, and is gone with the connection."""
    talk = start()
    before = held(tmp_path)
    talk.passive()
    client, server = data()
    talk.retrieves()
    server.send(TEXT)
    (spool,) = held(tmp_path)
    assert before == []
    assert (stat.S_IMODE(spool.st_mode), spool.st_nlink, spool.st_size) == (0o600, 0, len(TEXT))
    assert list(tmp_path.iterdir()) == []
    server.shutdown()
    client.receive()
    assert held(tmp_path) == []


def held(folder: Path) -> list[Any]:
    """The open files of this process that lie, or lay, in *folder*."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if str(entry.readlink()).startswith(f"{folder}/"):
                found.append(entry.stat())
        except FileNotFoundError:  # that of the listing itself
            continue
    return found


def test_a_folder_that_is_gone(start: Any, data: Any, tmp_path: Path, fwx_firewall: MemoryFirewall) -> None:
    """It fails closed."""
    folder = tmp_path / "spool"
    folder.mkdir()
    talk = start(folder=str(folder))
    folder.rmdir()
    talk.passive()
    client, server = data()
    talk.retrieves()
    give(server, TEXT)
    assert client.receive() == b""
    talk.replies(ENDS, b"451 Local error in processing\r\n")
    assert [alert.event for alert in fwx_firewall.alerts] == ["File not looked at"]


def test_it_does_not_start_without_a_folder(fwx_firewall: MemoryFirewall, tmp_path: Path) -> None:
    host = fwx_firewall.start(lambda: make_filter(ExeBlock, {"folder": str(tmp_path / "no")}))
    assert host.state == "failed"
    assert "No such file" in host.reason
    fwx_firewall._faults.words.clear()


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"REST 2", b"504 REST is not allowed here: a file must be whole to be looked at"),
        (b"RANG 2 9", b"502 RANG is not allowed here"),
        (b"MODE B", b"504 MODE is not allowed here with that parameter"),
        (b"MODE Z", b"504 MODE is not allowed here with that parameter"),
        (b"STRU R", b"504 STRU is not allowed here with that parameter"),
        (b"TYPE E", b"504 TYPE is not allowed here with that parameter"),
        (b"AUTH TLS", b"534 AUTH is not allowed here"),
        (b"CPSV", b"502 CPSV is not allowed here"),
        (b"PORT 192,0,2,1,4,1", b"504 Address not allowed"),
        (b"RETR x", b"425 Use PORT or PASV first"),
        (b"LIST", b"425 Use PORT or PASV first"),
    ],
)
def test_what_could_not_be_looked_at(start: Any, line: bytes, reply: bytes, fwx_firewall: MemoryFirewall) -> None:
    talk = start()
    talk.client.send(line + b"\r\n")
    assert talk.client.receive() == reply + b"\r\n"
    assert talk.server.receive() == b""
    talk.asks(b"NOOP\r\n", b"200 ok\r\n")
    talk.client.reset()
    (record,) = fwx_firewall.records
    assert f"exe-block: {line.split()[0].decode()}" in record.reason
    assert fwx_firewall.alerts == []


@pytest.mark.parametrize("line", [b"REST 0", b"MODE S", b"STRU F", b"TYPE A N", b"type l 8", b"SITE HELP", b"XYZZY"])
def test_what_may_be_said(start: Any, line: bytes) -> None:
    """As it was said, but for the verb."""
    talk = start()
    talk.client.send(line + b"\r\n")
    assert talk.server.receive().upper() == line.upper() + b"\r\n"


@pytest.mark.parametrize("mode", ["passive", "active"])
def test_a_port_that_cannot_be_watched(start: Any, fwx_firewall: MemoryFirewall, mode: str) -> None:
    """It fails closed: neither side hears of the port."""
    talk = start()
    session = fwx_firewall.session()
    while True:
        try:
            session.AllowFutureConnect(DATA, None, None, None, sdk.FWX_PROTOCOL_TCP, 0, sdk.GUID_NULL, None, None, None)
        except sdk.COMError:
            break
    if mode == "passive":
        talk.says(b"EPSV\r\n")
        talk.replies(EXTENDED, b"425 Can't open data connection\r\n")
    else:
        outside = fwx_firewall.sessions.connections()[0].GetExternalSocketName().host
        talk.client.send(b"EPRT |1|%s|4000|\r\n" % outside.encode())
        assert talk.client.receive() == b"425 Can't open data connection\r\n"
        assert talk.server.receive() == b""
    talk.client.send(b"RETR x\r\n")
    assert talk.client.receive() == b"425 Use PORT or PASV first\r\n"


def test_parts_of_a_file(start: Any) -> None:
    features = b"211-Features:\r\n MODE Z\r\n REST STREAM\r\n RANG STREAM\r\n SIZE\r\n211 End\r\n"
    talk = start()
    talk.says(b"FEAT\r\n")
    talk.replies(features, b"211-Features:\r\n SIZE\r\n211 End\r\n")


def test_parts_of_a_file_that_pass(start: Any) -> None:
    talk = start(resume="pass", uploads=True)
    talk.asks(b"REST 5\r\n", b"350 go on\r\n")
    talk.asks(b"RANG 5 9\r\n", b"350 go on\r\n")
    talk.passive()
    talk.asks(b"APPE x\r\n", b"550 no\r\n")


def test_garbage(start: Any, fwx_firewall: MemoryFirewall) -> None:
    talk = start()
    talk.client.send(b"RETR x\nEPSV\r\n")
    assert talk.client.receive() == b"500 Syntax error: a bare LF in a line\r\n"
    assert talk.client.ended
    assert [alert.event for alert in fwx_firewall.alerts] == ["File not looked at"]


@pytest.mark.parametrize("filters", ["ftp first", "exe-block first"])
def test_beside_the_filter_ftp(
    fwx_firewall: MemoryFirewall, start: Any, data: Any, tmp_path: Path, filters: str
) -> None:
    """In either order: ``ftp`` opens the port, and the client hears the refusal through it."""
    if filters == "ftp first":
        talk = start(FtpFilter)
    else:
        fwx_firewall.start(lambda: make_filter(ExeBlock, {"folder": str(tmp_path)}), "exe-block")
        fwx_firewall.start(lambda: make_filter(FtpFilter, {}), "ftp")
        talk = Talk(fwx_firewall.open())
    for command, reply in ((b"EPSV\r\n", EXTENDED), (b"PASV\r\n", WAITS)):
        talk.asks(command, reply)
        assert len(fwx_firewall.engine.permissions) == 1
        client, server = data()
        talk.retrieves()
        give(server, PROGRAM)
        assert client.receive() == b""
        talk.replies(ENDS, REFUSED)
        client.close()
        server.close()
    assert {record.filters for record in fwx_firewall.records} == {"exe-block"}


def test_active_beside_the_filter_ftp(fwx_firewall: MemoryFirewall, start: Any) -> None:
    """B12.1, B6.12: the server comes to a port of the firewall's, and what it sends is held there."""
    talk = start(FtpFilter)
    waiting = fwx_firewall.network.listen(sdk.SocketAddress(CLIENT.host, 6000))
    talk.client.send(b"PORT %s,23,112\r\n" % CLIENT.host.replace(".", ",").encode())
    numbers = talk.server.receive().split()[1].split(b",")
    port = int(numbers[4]) * 256 + int(numbers[5])
    talk.replies(b"200 fine\r\n")
    talk.asks(b"RETR x\r\n", BEGINS)
    transport = fwx_firewall.network.stream(SERVER.family)
    transport.bind((SERVER.host, 20))
    transport.start_connect((b".".join(numbers[:4]).decode(), port))
    server = MemoryPeer(transport)
    fwx_firewall.loop.run()
    client = MemoryPeer(waiting.accept()[0])
    waiting.close(False)
    give(server, PROGRAM)
    assert client.receive() == b""
    assert client.ended
    talk.replies(ENDS, REFUSED)
    client.close()
    server.close()
    (record,) = [record for record in fwx_firewall.records if record.filters == "exe-block"]
    assert record.reason == "exe-block: RETR x: a program for DOS or Windows"
    talk.client.close()
    talk.server.close()


def test_tls_passes_no_port(fwx_playbook: Any) -> None:
    """Under TLS nothing could be read, so there is none; FEAT does not offer it."""
    book: Playbook = fwx_playbook(ExeBlock, {})
    book.server_sends(b"220 files\r\n").client_gets(b"220 files\r\n")
    book.client_sends(b"FEAT\r\n").server_gets(b"FEAT\r\n")
    book.server_sends(b"211-Features\r\n AUTH TLS\r\n PBSZ\r\n211 End\r\n").client_gets(b"211-Features\r\n211 End\r\n")
    book.client_sends(b"AUTH TLS\r\n").client_gets(b"534 AUTH is not allowed here\r\n")
    book.play()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kinds": ["windows"]}, "dos"),
        ({"kinds": []}, "expected kinds or patterns"),
        ({"patterns": ["4"]}, "hexadecimal"),
        ({"patterns": ["4d"]}, "2 to 64 bytes"),
        ({"patterns": ["MZ"]}, "hexadecimal"),
        ({"exempt_users": [""]}, "exempt_users"),
        ({"exempt_addresses": ["192.0.2.1/24"]}, "expected an address or a network"),
        ({"folder": "spool"}, "absolute"),
        ({"largest": -1}, "0"),
        ({"resume": "yes"}, "refuse"),
        ({"size": 1}, "size"),
    ],
)
def test_wrong_options(options: dict[str, object], words: str) -> None:
    with pytest.raises(FilterOptionsError, match=words):
        make_filter(ExeBlock, options)
