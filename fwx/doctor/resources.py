"""Descriptors, the clock, the state folder."""

from __future__ import annotations

import datetime
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fwx.config_model import Configuration
from fwx.doctor.finding import Finding, fail, ok, warn
from fwx.doctor.machine import Machine
from fwx.privileges import PrivilegeError, service_account

DESCRIPTORS = "descriptors"
CLOCK = "clock"
STATE = "state folder"

# Two for each connection, and what the service has open besides.
_EACH = 2
_OTHERS = 64
# Clients that one expects to see at their limit at the same time.
_CLIENTS = 10
_FIRST_YEAR = 2025
_LAST_YEAR = 2100
_LITTLE_BYTES = 100 << 20
_SOME_BYTES = 1 << 30
_MEBIBYTE = 1 << 20


def check_descriptors(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Compare the limit with what clients may open by ``[limits]``."""
    have, each = machine.descriptor_limit(), configuration.limits.tcp_per_address
    one, many = _EACH * each + _OTHERS, _EACH * each * _CLIENTS + _OTHERS
    found = f"{have} at most"
    command = f"prlimit --nofile={many}:{many} fwx serve"
    if have < one:
        why = f"one client with tcp_per_address = {each} connections needs {one}; LimitNOFILE in a systemd unit"
        yield fail(DESCRIPTORS, found, why, command)
    elif have < many:
        why = f"{_CLIENTS} clients with tcp_per_address = {each} connections need {many}; LimitNOFILE in a systemd unit"
        yield warn(DESCRIPTORS, found, why, command)
    else:
        yield ok(DESCRIPTORS, found)


def check_clock(_configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """The log, certificates and schedules go by it."""
    now = machine.time()
    year = datetime.datetime.fromtimestamp(now, datetime.UTC).year
    found = f"{datetime.datetime.fromtimestamp(now, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    command = "timedatectl set-ntp true"
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        why = "the year cannot be: certificates count as not yet valid or expired, and the log has wrong times"
        yield fail(CLOCK, found, why, command)
    elif now < machine.boot_time():
        yield fail(CLOCK, found, "it is before the machine was started", command)
    elif not machine.clock_is_synchronised():
        yield warn(CLOCK, f"{found}, kept right by nothing", "it drifts; records of several machines disagree", command)
    else:
        yield ok(CLOCK, f"{found}, synchronised")


def check_state(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """The folder of the log: whose it is, who else gets in, how much room there is."""
    folder = configuration.state_dir
    if not folder.exists():
        yield from _missing(folder)
        return
    if not folder.is_dir():
        yield fail(STATE, f"{folder} is no folder", "the log cannot be opened", f"mv {folder} {folder}.old")
        return
    information = folder.stat()
    mode = stat.S_IMODE(information.st_mode)
    well = True
    if mode & 0o077:
        why = "other users may read the log, or take the folder's files away"
        yield fail(STATE, f"{folder} has mode {mode:04o}", why, f"chmod 0700 {folder}")
        well = False
    owner = _owner(configuration, machine)
    if information.st_uid not in (owner, os.geteuid()):
        who = f"user {information.st_uid}"
        why = f"the service runs as user {owner} and cannot write there"
        yield fail(STATE, f"{folder} belongs to {who}", why, f"chown -R {owner} {folder}")
        well = False
    if well:
        yield ok(STATE, f"{folder} is the service's alone")
    yield _room(folder, machine)


def _owner(configuration: Configuration, machine: Machine) -> int:
    try:
        account = service_account(configuration.service.user) if machine.is_root() else None
    except PrivilegeError:  # another check's
        account = None
    return os.geteuid() if account is None else account.pw_uid


def _missing(folder: Path) -> Iterator[Finding]:
    parent = next(each for each in folder.parents if each.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        yield ok(STATE, f"{folder} is not there yet; the service makes it")
    else:
        why = f"the service makes it, and may not write in {parent}"
        yield fail(STATE, f"{folder} is not there", why, f"install -d -m 0700 -o {os.geteuid()} {folder}")


def _room(folder: Path, machine: Machine) -> Finding:
    free = machine.free_bytes(folder)
    found = f"{free // _MEBIBYTE} MiB free for the log"
    command = f"du -xh --max-depth=1 {folder}"
    if free < _LITTLE_BYTES:
        return fail(STATE, found, "when the log cannot be written, new connections are refused", command)
    if free < _SOME_BYTES:
        return warn(STATE, found, "when the disk is full, new connections are refused", command)
    return ok(STATE, found)
