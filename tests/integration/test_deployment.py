"""What is in ``examples/deployment``, tried: the units by a real systemd, socket activation with real clients."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from tests import dockerfile
from tests.integration.proxies import free_port
from tests.integration.systemd import Manager
from tests.name_server import ADDRESS, dig, name_server

FOLDER = Path(__file__).resolve().parent.parent.parent / "examples" / "deployment"
PAGE = b"the page of the origin\n"
DROP_INS = {
    "memory": [],
    "nftables": ["nftables"],
    "low ports": ["low-ports"],
    "transparent": ["transparent"],
    "net config": ["net-config"],
}
# How exposed systemd-analyze finds the unit, of 100; what is left is what a proxy is for: the network.
EXPOSURES = {"memory": 13, "nftables": 19, "low ports": 17, "transparent": 20, "net config": 14}
CAPABILITIES: dict[str, set[str]] = {
    "memory": set(),
    "nftables": {"CAP_NET_ADMIN"},
    "low ports": {"CAP_NET_BIND_SERVICE"},
    "transparent": {"CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"},
    "net config": set(),
}
# The processes beside the service's own.
HELPERS = {"memory": 0, "nftables": 1, "low ports": 0, "transparent": 2, "net config": 0}
BITS = {"CAP_NET_ADMIN": 1 << 12, "CAP_NET_BIND_SERVICE": 1 << 10}
CONFIG = """
[service]
state_dir = "/var/lib/fwx"

[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:{port}"
"""
NFTABLES = '[packet_filter]\nbackend = "nftables"\n'
TRANSPARENT = """
[[listener]]
name = "all"
kind = "transparent"
mode = "tproxy"
bind = "0.0.0.0:15001"
keep_client_address = true
"""


@pytest.fixture(params=list(DROP_INS))
def variant(request: pytest.FixtureRequest) -> str:
    """The unit alone, and with each drop-in."""
    return str(request.param)


@pytest.fixture
def units(tmp_path: Path, variant: str) -> Path:
    """A folder as ``/etc/systemd/system`` would be; the program is one that this machine has."""
    unit = (FOLDER / "fwx.service").read_text().replace("/opt/fwx/bin/fwx", "/bin/true")
    (tmp_path / "fwx.service").write_text(unit)
    shutil.copy(FOLDER / "fwx.socket", tmp_path)
    (tmp_path / "fwx.service.d").mkdir()
    for name in DROP_INS[variant]:
        shutil.copy(FOLDER / "drop-ins" / f"{name}.conf", tmp_path / "fwx.service.d")
    return tmp_path


# ---- what systemd thinks of the units --------------------------------------------------------------------------------


@pytest.mark.requires("systemd-analyze")
def test_the_units_are_well_formed(units: Path, program_path: Callable[[str], str]) -> None:
    command = [program_path("systemd-analyze"), "verify", "--man=no", units / "fwx.service", units / "fwx.socket"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    ours = [line for line in ended.stderr.splitlines() if "fwx" in line]
    assert (ended.returncode, ours) == (0, [])


@pytest.mark.requires("systemd-analyze")
def test_the_service_is_little_exposed(units: Path, variant: str, program_path: Callable[[str], str]) -> None:
    command = [program_path("systemd-analyze"), "security", "--offline=true", "--no-pager"]
    threshold = f"--threshold={EXPOSURES[variant]}"
    ended = subprocess.run(
        [*command, threshold, units / "fwx.service"], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stdout
    assert "Overall exposure level for fwx.service" in ended.stdout


@pytest.mark.parametrize("name", ["nftables", "low ports", "transparent"])
def test_a_drop_in_gives_the_capabilities_that_are_needed(name: str) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    (file,) = DROP_INS[name]
    parser.read(FOLDER / "drop-ins" / f"{file}.conf")
    service = parser["Service"]
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"]
    assert set(service["AmbientCapabilities"].split()) == CAPABILITIES[name]


def test_the_socket_is_for_the_listener_of_the_example() -> None:
    text = (FOLDER / "fwx.socket").read_text()
    config = (FOLDER / "fwx.toml").read_text()
    (address,) = re.findall(r"^ListenStream=(.*)$", text, re.MULTILINE)
    (name,) = re.findall(r"^FileDescriptorName=(.*)$", text, re.MULTILINE)
    assert f'name = "{name}"\nkind = "proxy"\nbind = "{address}"\n' in config


# ---- a real systemd --------------------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path, eventually: Any) -> Iterator[Manager]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to run systemd in namespaces")
    manager = Manager(tmp_path, eventually)
    yield manager
    manager.close()


@pytest.fixture
def fetch(manager: Manager, background: Any, eventually: Any) -> Callable[[int, str], bytes]:
    """Have curl fetch the page through the proxy port, beside systemd; the server runs there too."""
    (Path(manager._folder) / "etc" / "page").write_bytes(PAGE)
    command = ("python3", "-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", "/etc/fwx")
    background(*manager.inside("/opt/" + command[0].replace("python3", f"python/bin/python3.{sys.version_info.minor}"),
                               *command[1:]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    curl = ("curl", "-q", "-sS", "--noproxy", "", "-m", "20")
    eventually(lambda: manager.run(*curl, "http://127.0.0.1:8000/page", check=False).returncode == 0, "http.server")

    def fetch(port: int, scheme: str = "socks5h") -> bytes:
        url = "http://127.0.0.1:8000/page"
        return manager.run(*curl, "-x", f"{scheme}://127.0.0.1:{port}", url).stdout.encode()

    return fetch


@pytest.mark.requires("systemctl", "nsenter", "ip", "curl", "nft")
def test_the_unit_under_a_real_systemd(manager: Manager, variant: str, fetch: Any) -> None:
    """``Type=notify`` and the whole sandbox; each process has the capabilities that it needs, and no other one."""
    manager.install("fwx.service", (FOLDER / "fwx.service").read_text())
    for name in DROP_INS[variant]:
        manager.install(f"fwx.service.d/{name}.conf", (FOLDER / "drop-ins" / f"{name}.conf").read_text())
    port = 80 if variant == "low ports" else 1080
    more = {"nftables": NFTABLES, "transparent": TRANSPARENT + NFTABLES}
    manager.configure(CONFIG.format(port=port) + more.get(variant, ""))
    manager.run("systemctl", "daemon-reload")
    manager.run("systemctl", "start", "fwx.service")
    assert manager.show("fwx.service", "ActiveState") == "active", "start waits for READY"
    assert fetch(port, "socks5h") == fetch(port, "http") == PAGE

    processes = manager.processes()
    granted = sum(BITS[name] for name in CAPABILITIES[variant])
    assert len(processes) == 1 + HELPERS[variant]
    effective = [int(each["CapEff"], 16) for each in processes]
    assert effective == [0, BITS["CAP_NET_ADMIN"], granted][: len(processes)]
    for each in processes:
        assert int(each["CapBnd"], 16) == granted
        assert int(each["CapAmb"], 16) == 0
        assert (each["NoNewPrivs"], each["Seccomp"]) == ("1", "2")
        assert "0" not in each["Uid"].split()
    if HELPERS[variant]:
        assert "table inet fwx_" in manager.run("nft", "list", "tables").stdout

    manager.run("systemctl", "stop", "fwx.service")
    assert manager.show("fwx.service", "Result") == "success"
    assert manager.run("nft", "list", "tables").stdout == ""
    assert "Traceback" not in manager.said()


@pytest.mark.requires("systemctl", "nsenter", "ip", "curl", "ss")
def test_the_socket_unit_under_a_real_systemd(manager: Manager, fetch: Any) -> None:
    """The first client starts the service; the port stays open while it restarts."""
    for name in ("fwx.service", "fwx.socket"):
        manager.install(name, (FOLDER / name).read_text())
    manager.configure(CONFIG.format(port=1080))
    manager.run("systemctl", "daemon-reload")
    manager.run("systemctl", "start", "fwx.socket")
    assert manager.show("fwx.service", "ActiveState") == "inactive"
    assert fetch(1080) == PAGE
    assert manager.show("fwx.service", "ActiveState") == "active"
    first = manager.show("fwx.service", "MainPID")
    manager.run("systemctl", "restart", "fwx.service")
    assert manager.show("fwx.service", "MainPID") != first
    assert fetch(1080) == PAGE
    manager.configure(CONFIG.format(port=1080) + "colour = 1\n")
    assert manager.run("systemctl", "reload", "fwx.service", check=False).returncode != 0
    manager.configure(CONFIG.format(port=1080) + "# as it was\n")
    manager.run("systemctl", "reload", "fwx.service")
    assert "version 2 of the configuration is in force (apply, by user" in manager.said()
    assert fetch(1080) == PAGE
    manager.run("systemctl", "stop", "fwx.service")
    assert ":1080" in manager.run("ss", "-ltn").stdout
    manager.configure(CONFIG.format(port=1081))
    manager.run("systemctl", "start", "fwx.service", check=False)
    words = "listener 'proxy': cannot listen on 127.0.0.1:1081: the socket that was passed does not fit: it is bound to"
    assert f"{words} 127.0.0.1:1080; its unit and bind must agree" in manager.said()


# ---- activated without systemd as the first process ------------------------------------------------------------------


@pytest.fixture
def activated(program_path: Callable[[str], str]) -> Callable[..., tuple[str, ...]]:
    """The command that passes sockets: systemd-socket-activate."""

    def command(*options: str, names: str) -> tuple[str, ...]:
        kept = [f"--setenv={name}" for name in ("PYTHONPATH", "COVERAGE_FILE", "COVERAGE_PROCESS_START")]
        quiet = ("env", "SYSTEMD_LOG_LEVEL=err")
        return (*quiet, program_path("systemd-socket-activate"), *options, f"--fdname={names}", *kept)

    return command


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.requires("systemd-socket-activate", "curl")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_curl_through_a_passed_socket(
    serve: Any, origin: Any, activated: Any, program_path: Callable[[str], str], loop: str
) -> None:
    """Two listeners of one service; the service binds nothing, and its end leaves the sockets to who passed them."""
    server = origin(_page)
    ports = [free_port(), free_port()]
    config = "".join(
        f'[[listener]]\nname = "{name}"\nkind = "proxy"\nbind = "127.0.0.1:{port}"\n'
        for name, port in zip(("one", "two"), ports, strict=True)
    )
    prefix = activated(*(f"--listen=127.0.0.1:{port}" for port in ports), names="one:two")
    curl = [program_path("curl"), "-q", "-sS", "--noproxy", "", "-m", "30"]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_knock, ports[0])
        firewall = serve(config, loop=loop, prefix=prefix)
        first.result().close()
    for scheme, port in (("socks5h", ports[0]), ("http", ports[1])):
        got = subprocess.run(
            [*curl, "-p", "-x", f"{scheme}://127.0.0.1:{port}", f"http://127.0.0.1:{server.port}/"],
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert got.stdout == PAGE, got.stderr
    rows = firewall.wait_rows(2, Action=int(Action.Terminate))
    assert {row["Interface"] for row in rows} == {"one", "two"}
    firewall.stop()


NOTING = """
import os
from pathlib import Path

def note(*words):
    with Path("{folder}/notes").open("a") as notes:
        print(os.getpid(), *words, file=notes)

class Filter(Filter):
    def __init__(self):
        note("made")

    def FilterInit(self, pIFWXFirewall):
        events = super().FilterInit(pIFWXFirewall)
        note("ready")
        return events

    def AttachToSession(self, piSession, pFilterHookEvents):
        note("asked")
        return super().AttachToSession(piSession, pFilterHookEvents)
"""


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.requires("systemd-socket-activate")
def test_a_client_that_is_there_before_the_filters(serve: Any, origin: Any, client: Any, activated: Any) -> None:
    """B1.1, B1.10: in the service's process the one filter object is ready before the request is looked at."""
    server, port = origin(), free_port()
    folder = serve.make_folder()
    folder.chmod(0o777)
    config = f'[[listener]]\nname = "proxy"\nkind = "proxy"\nbind = "127.0.0.1:{port}"\n'
    with ThreadPoolExecutor(1) as pool:
        knocking = pool.submit(_knock, port, b"\x05\x01\x00" + client.socks_request(server.address))
        prefix = activated(f"--listen=127.0.0.1:{port}", names="proxy")
        noting = {"noting": NOTING.replace("{folder}", str(folder))}
        firewall = serve(config, folder=folder, prefix=prefix, filters=noting)
        with knocking.result() as sock:
            assert client.exactly(sock, 4) == b"\x05\x00\x05\x00"
            assert (folder / "notes").read_text().split("\n") == [
                f"{firewall.pid} {word}" for word in ("made", "ready", "asked")
            ] + [""]


@pytest.mark.path(entry="publish", exit="direct", transport="udp")
@pytest.mark.requires("systemd-socket-activate", "dnsmasq", "dig")
def test_dig_through_a_passed_socket(serve: Any, activated: Any, program_path: Callable[[str], str]) -> None:
    """The query that starts the service is answered."""
    with name_server(program_path("dnsmasq")) as server:
        port = _free_udp_port()
        config = (
            '[[listener]]\nname = "dns"\nkind = "publish"\ntransport = "udp"\n'
            f'bind = "127.0.0.1:{port}"\nto = "127.0.0.1:{server}"\n'
        )
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(_dig_until_answered, program_path("dig"), port)
            firewall = serve(config, prefix=activated("--datagram", f"--listen=127.0.0.1:{port}", names="dns"))
            assert first.result() == ADDRESS
        assert dig(program_path("dig"), port) == ADDRESS
        firewall.stop()


@pytest.mark.requires("systemd-socket-activate")
@pytest.mark.parametrize(
    ("names", "bind", "words"),
    [
        ("proxy", "127.0.0.1:1", "does not fit: it is bound to 127.0.0.1:{port}; its unit and bind must agree"),
        ("prxy", "127.0.0.1:0", "a socket named 'prxy' was passed, and no listener has that name"),
    ],
)
def test_a_passed_socket_that_does_not_fit(
    serve: Any, activated: Any, background: Any, names: str, bind: str, words: str
) -> None:
    """The service does not start, and says why."""
    port = free_port()
    folder = serve.make_folder()
    command, environment = serve.command(folder, "")
    (folder / "fwx.toml").write_text(f'[[listener]]\nname = "proxy"\nkind = "proxy"\nbind = "{bind}"\n')
    prefix = activated(f"--listen=127.0.0.1:{port}", names=names)
    process = background(
        *prefix, *command, "--config", str(folder / "fwx.toml"), env=environment, cwd=folder, stderr=subprocess.PIPE
    )
    with _knock(port):
        assert process.wait(30) == 1
    assert words.format(port=port) in process.stderr.read().decode()


def test_the_service_manager_is_told(serve: Any, tmp_path: Path) -> None:
    """Ready when clients are let in, stopping at SIGTERM."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(60)
        manager.bind(f"\0fwx-{tmp_path}")
        firewall = serve(env={"NOTIFY_SOCKET": f"@fwx-{tmp_path}"})
        assert manager.recv(100) == b"READY=1"
        firewall.tell()
        assert manager.recv(100) == b"STOPPING=1"
        firewall.wait_stopped()


def _page(client: socket.socket) -> None:
    while b"\r\n\r\n" not in client.recv(65536):
        pass
    client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE)


def _knock(port: int, request: bytes = b"") -> socket.socket:
    """Connect as soon as somebody listens, and send *request*."""
    while True:
        sock = socket.socket()
        if not sock.connect_ex(("127.0.0.1", port)):
            sock.settimeout(60)
            sock.sendall(request)
            return sock
        sock.close()


def _free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _dig_until_answered(program: str, port: int) -> str:
    """Ask again while nobody has the port."""
    while (answer := dig(program, port, 20)) == "no answer":
        pass
    return answer


# ---- the image -------------------------------------------------------------------------------------------------------


def test_what_the_dockerfile_names_is_there(source_tree: Path) -> None:
    """Sources of COPY are in the tree and let through by its ignore file; what is taken from a stage was made there."""
    build, image = dockerfile.read(source_tree / dockerfile.FILE)
    passed = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    for stage in (build, image):
        for origin, sources, _ in stage.copies():
            for source in sources:
                if origin:
                    assert origin == build.name
                    assert any(f"venv {source} " in step.text for step in build.steps)
                else:
                    assert (source_tree / source).exists(), source
                    assert any(source == each or source.startswith(f"{each}/") for each in passed), source
    assert all((source_tree / each).exists() for each in passed)


def test_the_image_starts_what_is_in_it(source_tree: Path) -> None:
    """As an account of its own, on the port that it exposes and looks at, with the configuration that it copies."""
    _, image = dockerfile.read(source_tree / dockerfile.FILE)
    targets = {destination: source for origin, source, destination in image.copies() if not origin}
    program, *arguments = image.command()
    assert program == "/opt/fwx/bin/fwx"
    assert arguments == ["serve", "--config", "/etc/fwx/fwx.toml"]
    (config,) = targets["/etc/fwx/fwx.toml"]
    check = [sys.executable, "-m", "fwx", "check", str(source_tree / config)]
    ended = subprocess.run(check, cwd=source_tree, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    port = image.last("EXPOSE")
    assert f'bind = "0.0.0.0:{port}"' in (source_tree / config).read_text()
    _, script, _, looked_at = image.health_check()
    assert looked_at == port
    assert (source_tree / targets[script][0]).is_file()
    user = image.last("USER")
    assert user not in ("root", "0")
    assert any(step.name == "RUN" and "useradd --system" in step.text and user in step.text for step in image.steps)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RUN true\n", ":1: RUN: expected one of"),
        ("FROM a AS b\n# c\n\nADD x y\n", ":4: ADD: expected one of"),
    ],
)
def test_an_instruction_that_cannot_be_tried_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "Dockerfile").write_text(text)
    with pytest.raises(ValueError, match=words):
        dockerfile.read(tmp_path / "Dockerfile")


@pytest.mark.parametrize("demand", ["off", "required"])
def test_the_health_check(serve: Any, origin: Any, demand: str) -> None:
    """Well with and without passwords; ill where nobody listens, or somebody else."""
    config = f'[[listener]]\nname = "proxy"\nkind = "proxy"\nbind = "127.0.0.1:0"\nauthenticate = "{demand}"\n'
    address = serve(config).address()
    greeter = origin(lambda client: client.sendall(b"220 ready\r\n"))
    for (host, port), status in ((address, 0), (("127.0.0.1", free_port()), 1), (greeter.address, 1)):
        command = [sys.executable, str(FOLDER / "healthcheck.py"), host, str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert ended.returncode == status, ended.stderr
        assert bool(ended.stderr) == bool(status)


@pytest.mark.parametrize("name", ["fwx.toml", "container.toml"])
def test_the_configurations_are_sound(source_tree: Path, name: str) -> None:
    check = [sys.executable, "-m", "fwx", "check", str(FOLDER / name)]
    ended = subprocess.run(check, cwd=source_tree, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
