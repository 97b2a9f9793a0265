"""The machine, as the checks ask about it; tests put another one in its place."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwx.doctor.probe import try_in_a_copy
from fwx.packetfilter.confinement import has_capability
from fwx.packetfilter.nft import Nft, NftError, find_nft
from fwx.ports import ListeningPort, Owner, listening_ports, owners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwx.config_model import TransparentListener

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_PROGRAM_SECONDS = 10.0
_STA_UNSYNC = 0x40
_TIME_ERROR = 5


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2), as far as its status."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 40),
    )


class Machine:
    """This machine. What it cannot tell raises :class:`OSError`."""

    def __init__(self) -> None:
        self._nft: Nft | None = None

    def close(self) -> None:
        if self._nft is not None:
            self._nft.close()

    def is_root(self) -> bool:
        return os.geteuid() == 0

    def has_capability(self, number: int) -> bool:
        return has_capability(number)

    def nft(self) -> Nft:
        """:raises OSError: neither libnftables nor nft is there."""
        if self._nft is None:
            self._nft = find_nft()
        return self._nft

    def ruleset(self) -> list[dict[str, Any]]:
        """Return everything that nftables holds, as objects of its JSON. :raises OSError: it does not tell."""
        try:
            return self.nft().run([{"list": {"ruleset": None}}])
        except NftError as error:
            raise OSError(f"nftables: {error}") from error

    def ip(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what ``ip -j`` says. :raises OSError: it is not there, or refuses."""
        program = shutil.which("ip", path=_PATH)
        if program is None:
            raise FileNotFoundError("there is no program ip: install the Debian package iproute2")
        try:
            ended = subprocess.run(  # noqa: S603  a program of the system's, by its full path
                [program, "-j", *arguments], capture_output=True, check=False, timeout=_PROGRAM_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"ip {' '.join(arguments)}: {error}") from error
        if ended.returncode:
            raise OSError(f"ip {' '.join(arguments)}: {ended.stderr.decode(errors='replace').strip()}")
        found: list[dict[str, Any]] = json.loads(ended.stdout or "[]")
        return found

    def try_listeners(self, listeners: Sequence[TransparentListener]) -> list[dict[str, Any]]:
        """Have clients send to others, and return what arrived at each of *listeners*.

        :raises ProbeError: nothing could be tried.
        """
        return try_in_a_copy(listeners, self)

    def sysctl(self, name: str) -> str:
        """Return the value of a kernel setting, by its name with dots."""
        return Path("/proc/sys", *name.split(".")).read_text().strip()

    def listening(self) -> list[ListeningPort]:
        return listening_ports()

    def owners(self) -> dict[int, Owner]:
        return owners()

    def command_of(self, pid: int) -> str:
        """Return the command line of a process, with blanks; empty where it cannot be seen."""
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return ""

    def is_service(self, pid: int) -> bool:
        """Tell whether a process is ``fwx serve``."""
        command = self.command_of(pid)
        return "fwx" in command and "serve" in command.split()

    def descriptor_limit(self) -> int:
        """Return the hard limit of descriptors of a process that is started from here."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def time(self) -> float:
        return time.time()

    def boot_time(self) -> float:
        """Return the seconds since the machine was started, by the clock that only grows."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def clock_is_synchronised(self) -> bool:
        """Tell whether the kernel believes that something keeps its clock right (adjtimex(2))."""
        libc = ctypes.CDLL(None, use_errno=True)
        state = _Timex()
        answer = libc.adjtimex(ctypes.byref(state))
        if answer < 0:
            raise OSError(ctypes.get_errno(), "adjtimex")
        return not state.status & _STA_UNSYNC and answer != _TIME_ERROR

    def free_bytes(self, folder: Path) -> int:
        return shutil.disk_usage(folder).free
