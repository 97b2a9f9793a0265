"""curl, ncat and ssh-style piping through a running service to nginx, http.server and openssl."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.logrecord import Action

LOOPS = ("uvloop", "asyncio")
PAGE = b"the page of the origin\n"

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        listen [::1]:{port};
        listen 127.0.0.1:{secure} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        root {folder}/pages;
    }}
}}
"""


@pytest.fixture
def pages(serve: Any) -> Path:
    """A folder that every account can read: ``page`` and ``big``."""
    folder: Path = serve.make_folder() / "pages"
    folder.mkdir()
    (folder / "page").write_bytes(PAGE)
    (folder / "big").write_bytes(random.Random(2).randbytes(8 << 20))
    return folder


@pytest.fixture
def free_ports(client: Any) -> Callable[[int], list[int]]:
    """Ports nobody has; nginx cannot choose its own and say which."""

    def find(count: int) -> list[int]:
        import socket

        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [made.getsockname()[1] for made in sockets]
        for made in sockets:
            made.close()
        return ports

    return find


@pytest.fixture
def nginx(
    pages: Path, background: Any, eventually: Any, client: Any, free_ports: Any, program_path: Callable[[str], str]
) -> Iterator[tuple[int, int]]:
    """nginx on 127.0.0.1 and ::1: the ports for HTTP and for HTTPS, where ``certificate.pem`` vouches for localhost."""
    folder = pages.parent
    make_certificate(folder)
    port, secure = free_ports(2)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, secure=secure))
    errors = folder / "nginx.txt"
    with errors.open("wb") as stderr:
        process = background(
            program_path("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf"), stderr=stderr
        )

    def answers() -> bool:
        assert process.poll() is None, errors.read_text()
        return (folder / "nginx.pid").exists()

    eventually(answers, "nginx to start")
    yield port, secure
    process.terminate()
    process.wait(10)


def make_certificate(folder: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", folder / "key.pem", "-out", folder / "certificate.pem", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def curl(program_path: Callable[[str], str]) -> Callable[..., bytes]:
    """Run curl without the environment's proxies and return what it printed; it must succeed."""

    def run(*arguments: str | Path) -> bytes:
        command = [program_path("curl"), "-q", "-sS", "--noproxy", "", "--max-time", "30", *arguments]
        result = subprocess.run(command, capture_output=True, check=False, env={"PATH": os.environ["PATH"]})
        assert result.returncode == 0, result.stderr.decode()
        return result.stdout

    return run


def url(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.requires("curl", "nginx")
@pytest.mark.parametrize("loop", LOOPS)
def test_curl(serve: Any, nginx: tuple[int, int], curl: Any, pages: Path, loop: str) -> None:
    """Every way to ask: SOCKS5 by name and by address, CONNECT with and without TLS behind it, IPv4 and IPv6."""
    port, secure = nginx
    firewall = serve(loop=loop)
    proxy = url(firewall.address())
    trusted = ("--cacert", pages.parent / "certificate.pem")
    asked = [
        (("-x", f"socks5h://{proxy}", f"http://127.0.0.1:{port}/page"), "127.0.0.1", "", port),
        (("-x", f"socks5h://{proxy}", f"http://localhost:{port}/page"), "", "localhost", port),
        (("-x", f"socks5://{proxy}", f"http://127.0.0.1:{port}/page"), "127.0.0.1", "", port),
        (("-x", f"socks5h://{proxy}", f"http://[::1]:{port}/page"), "::1", "", port),
        (("-p", "-x", f"http://{proxy}", f"http://127.0.0.1:{port}/page"), "127.0.0.1", "", port),
        (("-p", "-x", f"http://{proxy}", f"http://[::1]:{port}/page"), "::1", "", port),
        (("-p", "-x", f"http://{proxy}", *trusted, f"https://localhost:{secure}/page"), "", "localhost", secure),
        (("-x", f"socks5h://{proxy}", *trusted, f"https://127.0.0.1:{secure}/page"), "127.0.0.1", "", secure),
    ]  # fmt: skip
    for arguments, *_ in asked:
        assert curl(*arguments) == PAGE, arguments
    for (_, address, name, target_port), row in zip(asked, firewall.wait_rows(len(asked)), strict=True):
        assert (row["Action"], row["resultcode"], row["reason"]) == (Action.Terminate, 0, "")
        assert row["DestinationName"] == name
        assert row["DestinationIP"] == address or (name and row["DestinationIP"] in ("127.0.0.1", "::1"))
        assert row["DestinationPort"] == target_port
        assert row["SourceIP"] == "127.0.0.1"
        assert row["bytesrecvd"] > len(PAGE)
        assert row["bytessent"] > 50
    agents = {row["ClientAgent"].partition("/")[0] for row in firewall.rows()}
    assert agents == {"", "curl"}
    firewall.wait_base_line()


@pytest.mark.requires("curl", "nginx")
@pytest.mark.parametrize("loop", LOOPS)
def test_keep_alive_and_large_files(serve: Any, nginx: tuple[int, int], curl: Any, pages: Path, loop: str) -> None:
    """Several requests on one connection through the proxy, a large file among them."""
    firewall = serve(loop=loop)
    origin = f"http://127.0.0.1:{nginx[0]}"
    names = ["page", "big", "page", "big", "page"]
    got = curl("-x", f"socks5h://{url(firewall.address())}", *(f"{origin}/{name}" for name in names))
    assert (
        hashlib.sha256(got).digest() == hashlib.sha256(b"".join((pages / name).read_bytes() for name in names)).digest()
    )
    row = firewall.wait_row()
    assert row["bytesrecvd"] > 16 << 20


PUBLISHED = """
[[listener]]
name = "www"
kind = "publish"
bind = "127.0.0.1:0"
to = "{target}"

[[rule]]
name = "www"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
filters = ["monitor"]

[[filter]]
name = "monitor"
use = "fwx.filters.data_monitor:DataMonitor"
options = {{ alert_on = "of the origin" }}
"""


@pytest.mark.path(entry="publish", exit="direct", transport="tcp")
@pytest.mark.requires("curl", "nginx")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_published_server(serve: Any, nginx: tuple[int, int], curl: Any, host: str, eventually: Any) -> None:
    """A publish listener in front of nginx, with the data monitor looking on."""
    firewall = serve(PUBLISHED.format(target=f"{host}:{nginx[0]}"))
    page = f"http://{url(firewall.address('www'))}/page"
    assert curl(page, page, page) == PAGE * 3
    row = firewall.wait_row()
    assert (row["Interface"], row["rule"], row["filters"], row["Action"]) == ("www", "www", "monitor", Action.Terminate)
    (alert,) = eventually(firewall.alerts, "the monitor's alert")
    assert alert["event"] == "Pattern found in data"
    assert alert["filter"] == "data-monitor"


@pytest.mark.requires("curl")
def test_http_server_of_python(serve: Any, background: Any, curl: Any, pages: Path, eventually: Any) -> None:
    output = pages.parent / "http.txt"
    with output.open("wb") as file:
        background(
            sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", cwd=pages, stdout=file, stderr=file
        )
    eventually(lambda: b"Serving HTTP" in output.read_bytes(), "http.server")
    port = output.read_text().split("port ")[1].split()[0]
    firewall = serve()
    assert curl("-x", f"socks5h://{url(firewall.address())}", f"http://127.0.0.1:{port}/page") == PAGE


@pytest.mark.requires("curl")
def test_openssl_s_server(serve: Any, background: Any, curl: Any, pages: Path, eventually: Any) -> None:
    folder = pages.parent
    make_certificate(folder)
    output = folder / "openssl.txt"
    with output.open("wb") as file:
        background(
            *("openssl", "s_server", "-accept", "127.0.0.1:0", "-WWW"),
            *("-cert", str(folder / "certificate.pem"), "-key", str(folder / "key.pem")),
            cwd=pages, stdout=file, stderr=file, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    eventually(lambda: b"ACCEPT" in output.read_bytes(), "openssl s_server")
    port = output.read_text().split("ACCEPT")[1].split()[0].rpartition(":")[2]
    firewall = serve()
    proxy = f"http://{url(firewall.address())}"
    got = curl("-p", "-x", proxy, "--cacert", folder / "certificate.pem", f"https://localhost:{port}/page")
    assert got == PAGE


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.requires("ncat")
@pytest.mark.parametrize(("kind", "loop"), [("socks5", "uvloop"), ("http", "asyncio")])
def test_ncat_half_closes(serve: Any, origin: Any, program_path: Callable[[str], str], kind: str, loop: str) -> None:
    """``printf ... | ncat``: the end of the input is passed on, and the answer to it comes back."""
    server = origin("answer_at_end")
    firewall = serve(loop=loop)
    got = subprocess.run(
        [program_path("ncat"), "--proxy", url(firewall.address()), "--proxy-type", kind, server.host, str(server.port)],
        input=b"x" * 100_000,
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert got.stdout == b"100000 bytes"
    row = firewall.wait_row()
    assert (row["bytessent"], row["bytesrecvd"], row["reason"]) == (100_000, 12, "")


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.requires("ncat")
@pytest.mark.parametrize("loop", LOOPS)
def test_pipe_both_ways(serve: Any, origin: Any, program_path: Callable[[str], str], loop: str) -> None:
    """As ssh does with its ProxyCommand: a conversation over a long-lived pipe, then much data, then the end."""
    server = origin("echo")
    firewall = serve(loop=loop)
    proxy = ("--proxy", url(firewall.address()), "--proxy-type", "socks5")
    pipe = subprocess.Popen(
        [program_path("ncat"), *proxy, server.host, str(server.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with pipe:
        assert pipe.stdin is not None
        assert pipe.stdout is not None
        for number in range(50):
            line = b"line %d\n" % number
            pipe.stdin.write(line)
            pipe.stdin.flush()
            assert pipe.stdout.readline() == line
        blob = random.Random(3).randbytes(60_000)
        pipe.stdin.write(blob)
        pipe.stdin.close()
        assert pipe.stdout.read() == blob
    assert pipe.returncode == 0


@pytest.mark.requires("ip", "curl", "ncat")
def test_empty_configuration(
    serve: Any, namespace: str, background: Any, pages: Path, program_path: Callable[[str], str], eventually: Any
) -> None:
    """``fwx serve`` with an empty file listens on 127.0.0.1:1080; in a namespace, so that the port is free."""
    inside = (program_path("ip"), "netns", "exec", namespace)
    folder = serve.make_folder()
    firewall = serve("# " + "[[listener]]" + " is not written: the default holds\n", prefix=inside, folder=folder)
    assert firewall.address() == ("127.0.0.1", 1080)
    output = pages.parent / "http.txt"
    with output.open("wb") as file:
        background(*inside, sys.executable, "-u", "-m", "http.server", "80", cwd=pages, stdout=file, stderr=file)
    eventually(lambda: b"Serving HTTP" in output.read_bytes(), "http.server")

    def run(*command: str, **options: Any) -> bytes:
        return subprocess.run([*inside, *command], capture_output=True, check=True, timeout=30, **options).stdout

    curl = (program_path("curl"), "-q", "-sS", "--noproxy", "")
    assert run(*curl, "-x", "socks5h://127.0.0.1:1080", "http://localhost/page") == PAGE
    assert run(*curl, "-p", "-x", "http://127.0.0.1:1080", "http://127.0.0.1/page") == PAGE
    ncat = (program_path("ncat"), "--proxy", "127.0.0.1:1080", "--proxy-type", "socks5", "127.0.0.1", "80")
    assert run(*ncat, input=b"GET /page HTTP/1.0\r\n\r\n").endswith(PAGE)
    assert {row["rule"] for row in firewall.wait_rows(3)} == {"Embedded default"}
