"""The filter exe-block in a running service, beside ftp: lftp and curl against pyftpdlib and vsftpd."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from tests.integration.file_servers import FILE, MODES, Curl, FileServer, Lftp, PythonServer, VsFtpServer, programs
from tests.integration.namespaces import CLIENT4, SERVER4, gateway_of

CONFIG = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"

[[listener]]
name = "pyftpdlib"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{pyftpdlib}"

[[listener]]
name = "vsftpd"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{vsftpd}"

[[protocol]]
name = "control"
ports = [
    {{ transport = "tcp", direction = "outbound", first = {pyftpdlib} }},
    {{ transport = "tcp", direction = "outbound", first = {vsftpd} }},
]

[[filter]]
name = "files"
use = "fwx.filters.ftp:FtpFilter"
options = {{ {ftp} }}

[[filter]]
name = "programs"
use = "fwx.filters.exe_block:ExeBlock"
options = {{ {options}folder = "{folder}" }}

[[rule]]
name = "ftp"
action = "allow"
protocols = ["control"]
from = ["localhost"]
to = ["localhost"]
filters = [{filters}]
"""
PROGRAM = b"MZ" + FILE
BIG = os.urandom(1 << 20) * 20
REASON = "exe-block: RETR program: a program for DOS or Windows"
WAYS = {"socks5": "", "http-connect": "", "publish": "published = true", "straight": ""}


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, program_path: Any, eventually: Any
) -> Iterator[dict[str, FileServer]]:
    if os.geteuid() != 0:
        pytest.skip("vsftpd needs root")
    folder = tmp_path_factory.mktemp("exe-block")
    with programs() as start:
        made = {
            "pyftpdlib": PythonServer(folder / "one", start),
            "vsftpd": VsFtpServer(folder / "other", program_path("vsftpd"), start, eventually),
        }
        for server in made.values():
            (server.folder / "program").write_bytes(PROGRAM)
            (server.folder / "big").write_bytes(BIG)
            (server.folder / "MZ is the name of a text").write_bytes(b"text")
        yield made


def spool_folder(folder: Path) -> Path:
    """A folder that the account without privileges may write to."""
    spool = folder / "spool"
    spool.mkdir()
    spool.chmod(0o1777)
    return spool


@pytest.fixture(scope="module")
def services(servers: dict[str, FileServer], serve_for_module: Any) -> Callable[[str], Any]:
    """The service for a way to the servers: one with published servers, one for the rest."""
    running: dict[str, Any] = {}

    def service(way: str) -> Any:
        ftp = WAYS[way]
        if ftp not in running:
            folder = serve_for_module.make_folder()
            # The order of the two makes no difference.
            filters = '"programs", "files"' if ftp else '"files", "programs"'
            config = configured(servers, spool_folder(folder), ftp=ftp, filters=filters)
            running[ftp] = serve_for_module(config, folder=folder)
        return running[ftp]

    return service


def configured(servers: dict[str, FileServer], spool: Path, ftp: str = "", options: str = "", filters: str = "") -> str:
    ports = {name: server.port for name, server in servers.items()}
    filters = filters or '"files", "programs"'
    return CONFIG.format(**ports, folder=spool, ftp=ftp, options=options, filters=filters)


@pytest.fixture
def curl(program_path: Callable[[str], str]) -> Curl:
    return Curl(program_path("curl"))


@pytest.fixture
def lftp(program_path: Callable[[str], str]) -> Lftp:
    return Lftp(program_path("lftp"))


def place(firewall: Any, servers: dict[str, FileServer], name: str, way: str) -> tuple[int, tuple[str, ...]]:
    """Where a client of curl's goes, and how."""
    if way == "publish":
        return firewall.address(name)[1], ()
    if way == "straight":
        return servers[name].port, ()
    host, port = firewall.address("proxy")
    proxy = f"socks5://{host}:{port}" if way == "socks5" else f"http://{host}:{port}"
    return servers[name].port, ("--proxytunnel", "--proxy", proxy)


def refusals(firewall: Any, before: int) -> int:
    """How many records behind the first *before* say that the program was refused."""
    return sum(row["reason"].endswith(REASON) for row in firewall.rows()[before:])


@pytest.mark.requires("curl", "vsftpd")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.path(entry="publish", exit="direct", transport="tcp")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["pyftpdlib", "vsftpd"])
@pytest.mark.parametrize("way", WAYS)
def test_curl(
    services: Any, servers: dict[str, FileServer], curl: Curl, eventually: Any, way: str, name: str, mode: str
) -> None:
    """B12.1, B12.2, B2.40: a file comes as it is, of a program not one byte; without the firewall both come."""
    firewall = services(way)
    before, alerts = len(firewall.rows()), len(firewall.alerts())
    port, options = place(firewall, servers, name, way)
    got = curl(port, *options, *MODES[mode])
    assert (got.returncode, got.stderr, got.stdout == FILE) == (0, b"", True)
    got = curl(port, "-v", *options, *MODES[mode], path="program")
    if way == "straight":
        assert (got.returncode, got.stdout == PROGRAM) == (0, True)
        return
    assert (got.returncode, got.stdout) == (78, b"")  # the file could not be fetched
    assert b"< 550 Programs are not allowed here" in got.stderr
    eventually(lambda: refusals(firewall, before) == 2, "the records of the control and of the data connection")
    assert len(firewall.alerts()) in (alerts, alerts + 1)
    assert firewall.rows(Action=int(Action.Denied)) == []
    firewall.wait_base_line()


REST = """
[[rule]]
name = "everything"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
"""


@pytest.mark.requires("curl", "vsftpd")
def test_alone(serve: Any, servers: dict[str, FileServer], curl: Curl, eventually: Any) -> None:
    """B2.41: the data connection stands under a rule that names no filter, and is looked at all the same."""
    folder = serve.make_folder()
    firewall = serve(configured(servers, spool_folder(folder), filters='"programs"') + REST, folder=folder)
    port, options = place(firewall, servers, "vsftpd", "socks5")
    assert curl(port, *options).stdout == FILE
    got = curl(port, *options, path="program")
    assert (got.returncode, got.stdout) == (78, b"")
    eventually(lambda: {row["rule"] for row in firewall.rows()} == {"ftp", "everything"}, "records under both rules")
    got = curl(port, *options, "--ftp-port", "127.0.0.9")
    assert got.returncode == 30  # PORT is refused: nobody would open and watch the port
    firewall.wait_base_line()


@pytest.mark.requires("lftp", "vsftpd")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.path(entry="publish", exit="direct", transport="bind")
@pytest.mark.parametrize("name", ["pyftpdlib", "vsftpd"])
@pytest.mark.parametrize(
    ("way", "settings"),
    [
        ("http-connect", "set ftp:prefer-epsv yes"),
        ("publish", "set ftp:prefer-epsv no; set ftp:fix-pasv-address no"),
        ("publish", "set ftp:passive-mode no; set ftp:port-ipv4 127.0.0.1"),
        ("straight", ""),
    ],
)
def test_lftp(
    services: Any, servers: dict[str, FileServer], lftp: Lftp, tmp_path: Path, way: str, name: str, settings: str
) -> None:
    """A session goes on behind what was refused; a listing is no file, whatever it begins with."""
    firewall = services(way)
    port, _ = place(firewall, servers, name, way)
    if way == "http-connect":
        host, proxy = firewall.address("proxy")
        settings = f"set ftp:proxy http://{host}:{proxy}; set ftp:use-hftp no; {settings}"
    to = {each: tmp_path / each for each in ("one", "program", "two")}
    commands = f"nlist; get file -o {to['one']}; set cmd:fail-exit no; get program -o {to['program']};"
    commands += f"set cmd:fail-exit yes; get file -o {to['two']}"
    got = lftp(port, settings, commands)
    assert b"MZ is the name of a text" in got.stdout
    assert to["one"].read_bytes() == to["two"].read_bytes() == FILE
    arrived = to["program"].read_bytes() if to["program"].exists() else b""
    assert arrived == (PROGRAM if way == "straight" else b"")
    assert (b"550 Programs are not allowed here" in got.stderr) == (way != "straight")
    firewall.wait_base_line()


@pytest.mark.requires("curl", "vsftpd")
def test_a_big_file(services: Any, servers: dict[str, FileServer], curl: Curl) -> None:
    """It is on the disk while it is held, not in memory."""
    firewall = services("publish")
    port, options = place(firewall, servers, "vsftpd", "publish")
    assert curl(port, *options).stdout == FILE
    before = int(firewall.status("VmHWM")[0])
    got = curl(port, *options, path="big")
    assert hashlib.sha256(got.stdout).digest() == hashlib.sha256(BIG).digest()
    grown = int(firewall.status("VmHWM")[0]) - before
    assert grown < 8 << 10, f"{grown} KiB for {len(BIG) >> 10} KiB"
    firewall.wait_base_line()


@pytest.mark.requires("curl", "mount", "vsftpd")
def test_a_full_disk(
    serve: Any, servers: dict[str, FileServer], curl: Curl, program_path: Any, eventually: Any
) -> None:
    """It fails closed; when there is room again, files pass."""
    folder = serve.make_folder()
    spool = spool_folder(folder)
    mount = [program_path("mount"), "-t", "tmpfs", "-o", "size=2m,mode=1777", "tmpfs", str(spool)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot mount a tmpfs: {made.stderr.strip()}")
    try:
        firewall = serve(configured(servers, spool, "published = true"), folder=folder)
        port = firewall.address("pyftpdlib")[1]
        got = curl(port, path="big")
        assert (got.returncode, got.stdout) == (18, b"")  # it had begun, and ended too early
        assert curl(port).stdout == FILE
        firewall.wait_base_line()
        (alert,) = eventually(firewall.alerts, "the alert")
        assert (alert["event"], alert["message"]) == (
            "File not looked at",
            "client 127.0.0.1: RETR big: there is no room on the disk",
        )
        assert list(spool.iterdir()) == []
        firewall.stop()
    finally:
        subprocess.run([program_path("umount"), str(spool)], check=True)


@pytest.mark.requires("curl", "vsftpd")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_uploads(serve: Any, servers: dict[str, FileServer], curl: Curl, tmp_path: Path, loop: str) -> None:
    """Where they are looked at too, a server gets nothing of a program."""
    folder = serve.make_folder()
    config = configured(servers, spool_folder(folder), "published = true", "uploads = true, ")
    firewall = serve(config, folder=folder, loop=loop)
    port = firewall.address("vsftpd")[1]
    for name, content in (("text", FILE), ("setup", PROGRAM)):
        (tmp_path / name).write_bytes(content)
        got = curl(port, "--upload-file", str(tmp_path / name), path=f"up/{name}-{loop}")
        assert (got.returncode == 0) == (name == "text")
        stored = servers["vsftpd"].folder / "up" / f"{name}-{loop}"
        assert stored.read_bytes() == (FILE if name == "text" else b"")
    firewall.wait_base_line()


TRANSPARENT = """
[service]
name = "gateway"

[packet_filter]
backend = "nftables"

[[network]]
name = "inside"
ranges = ["10.1.0.0/16"]

[[listener]]
name = "tcp4"
kind = "transparent"
mode = "tproxy"
bind = "0.0.0.0:15001"

[[filter]]
name = "files"
use = "fwx.filters.ftp:FtpFilter"

[[filter]]
name = "programs"
use = "fwx.filters.exe_block:ExeBlock"

[[rule]]
name = "ftp"
action = "allow"
protocols = ["FTP"]
from = ["inside"]
to = ["external"]
filters = ["files", "programs"]
"""


@pytest.mark.requires("curl", "ip", "nft")
@pytest.mark.path(entry="tproxy", exit="direct", transport="tcp")
@pytest.mark.path(entry="tproxy", exit="direct", transport="bind")
def test_transparent(namespace: str, serve: Any, program_path: Any, source_tree: Path, tmp_path: Path) -> None:
    """B12.1: for a client that knows of no firewall, in every mode."""
    with gateway_of(namespace, program_path("ip")) as three, programs() as start:
        example = source_tree / "examples" / "gateway"
        three.run(three.firewall, program_path("nft"), "-f", str(example / "gateway.nft"))
        three.run(three.firewall, "sh", str(example / "routes.sh"))
        server = PythonServer(tmp_path / "served", start, SERVER4, 21, three.prefix(three.server))
        (server.folder / "program").write_bytes(PROGRAM)
        firewall = serve(TRANSPARENT, prefix=three.prefix(three.firewall))
        curl = [*three.prefix(three.client), program_path("curl"), "-sS", "-m", "20"]
        for mode in (("--disable-epsv",), (), ("--ftp-port", CLIENT4, "--disable-eprt")):
            for name, content in (("file", FILE), ("program", b"")):
                command = [*curl, *mode, f"ftp://{SERVER4}/{name}"]
                got = subprocess.run(command, capture_output=True, timeout=60, check=False)
                assert (got.returncode, got.stdout == content) == (0 if content else 78, True), got.stderr
        firewall.wait_base_line()
