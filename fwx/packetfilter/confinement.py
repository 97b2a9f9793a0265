"""Giving up all that a helper does not need: every capability but a few, its user, writing files."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
_CAP_SETPCAP = 8

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION = 0x20080522

# landlock(7): the numbers are the same on every architecture.
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_RESTRICT_SELF = 446
# What writes, by the version of the interface that brought it: files and folders made, changed, removed; then links to
# elsewhere; then truncation.
_WRITING = ((1, 0x1FF2), (2, 1 << 13), (3, 1 << 14))

_libc = ctypes.CDLL(None, use_errno=True)


def has_capability(number: int) -> bool:
    """Tell whether this process has the capability *number* in effect."""
    return bool(_capabilities("CapEff") >> number & 1)


def confine(
    uid: int | None, gid: int | None, *, children: bool, keep: Collection[int] = frozenset({CAP_NET_ADMIN})
) -> None:
    """Become *uid* and *gid* (``None``: stay), keep CAP_NET_ADMIN alone, gain nothing any more, write no file.

    :param children: whether programs that this process starts get CAP_NET_ADMIN too. :param keep: what is kept, of what
        there is; CAP_NET_ADMIN has to be.
    :raises OSError: the kernel refused something.
    """
    if not has_capability(CAP_NET_ADMIN):
        raise PermissionError(1, "needs the capability CAP_NET_ADMIN")
    if has_capability(_CAP_SETPCAP):
        for number in _known_capabilities():
            if number not in keep:
                _prctl(_PR_CAPBSET_DROP, number)
    kept = sum(1 << number for number in keep if has_capability(number))
    if uid is not None and gid is not None:
        _prctl(_PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _set_capabilities(kept, inheritable=children)
    if children:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    os.chdir("/")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _forbid_writing()


def drop_capabilities() -> None:
    """Give up every capability; for a service that was started with some, as an ordinary user, and has done its part.

    :raises OSError: the kernel refused.
    """
    if _capabilities("CapPrm"):
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        _set_capabilities(0, inheritable=False)


def end_with_parent(number: signal.Signals) -> None:
    """Have the signal *number* sent to this process when its parent dies; after :func:`confine`, which undoes it."""
    _prctl(_PR_SET_PDEATHSIG, number)


def _known_capabilities() -> Iterator[int]:
    yield from range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1)


def _capabilities(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1], 16)
    raise OSError("/proc/self/status shows no capabilities")


def _set_capabilities(mask: int, *, inheritable: bool) -> None:
    header = struct.pack("=II", _CAPABILITY_VERSION, 0)
    kept = mask if inheritable else 0
    data = struct.pack("=6I", mask, mask, kept, 0, 0, 0)
    if _libc.capset(header, data):
        _fail("capset")


def _forbid_writing() -> None:
    """Forbid every change of a file; on a kernel without Landlock the account has to do."""
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return
    rights = sum(bits for since, bits in _WRITING if version >= since)
    attributes = struct.pack("=Q", rights)
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if ruleset < 0:
        _fail("landlock_create_ruleset")
    try:
        if _libc.syscall(_LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)):
            _fail("landlock_restrict_self")
    finally:
        os.close(ruleset)


def _prctl(option: int, second: int, third: int = 0) -> None:
    arguments = [ctypes.c_ulong(each) for each in (second, third, 0, 0)]
    if _libc.prctl(option, *arguments):
        _fail(f"prctl {option}")


def _fail(call: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}")
