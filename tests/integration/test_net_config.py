"""Filters of a running service that follow the network configuration, recover, and ask for more time."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Writes a line for each notice; follows the configuration from its start, or when a client asks for port 7001.
FOLLOWER = """
from pathlib import Path

NOTICES = Path("{folder}") / "notices"

@sdk.implementer(sdk.IFWXNetConfigDetectionNotification)
class Notices(sdk.Unknown):
    def NotifyNetworkChange(self, pEvent):
        member = pEvent.Parameters.member
        words = [pEvent.EventType.name.removeprefix("fwx_ncd_")]
        if sdk.IFWXNetworkAddress.providedBy(member):
            words += [member.GetAddress().host, member.GetNetworkElement().GetName()]
        elif sdk.IFWXNetConfigDetectionSnapshot.providedBy(member):
            at = member.LookupNetworkElementByAddress(sdk.SocketAddress("10.5.0.1"))
            words.append(at.GetName())
        with NOTICES.open("a") as file:
            file.write(" ".join(words) + chr(10))

class Filter(Filter):
    def FilterInit(self, pIFWXFirewall):
        self.detector = pIFWXFirewall.QueryInterface(sdk.IFWXFirewall2).GetNetConfigDetector()
        if {at_once}:
            self.handle = self.detector.Register(Notices(), True)
        return super().FilterInit(pIFWXFirewall)

    def FilterShutdown(self):
        with NOTICES.open("a") as file:
            file.write("FilterShutdown" + chr(10))
"""
CONFIG = """
[[network]]
name = "inside"
ranges = ["10.5.0.0/16"]

[[rule]]
name = "any"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["any", "localhost"]
"""


def notices_of(folder: Path) -> list[str]:
    file = folder / "notices"
    return file.read_text().splitlines() if file.exists() else []


def netlink_sockets(pid: int) -> int:
    """How many netlink sockets the process has open."""
    inodes = {line.split()[-1] for line in Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]}
    links = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(link.startswith("socket:[") and link[8:-1] in inodes for link in links)


@pytest.mark.requires("ip")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_an_address_comes_and_goes(
    serve: Any, namespace: str, program_path: Callable[[str], str], eventually: Any, loop: str
) -> None:
    """B13.10: what there is, then what ``ip`` does to the machine, then the end; without a descriptor left over."""
    ip = program_path("ip")

    def run(*words: str) -> None:
        subprocess.run([ip, "-n", namespace, *words], check=True)

    run("link", "add", "d0", "type", "veth", "peer", "name", "p0")
    folder = serve.make_folder()
    folder.chmod(0o777)  # the filter writes there after root was dropped
    text = FOLLOWER.replace("{folder}", str(folder)).replace("{at_once}", "True")
    firewall = serve(
        CONFIG, loop=loop, folder=folder, prefix=(ip, "netns", "exec", namespace), filters={"follower": text}
    )
    notices = notices_of(folder)
    assert notices[0] == "Startup"
    assert "AddNetworkAddress 127.0.0.1 localhost" in notices
    assert notices[-1] == "SyncConfig inside"
    assert netlink_sockets(firewall.pid) == 1
    seen = len(notices)

    def told(*wanted: str) -> None:
        nonlocal seen
        eventually(lambda: notices_of(folder)[seen:][-1:] == list(wanted[-1:]), f"{wanted[-1]}")
        assert tuple(each for each in notices_of(folder)[seen:] if each != "ChangeIpRange") == wanted
        seen = len(notices_of(folder))

    run("address", "add", "10.5.0.1/24", "dev", "d0")
    told("AddNetworkAddress 10.5.0.1 inside", "SyncConfig localhost")
    run("address", "del", "10.5.0.1/24", "dev", "d0")
    told("RemoveNetworkAddress 10.5.0.1 inside", "SyncConfig inside")
    run("link", "del", "d0")
    told("RemoveNetworkAdapter", "RemoveNetworkAdapter", "SyncConfig inside")
    assert firewall.descriptors() == firewall.base_line
    firewall.stop()
    assert notices_of(folder)[seen:] == ["Shutdown", "FilterShutdown"]


def test_nobody_follows(serve: Any) -> None:
    """A filter that has the detector and does not use it costs no socket."""
    folder = serve.make_folder()
    folder.chmod(0o777)
    text = FOLLOWER.replace("{folder}", str(folder)).replace("{at_once}", "False")
    firewall = serve(CONFIG, filters={"follower": text})
    assert netlink_sockets(firewall.pid) == 0
    firewall.stop()
    assert notices_of(folder) == ["FilterShutdown"]


RETRIER = """
from pathlib import Path

@sdk.implementer(sdk.IFWXLowResourceRecoveryOperation)
class Retry(sdk.Unknown):
    def __init__(self, path):
        self.path = path

    def Recover(self, UserData):
        open("/dev/null").close()  # fails as long as there are no descriptors
        self.path.write_text(str(UserData))

class Filter(Filter):
    def FilterInit(self, pIFWXFirewall):
        recoverer = pIFWXFirewall.QueryInterface(sdk.IFWXFirewall2).GetLowResourceRecoverer()
        path = Path("{folder}") / "recovered"
        self.cookie = recoverer.RegisterForLowResourceRecovery(Retry(path), 17)
        self.recoverer = recoverer
        return super().FilterInit(pIFWXFirewall)

    def AttachToSession(self, piSession, pFilterHookEvents):
        return Asking(self)

@sdk.implementer(sdk.IFWXSessionFilter)
class Asking(sdk.Unknown):
    def __init__(self, owner):
        self.owner = owner

    def FirewallEventHandler(self, pProxyEvent):
        self.owner.recoverer.SignalLowResourceFailure(self.owner.cookie)

    def Detach(self):
        pass
"""


def test_recovery_waits_for_descriptors(serve: Any, origin: Any, client: Any, eventually: Any) -> None:
    """B11.11: signalled by a connection, while clients wait for descriptors; it succeeds when they have gone."""
    prelude = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
    folder = serve.make_folder()
    folder.chmod(0o777)
    firewall = serve(folder=folder, prelude=prelude, filters={"retrier": RETRIER.replace("{folder}", str(folder))})
    server = origin()
    first = client.connect(firewall.address())
    opened = [client.connect(firewall.address()) for _ in range(60)]
    eventually(lambda: "resources are short" in firewall.stderr(), "the shortage")
    first.sendall(b"\x05\x01\x00" + client.socks_request(server.address))
    client.exactly(first, 4)  # whatever becomes of it: there is no descriptor for the way to the server
    assert not (folder / "recovered").exists()
    for sock in opened:
        sock.close()
    eventually(lambda: (folder / "recovered").exists() and (folder / "recovered").read_text(), "the recovery")
    assert (folder / "recovered").read_text() == "17"
    first.close()


STOPPER = """
class Filter(Filter):
    def FilterShutdown(self):
        self.firewall.QueryInterface(sdk.IFWXFirewall2).UpdateServiceStatus(90000)
        super().FilterShutdown()
"""


def test_more_time_for_a_stop(serve: Any) -> None:
    """B1.13: systemd is told microseconds, by what it listens on; without it the call succeeds all the same."""
    folder = serve.make_folder()
    folder.chmod(0o777)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(60)
        manager.bind(str(folder / "notify"))
        (folder / "notify").chmod(0o777)
        firewall = serve(folder=folder, filters={"stopper": STOPPER}, env={"NOTIFY_SOCKET": str(folder / "notify")})
        firewall.stop()
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"STOPPING=1", b"EXTEND_TIMEOUT_USEC=90000000"]
    alone = serve(filters={"stopper": STOPPER})
    alone.stop()
    assert alone.alerts() == []
