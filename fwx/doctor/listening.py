"""Can the listeners of the configuration have their ports?"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from fwx.config_model import Configuration
from fwx.doctor.finding import Finding, fail, ok, warn
from fwx.doctor.machine import Machine
from fwx.interfaces import SocketAddress
from fwx.ports import Owner

NAME = "ports"


def check_ports(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Bind each listener's address as the service would, and say who has it where that fails."""
    for listener in configuration.listeners:
        words = f"listener {listener.name!r}: {listener.bind}"
        transport = getattr(listener, "transport", "tcp")
        number = _try(listener.bind, transport)
        if not number:
            yield ok(NAME, f"{words} is free")
        elif number == errno.EADDRINUSE:
            yield _taken(words, listener.bind, transport, machine)
        elif number == errno.EACCES:
            first = machine.sysctl("net.ipv4.ip_unprivileged_port_start")
            why = f"ports below {first} are for root, the capability CAP_NET_BIND_SERVICE, or a .socket unit of systemd"
            yield fail(NAME, f"{words} is not allowed", why, "sudo fwx serve")
        elif number == errno.EADDRNOTAVAIL:
            host = listener.bind.host
            why = f"{host} is no address of this machine"
            yield fail(NAME, f"{words} cannot be had", why, f"ip address add {host} dev INTERFACE")
        else:
            yield fail(NAME, f"{words}: {errno.errorcode.get(number, number)}", "the listener cannot be opened")


def _try(address: SocketAddress, transport: str) -> int:
    """Bind and listen for a moment; return the errno, 0 for none."""
    try:
        with socket.socket(address.family, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM) as sock:
            if transport == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if address.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address.sockaddr)
            if transport == "tcp":
                sock.listen(1)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _taken(words: str, address: SocketAddress, transport: str, machine: Machine) -> Finding:
    owner: Owner | None = None
    assert address.address is not None
    for port in machine.listening():
        # An IPv6 socket may have the port of both families.
        both = port.address.version == 6 and port.address.is_unspecified and port.port == address.port
        if port.transport == transport and (both or port.meets(address.address, address.port)):
            owner = machine.owners().get(port.inode, owner)
    if owner is None:
        why = "another program has it; only root can see which"
        return fail(NAME, f"{words} is taken", why, f"sudo ss -l{transport[0]}np 'sport = :{address.port}'")
    if machine.is_service(owner.pid):
        return ok(NAME, f"{words} is held by the service, process {owner.pid}")
    if owner.program == "systemd":
        why = "well, if it is a .socket unit that passes the port to the service; else the listener cannot be opened"
        return warn(NAME, f"{words} is held by {owner}", why, "systemctl list-sockets")
    why = f"the listener cannot be opened while {owner} has the port"
    return fail(NAME, f"{words} is taken by {owner}: {machine.command_of(owner.pid)}", why, f"kill {owner.pid}")
