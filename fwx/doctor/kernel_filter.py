"""Does nftables work here, and is there something of ours in it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fwx.composition import plan_of
from fwx.config_model import Configuration
from fwx.doctor.finding import Finding, fail, ok, warn
from fwx.doctor.machine import Machine
from fwx.packetfilter.confinement import CAP_NET_ADMIN
from fwx.packetfilter.nft import Nft, NftError
from fwx.packetfilter.plan import TABLE, Plan
from fwx.packetfilter.ruleset import SETS, delete_table, holes_of, list_table, list_tables, make_table
from fwx.packetfilter.table import living_holder
from fwx.ports import Owner

NAME = "nftables"
TABLES = "tables"
GUARDED = "guarded ports"
# Rules that look at an interface which does not exist: the kernel takes them, and they concern no packet.
_TRIAL = Plan("fwx_doctor_trial", ((1, 65535),), ((1, 65535),), ("fwx-doctor",))


def check_nftables(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Try what the packet filter does: write its table, with rules that concern no packet, and delete it."""
    if configuration.packet_filter.backend != "nftables":
        yield ok(NAME, "not asked for: the packet filter is 'memory'")
        return
    try:
        nft = machine.nft()
    except OSError as error:
        yield fail(NAME, str(error), "the packet filter has nothing to write its table with", "apt install nftables")
        return
    if not machine.has_capability(CAP_NET_ADMIN):
        yield warn(
            NAME, f"{nft.name} is there", "whether the kernel takes its tables, only root can tell", "sudo fwx doctor"
        )
        return
    try:
        nft.run(make_table(_TRIAL, None, (), 60))
        nft.run(delete_table(_TRIAL.table))
    except NftError as error:
        yield fail(
            NAME,
            f"{nft.name} is there, and the kernel refuses the table: {error}",
            "the kernel lacks nf_tables, connection tracking, or the socket or fib match",
            "modprobe -a nf_tables nf_conntrack nft_ct nft_socket nft_fib_inet",
        )
        return
    yield ok(NAME, f"{nft.name} writes, and the kernel takes what the packet filter needs")


def check_tables(_configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Find tables of services, and tell those that somebody keeps from those that were left behind."""
    if not machine.has_capability(CAP_NET_ADMIN):
        return
    try:
        nft = machine.nft()
    except OSError:  # then there are no tables; whether that matters, the other check says
        return
    try:
        names = [each["table"]["name"] for each in nft.run(list_tables()) if "table" in each]
        for name in filter(TABLE.fullmatch, names):
            yield _judge(nft, name)
    except NftError as error:
        yield fail(TABLES, f"they cannot be listed: {error}", "what the kernel filters cannot be seen")


def _judge(nft: Nft, name: str) -> Finding:
    listing = nft.run(list_table(name))
    holder = living_holder(listing)
    mend = f"nft delete table inet {name}"
    if damage := _damage(listing):
        who = "its service writes it anew within seconds" if holder is not None else "no service keeps it"
        return fail(TABLES, f"{name}: {damage}", f"somebody else has changed it; {who}", mend)
    if holder is not None:
        return ok(TABLES, f"{name} is kept by process {holder}, with {len(holes_of(listing))} openings")
    return fail(
        TABLES,
        f"{name} was left behind by a service that did not end as it should",
        "lockdown: it lets nothing new in; the next start of that service takes it over",
        mend,
    )


def _damage(listing: Sequence[dict[str, Any]]) -> str:
    """Say what is wrong with a table of a service; empty where nothing is."""
    names = {each["set"]["name"] for each in listing if "set" in each}
    missing = [name for name in SETS if name not in names]
    if missing:
        return f"it lacks the sets {', '.join(missing)}"
    if not any("rule" in each for each in listing):
        return "it has no rules"
    try:
        holes_of(listing)
    except ValueError as error:
        return str(error)
    return ""


def check_guarded(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Name the programs that the packet filter closes to new clients, so that nobody is cut off by surprise."""
    if configuration.packet_filter.backend != "nftables":
        return
    plan, owners = plan_of(configuration), machine.owners()
    closed = [
        (port, owners.get(port.inode))
        for port in machine.listening()
        if plan.guards(port.transport, port.port)
        and not port.address.is_loopback
        and not _is_own(owners.get(port.inode), machine)
    ]
    for port, owner in closed:
        yield warn(
            GUARDED,
            f"{port.transport}/{port.port} of {owner or 'a program'} is closed to new clients",
            "the packet filter opens ports for the service's own sockets alone",
            f"add '{port.transport}/{port.port}' to 'except' in [packet_filter]",
        )
    if not closed:
        yield ok(GUARDED, "no other program listens on a port that is closed")


def _is_own(owner: Owner | None, machine: Machine) -> bool:
    return owner is not None and machine.is_service(owner.pid)
