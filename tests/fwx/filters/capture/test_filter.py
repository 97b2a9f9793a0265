"""The filter in a firewall in memory, writing real files."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fwx.filter_loader import FilterOptionsError, make_filter
from fwx.filters.capture import Capture
from fwx.filters.capture import writer as writer_module
from fwx.filters.capture.writer import RETRY_SECONDS
from fwx.testing import MemoryFirewall, check_filter
from tests.pcapng_reader import Packet, packets_of, streams_of

CLIENT, SERVER = "192.0.2.1", ("198.51.100.1", 80)


@pytest.fixture
def started(fwx_firewall: MemoryFirewall, tmp_path: Path) -> Callable[..., Any]:
    def start(**options: Any) -> Any:
        made: list[Any] = []

        def factory() -> Any:
            made.append(make_filter(Capture, {"folder": str(tmp_path), **options}))
            return made[0]

        host = fwx_firewall.start(factory)
        assert host.state == "ready", host.reason
        return made[0]

    return start


def packets(folder: Path) -> list[Packet]:
    return [packet for path in sorted(folder.glob("capture-*.pcapng")) for packet in packets_of(path)]


def test_the_contract(tmp_path: Path) -> None:
    battery = check_filter(Capture, {"folder": str(tmp_path), "files": 200})
    battery.require()
    for path in tmp_path.iterdir():
        packets_of(path)


def test_a_conversation(started: Any, fwx_firewall: MemoryFirewall, tmp_path: Path) -> None:
    started()
    client, server = fwx_firewall.open(user="ann").established()
    client.send(b"a question")
    assert server.receive() == b"a question"
    server.send(b"an answer" * 20000)
    assert client.receive() == b"an answer" * 20000
    client.shutdown()
    server.shutdown()
    fwx_firewall.loop.run()
    read = packets(tmp_path)
    (one, sent), (other, received) = streams_of(read).items()
    assert (one[0][0], one[1], other) == (CLIENT, SERVER, (SERVER, one[0]))
    assert one[0][1] == fwx_firewall.records[0].source_port
    assert (sent, received) == (b"a question", b"an answer" * 20000)
    assert [packet.flags for packet in read if packet.flags != "PA"] == ["S", "SA", "A", "FA", "FA"]
    assert read[0].comment == "rule: everything, user: ann, target: 198.51.100.1:80"
    assert not any(packet.comment for packet in read[1:])


def test_what_is_said_passes_as_it_was_said(fwx_playbook: Any, tmp_path: Path) -> None:
    """With each end behind the data, and nothing of the file in the conversation."""
    book = fwx_playbook(Capture, {"folder": str(tmp_path)})
    book.server_sends(b"220 ready\r\n").client_gets(b"220 ready\r\n")
    book.client_sends(b"QUIT\r\n").server_gets(b"QUIT\r\n").client_ends().server_sees_end()
    book.passes(60).server_sends(b"221 bye\r\n").client_gets(b"221 bye\r\n").server_ends().client_sees_end()
    book.play()
    assert list(streams_of(packets(tmp_path)).values()) == [b"QUIT\r\n", b"220 ready\r\n221 bye\r\n"]


@pytest.mark.parametrize("by_client", [True, False])
def test_a_reset(started: Any, fwx_firewall: MemoryFirewall, tmp_path: Path, by_client: bool) -> None:
    started()
    client, server = fwx_firewall.open().established()
    (client if by_client else server).reset()
    fwx_firewall.loop.run()
    last = packets(tmp_path)[-1]
    assert (last.flags, last.source == SERVER) == ("RA", not by_client)


def test_several_connections_and_files(started: Any, fwx_firewall: MemoryFirewall, tmp_path: Path) -> None:
    started(file_size=1 << 17, files=100)
    for number in range(8):
        client, server = fwx_firewall.open().established()
        client.send(bytes([number]) * 60000)
        assert len(server.receive()) == 60000
        client.close()
        server.close()
    assert len(list(tmp_path.iterdir())) >= 4
    assert all(path.stat().st_size <= 1 << 17 for path in tmp_path.iterdir())
    said = [data for way, data in streams_of(packets(tmp_path)).items() if way[1] == SERVER]
    assert said == [bytes([number]) * 60000 for number in range(8)]


def test_nothing_is_written_on_the_loop_thread(started: Any, fwx_firewall: MemoryFirewall) -> None:
    made = started()
    threads = []
    write = made._writer._files.write

    def note(blocks: Any) -> None:
        threads.append(threading.current_thread())
        write(blocks)

    made._writer._files.write = note
    client, server = fwx_firewall.open().established()
    client.send(b"x")
    server.close()
    client.close()
    assert threads
    assert threading.main_thread() not in threads


class Disk:
    """``os.write`` that fails while it is full."""

    def __init__(self) -> None:
        self.full = False

    def __call__(self, fd: int, data: Any) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data)


@pytest.fixture
def disk(started: Any) -> Callable[..., Disk]:
    def make(made: Any) -> Disk:
        made._writer._files._write = disk = Disk()
        return disk

    return make


def test_a_full_disk_and_on(started: Any, disk: Any, fwx_firewall: MemoryFirewall, tmp_path: Path) -> None:
    """What cannot be recorded passes; a comment says how much is missing; the sequence numbers show where."""
    made = started()
    made._writer._clock = fwx_firewall.loop.time
    full = disk(made)
    client, server = fwx_firewall.open().established()
    client.send(b"one")
    full.full = True
    client.send(b"two")
    client.send(b"three")
    assert server.receive() == b"onetwothree"
    full.full = False
    client.send(b"four")
    fwx_firewall.loop.advance(RETRY_SECONDS + 1)
    client.send(b"five")
    assert server.receive() == b"fourfive"
    read = packets(tmp_path)
    assert [packet.data for packet in read if packet.data] == [b"one", b"five"]
    assert read[-1].comment == "3 packets before this one were not recorded"
    assert read[-1].number == 1 + len(b"onetwothreefour")
    (alert,) = fwx_firewall.alerts
    assert alert.event == "Capture not written"
    assert alert.message == f"{tmp_path}: No space left on device: 1 packets were not recorded"
    client.reset()


def test_a_full_disk_closes(started: Any, disk: Any, fwx_firewall: MemoryFirewall, tmp_path: Path) -> None:
    """What is there ends with its next data, what comes does not begin, until there is room again."""
    made = started(on_full="close")
    made._writer._clock = fwx_firewall.loop.time
    full = disk(made)
    client, server = fwx_firewall.open().established()
    idle = fwx_firewall.open().established()[0]
    full.full = True
    client.send(b"one")
    client.send(b"two")
    assert b"two" not in server.receive()
    assert client.receive() == b""
    assert (client.was_reset, server.was_reset) == (True, True)
    late = fwx_firewall.open().established()
    assert [(each.receive(), each.was_reset) for each in late] == [(b"", True)] * 2
    full.full = False
    fwx_firewall.loop.advance(RETRY_SECONDS + 1)
    again, server = fwx_firewall.open().established()
    again.send(b"recorded")
    assert server.receive() == b"recorded"
    again.reset()
    idle.reset()
    reasons = [record.reason for record in fwx_firewall.records]
    assert sum("capture: the packets cannot be recorded" in reason for reason in reasons) == 2
    assert [packet.data for packet in packets(tmp_path) if packet.data] == [b"recorded"]


def test_a_disk_that_does_not_keep_up(
    started: Any, fwx_firewall: MemoryFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections wait for it, with bounded memory, and nothing is lost."""
    monkeypatch.setattr(writer_module, "MOST_WAITING", 1000)
    writer = started()._writer
    seen = []
    work = writer.work

    def slow() -> None:
        seen.append(writer._bytes)
        work()

    writer.work = slow
    client, server = fwx_firewall.open().established()
    total = 0
    for _ in range(20):
        client.send(b"x" * 5000)
        total += len(server.receive())
    assert total == 100000
    assert max(seen) < 70000
    client.reset()


def test_the_end_of_the_service_writes_what_waits(tmp_path: Path) -> None:
    memory = MemoryFirewall()
    memory.start(lambda: make_filter(Capture, {"folder": str(tmp_path)}))
    client, _ = memory.open().established()
    client.send(b"last words")
    memory.close()
    assert packets(tmp_path)[3].data == b"last words"


def test_no_folder(tmp_path: Path) -> None:
    """Fails closed: the filter does not start, and says why."""
    memory = MemoryFirewall()
    host = memory.start(lambda: make_filter(Capture, {"folder": str(tmp_path / "nowhere")}))
    assert host.state == "failed"
    assert "No such file or directory" in host.reason
    assert memory.open().server is None
    memory.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a folder that not even it may write to")
def test_a_folder_that_takes_no_file() -> None:
    memory = MemoryFirewall()
    host = memory.start(lambda: make_filter(Capture, {"folder": "/proc/self"}))
    assert host.state == "failed"
    memory.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "folder: is missing"),
        ({"folder": "here"}, "folder: 'here' expected an absolute path"),
        ({"folder": "/tmp", "prefix": "../x"}, "prefix: '../x' expected the beginning of a file name"),
        ({"folder": "/tmp", "file_size": 1000}, "file_size"),
        ({"folder": "/tmp", "files": 0}, "files"),
        ({"folder": "/tmp", "on_full": "panic"}, "on_full"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], words: str) -> None:
    with pytest.raises(FilterOptionsError) as error:
        make_filter(Capture, options)
    assert words in str(error.value)
