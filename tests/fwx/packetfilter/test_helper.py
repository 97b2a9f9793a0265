"""The helper: what it does at each order, what it makes of garbage, and what becomes of the table without a service."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest

from fwx.packetfilter import helper as helper_module
from fwx.packetfilter.helper import LOST, REMOVED, UNABLE, Helper
from fwx.packetfilter.hole import Hole
from fwx.packetfilter.messages import Answer, Change, Frames, Kind, Order, pack_order, unpack_answer
from fwx.packetfilter.nft import Nft, NftError
from fwx.packetfilter.plan import Plan
from fwx.packetfilter.ruleset import holder_of, holes_of, list_table
from fwx.packetfilter.table import Table, table_exists

pytestmark = pytest.mark.requires("nft")

PLAN = Plan("fwx_t", ((1, 65535),), ((1, 65535),))
HOLE = Hole(6, IPv4Address("10.0.0.1"), 80)
OPEN = Order(Kind.CHANGE, 7, (Change(True, HOLE),))


class Service:
    """The service's end of the link, and a helper on a thread."""

    def __init__(self, nft: Nft) -> None:
        self.nft = nft
        self.table = Table(nft, PLAN, 60, lambda: 0.0)
        self.table.write(os.getpid())
        self.link, self._far = socket.socketpair()
        self.link.settimeout(60)
        self.lost = False
        self.woken, self.wake = os.pipe()
        self._frames = Frames()
        self._codes: list[int] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._far:
            self._codes.append(Helper(self._far, self.table, lambda: self.lost, self.woken).run())

    def send(self, data: bytes) -> None:
        self.link.sendall(data)

    def ask(self, order: Order) -> list[Answer]:
        """The answers up to DONE."""
        self.send(pack_order(order))
        answers: list[Answer] = []
        while not answers or answers[-1].kind is not Kind.DONE:
            data = self.link.recv(1 << 16)
            assert data, "the helper ended"
            answers += [unpack_answer(body) for body in self._frames.feed(data)]
        return answers

    def held(self) -> set[Hole]:
        return holes_of(self.nft.run(list_table("fwx_t")))

    def ended(self) -> int:
        self._thread.join(10)
        (code,) = self._codes
        return code

    def close(self) -> None:
        self.link.close()
        self._thread.join(10)
        os.close(self.woken)
        os.close(self.wake)


@pytest.fixture
def service(nft: Nft) -> Iterator[Service]:
    service = Service(nft)
    yield service
    service.close()


def test_orders(service: Service) -> None:
    assert service.ask(OPEN) == [Answer(Kind.DONE, 7)]
    assert service.held() == {HOLE}
    assert service.ask(Order(Kind.BEAT, 8)) == [Answer(Kind.DONE, 8)]
    service.nft.run([{"flush": {"ruleset": None}}])
    assert service.ask(Order(Kind.BEAT, 9)) == [
        Answer(Kind.DIFFERENCE, text="the table fwx_t is gone"),
        Answer(Kind.DONE, 9),
    ]
    assert service.held() == {HOLE}
    assert service.ask(Order(Kind.REMOVE, 10)) == [Answer(Kind.DONE, 10)]
    assert service.ended() == REMOVED
    assert not table_exists(service.nft, "fwx_t")


def test_an_order_that_the_kernel_refuses(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(changes: Any) -> str:
        raise OSError(28, "no room")

    with monkeypatch.context() as broken:
        broken.setattr(service.table, "change", refuse)
        assert service.ask(OPEN) == [Answer(Kind.DONE, 7, 28, "no room")]
    assert service.ask(OPEN) == [Answer(Kind.DONE, 7)]


def locked(service: Service) -> bool:
    listing = service.nft.run(list_table("fwx_t"))
    return not holes_of(listing) and holder_of(listing) is None


def test_a_lockdown_that_was_ordered(service: Service) -> None:
    """B11.13: by hand too, where the operator wants it."""
    service.ask(OPEN)
    assert service.ask(Order(Kind.LOCK, 8)) == [Answer(Kind.DONE, 8)]
    assert service.ended() == REMOVED
    assert locked(service)


def test_a_service_that_is_gone(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """B11.13: nothing new is let in when the service ends without a word."""
    service.ask(OPEN)
    service.link.close()
    assert service.ended() == LOST
    assert locked(service)
    assert "the service is gone: nothing new is let in" in capsys.readouterr().err


def test_a_service_that_is_gone_without_hearing_its_answers(service: Service) -> None:
    service.ask(OPEN)
    service.send(pack_order(Order(Kind.BEAT, 8)) * 3)
    service.link.close()
    assert service.ended() == LOST
    assert locked(service)


def test_a_service_whose_end_is_only_signalled(service: Service) -> None:
    """Some other process may hold its end of the link; its death is heard of all the same."""
    service.ask(OPEN)
    os.write(service.wake, b"x")
    assert service.ask(Order(Kind.BEAT, 8)) == [Answer(Kind.DONE, 8)], "a signal alone means nothing"
    service.lost = True
    os.write(service.wake, b"x")
    assert service.ended() == LOST
    assert locked(service)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"nftables": [{"flush": {"ruleset": null}}]}',
        bytes(100),
        pack_order(OPEN)[:-1] + b"\1",
        pack_order(OPEN).replace(b"\0\0\0\1", b"\0\0\0\2"),
    ],
)
def test_a_service_that_talks_nonsense(service: Service, data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """One that was taken over is locked out with its openings."""
    service.ask(OPEN)
    service.send(data)
    assert service.ended() == LOST
    assert locked(service)
    assert "what is no order" in capsys.readouterr().err


def test_a_lockdown_that_fails_is_told(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise NftError("broken")

    monkeypatch.setattr(service.table, "lock", refuse)
    service.link.close()
    assert service.ended() == LOST
    assert "cannot be locked: broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--table=x; flush ruleset"],
        ["--table=filter"],
        ["--tcp=0-70000"],
        ["--interface=eth0; drop"],
        ["--uid=root"],
        ["--seconds=long"],
    ],
)
def test_a_command_line_that_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    good = ["--link=3", "--table=fwx_t", "--tcp=1-2", "--udp=", "--seconds=60"]
    with pytest.raises(SystemExit):
        helper_module.main([*good, *arguments])
    assert arguments[0].partition("=")[0] in capsys.readouterr().err


# The process itself.

ARGUMENTS = ["--tcp=1-65535", "--udp=1-65535", "--seconds=60"]
SETPRIV = "from fwx.packetfilter.confinement import confine; confine({uid}, {gid}, children={children}); "


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)


root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")


@root
def test_what_a_confined_process_has_left() -> None:
    code = SETPRIV.format(uid=65534, gid=65534, children=False)
    shown = run_python(code + "print(open('/proc/self/status').read())")
    lines = dict(line.split(":\t", 1) for line in shown.stdout.splitlines() if ":\t" in line)
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(lines[name], 16) == 1 << 12, name
    assert int(lines["CapInh"], 16) == int(lines["CapAmb"], 16) == 0
    assert lines["NoNewPrivs"] == "1"
    assert lines["Uid"].split() == ["65534"] * 4
    assert lines["Groups"].strip() == ""


@root
def test_a_confined_process_writes_no_file(tmp_path: Any) -> None:
    """Not even one that its account could write."""
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith("pytest"):
            folder.chmod(0o711)
    code = SETPRIV.format(uid=65534, gid=65534, children=False)
    refused = run_python(code + f"open({str(tmp_path / 'file')!r}, 'w')")
    assert "PermissionError" in refused.stderr
    allowed = run_python(f"import os; os.setuid(65534); open({str(tmp_path / 'file')!r}, 'w')")  # the control
    assert allowed.returncode == 0, allowed.stderr


@root
def test_a_child_of_a_confined_process_gets_the_capability_only_where_asked() -> None:
    show = "print(subprocess.run(['grep', 'CapEff', '/proc/self/status'], capture_output=True).stdout)"
    for children, mask in ((True, "0000000000001000"), (False, "0000000000000000")):
        shown = run_python("import subprocess; " + SETPRIV.format(uid=65534, gid=65534, children=children) + show)
        assert mask in shown.stdout, shown.stderr


def test_without_the_capability_it_says_so() -> None:
    link, far = socket.socketpair()
    with link, far:
        # Of a folder that only root may read nothing can be imported afterwards.
        run = "import os, sys; from fwx.packetfilter.helper import main; os.getuid() or os.setuid(65534); main()"
        command = [sys.executable, "-c", run.replace("main()", "sys.exit(main())"), *ARGUMENTS]
        command += [f"--link={far.fileno()}", "--table=fwx_t"]
        ended = subprocess.run(command, pass_fds=(far.fileno(),), capture_output=True, check=False, timeout=30)
        assert ended.returncode == UNABLE, ended.stderr
        (body,) = Frames().feed(link.recv(1 << 16))
        assert "CAP_NET_ADMIN" in unpack_answer(body).text
