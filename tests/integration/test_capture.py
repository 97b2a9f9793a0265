"""The filter capture in a running service: what tcpdump and a strict reader find in its files."""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from tests.pcapng_reader import packets_of, streams_of

CONFIG = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"

[[filter]]
name = "record"
use = "fwx.filters.capture:Capture"
options = {{ folder = "{folder}", on_full = "{on_full}" }}

[[rule]]
name = "recorded"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
filters = ["record"]
"""


@pytest.fixture
def folder(serve: Any) -> Path:
    """Where the service may write though it has given up root."""
    made: Path = serve.make_folder()
    made.chmod(0o1777)
    return made


@pytest.fixture
def small_disk(folder: Path, program_path: Callable[[str], str]) -> Iterator[Path]:
    """A file system of 512 KiB."""
    command = [program_path("mount"), "-t", "tmpfs", "-o", "size=512k,mode=1777", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("needs root, to mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.requires("tcpdump")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_tcpdump(
    serve: Any, origin: Any, client: Any, folder: Path, program_path: Callable[[str], str], loop: str
) -> None:
    firewall = serve(CONFIG.format(folder=folder, on_full="pass"), loop=loop)
    server = origin("echo")
    said = bytes(range(256)) * 1000
    opened = client.socks(firewall.address(), server.address)
    opened.sendall(said)
    assert client.exactly(opened, len(said)) == said
    opened.close()
    row = firewall.wait_row(Action=Action.Terminate)
    firewall.tell()
    firewall.wait_stopped()
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    packets = packets_of(path)
    streams = list(streams_of(packets).items())
    assert [data for _, data in streams] == [said, said]
    assert streams[0][0] == (("127.0.0.1", row["SourcePort"]), server.address)
    assert packets[0].comment == f"rule: recorded, user: -, target: 127.0.0.1:{server.port}"
    # tcpdump gives up root too, and could not read the file then.
    command = [program_path("tcpdump"), "-nn", "-vv", "-Z", "root", "-r", str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "link-type RAW" in told.stderr
    assert told.stdout.count("(correct)") == len(packets)
    assert not re.search("incorrect|bad|truncated|wrong", told.stdout)


@pytest.mark.requires("mount")
@pytest.mark.parametrize("closes", [False, True])
def test_a_full_disk(serve: Any, origin: Any, client: Any, small_disk: Path, closes: bool) -> None:
    """A real file system without room: the service goes on or closes, says so, and leaves a file that can be read."""
    firewall = serve(CONFIG.format(folder=small_disk, on_full="close" if closes else "pass"))
    opened = client.socks(firewall.address(), origin("echo").address)
    passed = 0
    try:
        for _ in range(40):
            opened.sendall(bytes(65536))
            passed += len(client.exactly(opened, 65536))
    except (ConnectionError, pytest.fail.Exception):
        assert closes
    assert (passed == 40 * 65536) is not closes
    opened.close()
    reason = firewall.wait_row(Action=Action.Terminate)["reason"]
    assert ("capture: the packets cannot be recorded" in reason) is closes
    firewall.tell()
    firewall.wait_stopped()
    assert "Capture not written" in {alert["event"] for alert in firewall.alerts()}
    (path,) = small_disk.iterdir()
    assert packets_of(path)[0].flags == "S"
