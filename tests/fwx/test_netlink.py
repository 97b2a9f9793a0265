"""The machine as its kernel tells, compared with what ``ip`` shows; and the kernel's answers, damaged."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from ipaddress import ip_interface
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from fwx import netlink
from fwx.impl.machine import NOWHERE, MachineState, RouteState
from fwx.impl.networks import AddressRange
from fwx.netlink import NetlinkMachine
from fwx.network import Poller, SocketNetwork

_CLONE_NEWNET = 0x40000000
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
Shell = Callable[..., str]


class Followed:
    """A machine that is followed on a loop of its own, and how often it was said to have changed."""

    def __init__(self, kind: str) -> None:
        self.loop = LOOPS[kind]()
        self.poller = Poller(self.loop)
        self.changes = 0
        self.machine = SocketNetwork(self.poller).machine(self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def until_changed(self) -> MachineState:
        """Let the loop go on until a change has been told, and read."""

        async def wait() -> None:
            async with asyncio.timeout(10):
                while not self.changes:  # noqa: ASYNC110  nothing else tells
                    await asyncio.sleep(0)

        self.loop.run_until_complete(wait())
        self.changes = 0
        return self.machine.read()

    def close(self) -> None:
        self.machine.close()
        self.machine.close()
        watched = len(self.poller)
        self.poller.close()
        self.loop.close()
        assert not watched


@pytest.fixture(params=LOOPS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.requires("ip")
def test_this_machine(kind: str, program_path: Callable[[str], str]) -> None:
    """B13.10: adapters and addresses are those that ``ip`` shows, the first ones of each version are primary."""
    shown = json.loads(subprocess.run([program_path("ip"), "-j", "address"], check=True, capture_output=True).stdout)
    followed = Followed(kind)
    try:
        state = followed.machine.read()
    finally:
        followed.close()
    assert list(state.adapters) == sorted(each["ifindex"] for each in shown)
    wanted = {
        (each["ifindex"], ip_interface(f"{info['local']}/{info['prefixlen']}"))
        for each in shown
        for info in each["addr_info"]
    }
    assert {(each.adapter, each.interface) for each in state.addresses} == wanted
    primaries = [(each.adapter, each.interface.version) for each in state.addresses if each.is_primary]
    assert len(primaries) == len(set(primaries)) == len({(index, each.version) for index, each in wanted})


def in_namespace(work: Callable[[Shell], object], ip: str) -> None:
    """Run *work* on a thread in a network namespace of its own, with a shell for ``ip`` there; root only."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a network namespace")
    failures: list[BaseException] = []

    def shell(*words: str) -> str:
        return subprocess.run([ip, *words], check=True, capture_output=True, text=True).stdout

    def enter() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            if libc.unshare(_CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare")
            work(shell)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    for error in failures:
        if isinstance(error, OSError) and error.errno == errno.EPERM and os.environ.get("FWX_CI") != "1":
            pytest.skip("cannot make a network namespace")
        raise error


def index_of(shell: Shell, name: str) -> int:
    number: int = json.loads(shell("-j", "link", "show", "dev", name))[0]["ifindex"]
    return number


@pytest.mark.requires("ip")
def test_each_kind_of_change_is_told(kind: str, program_path: Callable[[str], str]) -> None:
    """B13.10: a link, an IPv4 and an IPv6 address, a route; made, changed, taken away."""

    def work(shell: Shell) -> None:
        followed = Followed(kind)
        try:
            before = followed.machine.read().adapters
            shell("link", "add", "d0", "type", "veth", "peer", "name", "p0")
            index = index_of(shell, "d0")
            made = {index, index_of(shell, "p0")}
            assert set(followed.until_changed().adapters) == {*before, *made}
            for text in ("10.4.0.1/24", "2001:db8:4::1/64"):  # of a link that is down: no route comes of it
                shell("address", "add", text, "dev", "d0")
                assert text in [str(each.interface) for each in followed.until_changed().addresses]
                shell("address", "del", text, "dev", "d0")
                followed.until_changed()
            shell("link", "set", "d0", "up", "addrgenmode", "none")
            followed.until_changed()
            for text in ("10.5.0.1/24", "10.5.0.2/24", "2001:db8:5::1/64"):
                shell("address", "add", text, "dev", "d0", *(("nodad",) if ":" in text else ()))
                followed.until_changed()
            state = followed.machine.read()
            assert [(str(each.interface), each.is_primary) for each in state.addresses if each.adapter == index] == [
                ("10.5.0.1/24", True),
                ("10.5.0.2/24", False),
                ("2001:db8:5::1/64", True),
            ]
            for text in ("10.5.0.1", "10.5.0.2", "2001:db8:5::1"):
                assert AddressRange.parse(text) in state.local
            shell("address", "del", "10.5.0.1/24", "dev", "d0")  # and with it what was secondary to it
            assert [str(each.interface) for each in followed.until_changed().addresses] == ["2001:db8:5::1/64"]
            shell("link", "del", "d0")
            assert followed.until_changed().adapters == before
            assert followed.machine.read().addresses == ()
        finally:
            followed.close()

    in_namespace(work, program_path("ip"))


@pytest.mark.requires("ip")
def test_routes(program_path: Callable[[str], str]) -> None:
    """Those of the main table, several ways and dead ends too; local ones are the machine's own addresses."""

    def work(shell: Shell) -> None:
        shell("link", "set", "lo", "up")
        for number in (5, 6):
            shell("link", "add", f"d{number}", "type", "veth", "peer", "name", f"p{number}")
            shell("link", "set", f"d{number}", "up", "addrgenmode", "none")
            shell("address", "add", f"10.{number}.0.1/24", "dev", f"d{number}")
        five, six = (index_of(shell, name) for name in ("d5", "d6"))
        shell("address", "add", "10.12.0.1", "peer", "10.12.0.2/32", "dev", "d5")  # a link between two points
        shell("route", "add", "default", "nexthop", "via", "10.5.0.2", "nexthop", "via", "10.6.0.2")
        shell("route", "add", "10.7.0.0/16", "via", "10.5.0.2", "metric", "9")
        shell("route", "add", "blackhole", "10.8.0.0/16")
        shell("route", "add", "10.9.0.0/16", "via", "10.5.0.2", "table", "100")
        shell("route", "add", "local", "10.10.0.0/16", "dev", "lo")
        shell("route", "add", "local", "10.11.0.0/16", "dev", "lo", "table", "100")
        followed = Followed("asyncio")
        try:
            state = followed.machine.read()
        finally:
            followed.close()
        assert [each for each in state.routes if each.destination.version == 4] == [
            RouteState(AddressRange.parse(text), adapter, metric)
            for text, adapter, metric in (
                ("0.0.0.0/0", five, 0), ("0.0.0.0/0", six, 0), ("10.5.0.0/24", five, 0), ("10.6.0.0/24", six, 0),
                ("10.7.0.0/16", five, 9), ("10.8.0.0/16", NOWHERE, 0),
                ("10.12.0.2/32", five, 0),
            )
        ]  # fmt: skip
        assert [each.is_default for each in state.routes[:3]] == [True, True, False]
        assert "10.12.0.1/32" in [str(each.interface) for each in state.addresses]
        assert AddressRange.parse("10.10.0.0/16") in state.local
        assert AddressRange.parse("10.11.0.0/16") not in state.local

    in_namespace(work, program_path("ip"))


@pytest.mark.requires("ip")
def test_more_notices_than_there_is_room_for(program_path: Callable[[str], str]) -> None:
    """The kernel drops them and says so; that is a change like another."""

    def work(shell: Shell) -> None:
        followed = Followed("asyncio")
        try:
            followed.machine._notices.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            shell("link", "add", "d0", "type", "veth", "peer", "name", "p0")
            for number in range(40):
                shell("address", "add", f"10.5.{number}.1/24", "dev", "d0")
            assert len(followed.until_changed().addresses) == 40
            shell("link", "del", "d0")
            assert followed.until_changed().addresses == ()
        finally:
            followed.close()

    in_namespace(work, program_path("ip"))


class Answers:
    """In place of a netlink socket: answers every request with what it is given."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)

    def send(self, data: bytes) -> int:
        return len(data)

    def recv(self, _size: int) -> bytes:
        return self.answers.pop(0)


def message(kind: int, body: bytes = b"", sequence: int = 1, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def read(*answers: bytes) -> MachineState:
    sock: Any = Answers(*answers)
    return netlink._Reader(sock).state()


def test_a_refusal_is_an_error() -> None:
    with pytest.raises(PermissionError, match="rtnetlink"):
        read(message(2, struct.pack("=i", -errno.EPERM)))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (message(16, bytes(16))[:-3], "a message of 32 octets in 29"),
        (bytes(16), "a message of 0 octets"),
        (b"abc", "3 octets where a message was expected"),
        (message(16, b"abc"), "at least 16 bytes"),
    ],
)
def test_a_damaged_answer_is_an_error(answer: bytes, words: str) -> None:
    with pytest.raises(OSError, match=words) as caught:
        read(answer)
    assert caught.value.errno == errno.EBADMSG


def dumps(links: bytes = b"", addresses: bytes = b"", routes: bytes = b"") -> list[bytes]:
    """Three whole dumps."""
    return [
        (message(kind, body, place) if body else b"") + message(3, bytes(4), place)
        for place, (kind, body) in enumerate(((16, links), (20, addresses), (24, routes)), 1)
    ]


def is_read_or_refused(answers: list[bytes]) -> bool:
    try:
        return isinstance(read(*answers), MachineState)
    except OSError as error:
        return error.errno == errno.EBADMSG


def test_nothing_is_a_machine_too() -> None:
    assert read(*dumps()) == MachineState()


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
def test_any_answer_is_a_state_or_an_error(links: bytes, addresses: bytes, routes: bytes) -> None:
    assert is_read_or_refused(dumps(links, addresses, routes))


@given(st.binary(max_size=60), st.sampled_from([2, 10]), st.integers(0, 140), st.sampled_from([1, 2, 6]))
def test_any_route_is_a_state_or_an_error(attributes: bytes, family: int, prefix: int, kind: int) -> None:
    header = struct.pack("=BBBBBBBBI", family, prefix, 0, 0, 254, 0, 0, kind, 0)
    address = struct.pack("=BBBBI", family, prefix, 0, 0, 1)
    for answers in (dumps(routes=header + attributes), dumps(addresses=address + attributes)):
        assert is_read_or_refused(answers)


def test_a_dump_that_something_came_between_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as there is hope; the last one has to do."""
    made: list[int] = []

    class Interrupted:
        def __init__(self, _sock: object) -> None:
            made.append(1)
            self.interrupted = len(made) != 3

        def state(self) -> MachineState:
            return MachineState((len(made),))

    monkeypatch.setattr(netlink, "_Reader", Interrupted)
    followed = Followed("asyncio")
    try:
        assert followed.machine.read() == MachineState((3,))
        made.clear()
        made += [1, 1, 1]
        assert followed.machine.read() == MachineState((8,))
    finally:
        followed.close()


def test_the_flag_of_such_a_dump() -> None:
    sock: Any = Answers(message(3, bytes(4), 1, 0x10), message(3, bytes(4), 2), message(3, bytes(4), 3))
    reader = netlink._Reader(sock)
    reader.state()
    assert reader.interrupted


def test_a_process_that_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox without AF_NETLINK: an error for whoever asks, and no descriptor is kept."""

    def refuse(*_: object) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    loop = asyncio.new_event_loop()
    poller = Poller(loop)
    monkeypatch.setattr(netlink.socket, "socket", refuse)
    with pytest.raises(OSError, match="not supported"):
        NetlinkMachine(poller, lambda: None)
    assert len(poller) == 0
    monkeypatch.undo()
    poller.close()
    loop.close()
