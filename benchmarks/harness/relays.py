"""The relays: fwx without and with a data filter, HAProxy, nginx stream with an njs filter."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from harness.process import LOCALHOST, Running, find, free_port, settled_cpu_seconds, settled_memory

CHECKOUT = Path(__file__).resolve().parent.parent.parent
NGINX_MODULES = Path("/usr/lib/nginx/modules")

_FWX = """\
[service]
state_dir = "{folder}/state"

[[listener]]
name = "relay"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{target}"
{tls}
"""
FREELY = """\
[[rule]]
name = "all"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]

[limits]
tcp_per_address = 100000
tcp_connects_per_minute_per_address = 100000000
"""
"""Whoever is on this machine, and as often as they like."""
_MONITOR = """
[[filter]]
name = "monitor"
use = "fwx.filters.data_monitor:DataMonitor"
everywhere = true
options = { alert_on = "a pattern that does not occur" }
"""
HAPROXY_HEAD = """\
global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option splice-auto
frontend clients
"""
_HAPROXY = """\
  bind 127.0.0.1:{port}
  default_backend servers
backend servers
  server one 127.0.0.1:{target}
"""
_NGINX = """\
load_module {modules}/ngx_stream_module.so;
load_module {modules}/ngx_stream_js_module.so;
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
stream {{
  js_path "{folder}/";
  js_import watch from watch.js;
  server {{
    listen 127.0.0.1:{port} backlog=1024; proxy_pass 127.0.0.1:{target}; proxy_half_close on; js_filter watch.both;
  }}
}}
"""
_NJS = """\
function both(s) {
  s.on('upload', (data, flags) => s.send(data, flags));
  s.on('download', (data, flags) => s.send(data, flags));
}
export default {both};
"""


class Relay(NamedTuple):
    """A relay that runs: it listens on *port* of 127.0.0.1."""

    process: Running
    port: int

    def cpu(self) -> float:
        return settled_cpu_seconds(self.process.pid)

    def memory(self) -> int:
        return settled_memory(self.process.pid)


Start = Callable[[Path, int], Relay]
"""Starts a relay to a target port of 127.0.0.1, with a folder of its own for its files."""


def start_fwx(folder: Path, target: int, more: str = "", certificate: Path | None = None) -> Relay:
    """Run the service with a published port, which ends TLS where there is a *certificate*."""
    tls = f'tls = {{ certificate = "{certificate}", key = "{certificate}" }}' if certificate else ""
    return serve(folder, _FWX.format(folder=folder, target=target, tls=tls) + FREELY + more, "relay listens on")


def serve(folder: Path, configuration: str, words: str) -> Relay:
    """Run ``fwx serve``; the port is what it says behind *words*."""
    file = folder / "fwx.toml"
    file.write_text(configuration)
    return told(
        Running([sys.executable, "-m", "fwx", "serve", "--config", str(file)], folder / "said", CHECKOUT), words
    )


def told(process: Running, words: str) -> Relay:
    """Return the relay *process*, which says its port behind *words*."""
    try:
        return Relay(process, int(process.wait_for_text(words + r" [\d.]+:(\d+)")))
    except BaseException:
        process.__exit__()
        raise


def start_fwx_with_filter(folder: Path, target: int) -> Relay:
    return start_fwx(folder, target, _MONITOR)


def start_haproxy(folder: Path, target: int) -> Relay:
    port = free_port()
    return run_haproxy(folder, HAPROXY_HEAD + _HAPROXY.format(port=port, target=target), port)


def run_haproxy(folder: Path, configuration: str, port: int, host: str = LOCALHOST) -> Relay:
    file = folder / "haproxy.cfg"
    file.write_text(configuration)
    process = Running([find("haproxy") or "haproxy", "-db", "-q", "-f", str(file)], folder / "said")
    return listening(process, port, host=host)


def start_nginx_njs(folder: Path, target: int) -> Relay:
    port = free_port()
    (folder / "watch.js").write_text(_NJS)
    return run_nginx(folder, _NGINX.format(modules=NGINX_MODULES, folder=folder, port=port, target=target), port)


def run_nginx(folder: Path, configuration: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> Relay:
    file = folder / "nginx.conf"
    file.write_text(configuration)
    command = [find("nginx") or "nginx", "-e", "stderr", "-c", str(file)]
    return listening(Running(command, folder / "said"), port, kind)


def listening(
    process: Running, port: int, kind: socket.SocketKind = socket.SOCK_STREAM, host: str = LOCALHOST
) -> Relay:
    """Return the relay *process*, once it listens on *port*."""
    try:
        process.wait_for_port(port, kind, host)
    except BaseException:
        process.__exit__()
        raise
    return Relay(process, port)


def installed() -> dict[str, Start]:
    """Return the relays that can be started on this machine, in the order of the table."""
    relays: dict[str, Start] = {"fwx": start_fwx, "fwx+filter": start_fwx_with_filter}
    if find("haproxy"):
        relays["haproxy"] = start_haproxy
    if find("nginx") and (NGINX_MODULES / "ngx_stream_js_module.so").exists():
        relays["nginx+njs"] = start_nginx_njs
    return relays


@contextmanager
def relay(start: Start, folder: Path, target: int) -> Iterator[Relay]:
    """Run a relay to *target* for a ``with`` block; *folder* is made for it."""
    folder.mkdir(mode=0o755)
    running = start(folder, target)
    with running.process:
        yield running
