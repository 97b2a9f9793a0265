"""May the service do what its configuration asks for?"""

from __future__ import annotations

from collections.abc import Iterator

from fwx.config_model import Configuration, TransparentListener
from fwx.doctor.finding import Finding, fail, ok, warn
from fwx.doctor.machine import Machine
from fwx.packetfilter.confinement import CAP_NET_ADMIN
from fwx.privileges import PrivilegeError, account_without_privileges

NAME = "privileges"


def check_privileges(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Root, or the capability that nftables and transparent listeners need; and the account to become."""
    needs = []
    if configuration.packet_filter.backend == "nftables":
        needs.append("the nftables packet filter")
    needs += [f"listener {each.name!r}" for each in configuration.listeners if isinstance(each, TransparentListener)]
    allowed = machine.has_capability(CAP_NET_ADMIN)
    who = "root" if machine.is_root() else "an ordinary user"
    if needs and not allowed:
        yield fail(
            NAME,
            f"{who} without the capability CAP_NET_ADMIN",
            f"{' and '.join(needs)} cannot be set up without it; AmbientCapabilities in a systemd unit",
            "sudo fwx serve",
        )
    elif allowed:
        yield ok(NAME, f"{who} with the capability CAP_NET_ADMIN")
    else:
        yield ok(NAME, f"{who}; nothing in the configuration needs more")
    yield from _account(configuration, machine)


def _account(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    if not machine.is_root():
        return
    try:
        account = account_without_privileges(configuration.service.user)
    except PrivilegeError as error:
        name = configuration.service.user or "fwx"
        yield fail(NAME, str(error), "the service cannot give up root", f"useradd --system {name}")
        return
    if configuration.service.user is None and account.pw_name == "nobody":
        yield warn(
            NAME,
            "the service becomes 'nobody'",
            "other programs of that account could read its log and stop it",
            "useradd --system fwx",
        )
    else:
        yield ok(NAME, f"the service becomes {account.pw_name!r}")
