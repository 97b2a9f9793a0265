"""Who is compared in benchmarks/sockets.py: the service with a filter's sockets, uvloop, HAProxy, nginx stream."""

from __future__ import annotations

import socket
import sys
from functools import partial
from pathlib import Path

from harness.process import Running, find, free_port, raise_descriptor_limit
from harness.relays import HAPROXY_HEAD, NGINX_MODULES, Relay, Start, run_haproxy, run_nginx, serve, start_fwx, told

_FWX = """\
[service]
state_dir = "{folder}/state"

[[listener]]
name = "unused"
kind = "proxy"
bind = "127.0.0.1:0"

[[filter]]
name = "bench"
use = "benchmarks.harness.socket_filters:{filter}"
everywhere = true
options = {{ target = {target}, certificate = "{certificate}" }}
"""
_HAPROXY = """\
  bind 127.0.0.1:{port}{bind}
  {what}
backend servers
  server one 127.0.0.1:{target}
"""
# Every idle UDP client takes two of the worker's connections.
_NGINX = """\
load_module {modules}/ngx_stream_module.so;
worker_processes 1;
worker_rlimit_nofile {descriptors};
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 32768; }}
stream {{ server {{ listen 127.0.0.1:{port}{listen}; {what}; }} }}
"""


def start_filter(name: str, folder: Path, target: int, certificate: Path | None = None) -> Relay:
    """Run the service with the filter *name* of socket_filters.py."""
    return serve(
        folder,
        _FWX.format(folder=folder, filter=name, target=target, certificate=certificate or ""),
        "the filter serves",
    )


def start_uvloop_echo(folder: Path, _target: int) -> Relay:
    script = Path(__file__).with_name("uvloop_echo.py")
    return told(Running([sys.executable, str(script)], folder / "said"), "the echo serves")


def start_haproxy(bind: str, what: str, folder: Path, target: int) -> Relay:
    port = free_port()
    return run_haproxy(folder, HAPROXY_HEAD + _HAPROXY.format(port=port, bind=bind, what=what, target=target), port)


def start_nginx(listen: str, what: str, kind: socket.SocketKind, folder: Path, target: int) -> Relay:
    port = free_port(kind)
    configuration = _NGINX.format(
        modules=NGINX_MODULES,
        descriptors=raise_descriptor_limit(),
        folder=folder,
        port=port,
        listen=listen,
        what=what.format(target=target),
    )
    return run_nginx(folder, configuration, port, kind)


def has_nginx_stream() -> bool:
    return find("nginx") is not None and (NGINX_MODULES / "ngx_stream_module.so").exists()


def echoes() -> dict[str, Start]:
    return {"fwx": partial(start_filter, "Echo"), "uvloop": start_uvloop_echo}


def pumps() -> dict[str, Start]:
    to_target = "proxy_half_close on; proxy_pass 127.0.0.1:{target}"
    return _with_peers("Pump", "default_backend servers", " backlog=4096", to_target)


def doors() -> dict[str, Start]:
    """Return who ends every connection at once; HAProxy does it with a reset."""
    return _with_peers("Door", "tcp-request connection reject", " backlog=4096", 'return ""')


def _with_peers(name: str, haproxy: str, listen: str, nginx: str) -> dict[str, Start]:
    relays: dict[str, Start] = {"fwx": partial(start_filter, name)}
    if find("haproxy"):
        relays["haproxy"] = partial(start_haproxy, "", haproxy)
    if has_nginx_stream():
        relays["nginx"] = partial(start_nginx, listen, nginx, socket.SOCK_STREAM)
    return relays


def datagram_relays() -> dict[str, Start]:
    relays: dict[str, Start] = {"fwx": partial(start_filter, "DatagramRelay")}
    if has_nginx_stream():
        relays["nginx"] = partial(start_nginx, " udp", "proxy_pass 127.0.0.1:{target}", socket.SOCK_DGRAM)
    return relays


def tls_pumps(certificate: Path) -> dict[str, Start]:
    """Return who ends TLS with the certificate and key in the file *certificate*."""
    relays: dict[str, Start] = {
        "fwx": partial(start_filter, "TlsPump", certificate=certificate),
        "fwx listener": partial(start_fwx, certificate=certificate),
    }
    if find("haproxy"):
        relays["haproxy"] = partial(start_haproxy, f" ssl crt {certificate}", "default_backend servers")
    return relays
