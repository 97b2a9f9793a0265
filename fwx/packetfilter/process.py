"""Starting the helper, and what the service keeps of it."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from fwx.packetfilter.messages import Answer, Drops, Frames, Kind, MessageError, unpack_answer
from fwx.packetfilter.plan import Plan, write_ranges
from fwx.reaping import Reaping

if TYPE_CHECKING:
    from fwx.network import Poller

# How long the helper may take to begin, and to end.
START_SECONDS = 20.0
END_SECONDS = 10.0
_READ = 1 << 16
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TZ")


class HelperError(Exception):
    """The helper cannot do its work; says why."""


class HelperProcess:
    """A helper that runs.

    :ivar link: the connected socket, non-blocking. :ivar writer: what writes the table. :ivar notes: for the log.
    :ivar dropped: what was dropped in a lockdown that has ended with this start.
    """

    def __init__(self, plan: Plan, account: pwd.struct_passwd | None, seconds: int) -> None:
        """Start a helper that becomes *account* and writes the table of *plan*, and wait until it has.

        :param seconds: what an opening lives without a beat.
        :raises HelperError: it could not.
        """
        self.notes: list[str] = []
        self.dropped = Drops()
        self.link, far = socket.socketpair()
        try:
            with far:
                self._process = subprocess.Popen(  # noqa: S603  this interpreter
                    _command(plan, account, seconds, far.fileno()),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(far.fileno(),),
                    start_new_session=True,  # Ctrl-C at a terminal is the service's to act on
                    env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                )
        except OSError as error:
            self.link.close()
            raise HelperError(f"the packet filter's helper does not start: {error}") from error
        try:
            self.writer = self._begin()
        except BaseException:
            self._discard()
            raise
        self.link.setblocking(False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _begin(self) -> str:
        frames = Frames()
        self.link.settimeout(START_SECONDS)
        try:
            while data := self.link.recv(_READ):
                for body in frames.feed(data):
                    answer = unpack_answer(body)
                    if answer.kind is Kind.READY:
                        return answer.text
                    if answer.kind is Kind.DONE:
                        raise HelperError(f"the packet filter: {answer.text}")
                    if answer.kind is Kind.DROPPED:
                        self.dropped = Drops.parse(answer.text)
                    else:
                        self.notes.append(answer.text)
        except (OSError, MessageError, ValueError) as error:
            raise HelperError(f"the packet filter's helper does not begin: {error}") from error
        raise HelperError("the packet filter's helper ended before it had begun")

    def end(self, order: bytes, frames: Frames) -> Answer | None:
        """Give the last *order* and wait for the end of the helper; blocks.

        :param frames: has taken what came before. Returns the last answer, ``None`` where none came.
        """
        last = None
        try:
            self.link.settimeout(END_SECONDS)
            self.link.sendall(order)
            while data := self.link.recv(_READ):
                for body in frames.feed(data):
                    last = unpack_answer(body)
        except (OSError, MessageError):
            last = None
        self._discard()
        return last

    def watch(self, poller: Poller) -> Reaping:
        """Have its end waited for on the loop, once its link is closed; the caller closes what is returned."""
        return Reaping(self._process, poller)

    def reap(self) -> int:
        """Wait for the end of a helper whose link is closed, and return its exit code; blocks."""
        try:
            return self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _discard(self) -> None:
        self.link.close()
        self.reap()


def _command(plan: Plan, account: pwd.struct_passwd | None, seconds: int, link: int) -> list[str]:
    command = [
        sys.executable,
        "-m",
        "fwx.packetfilter.helper",
        f"--link={link}",
        f"--table={plan.table}",
        f"--tcp={write_ranges(plan.tcp)}",
        f"--udp={write_ranges(plan.udp)}",
        f"--redirected={write_ranges(plan.redirected)}",
        f"--seconds={seconds}",
        *(f"--interface={name}" for name in plan.interfaces),
    ]
    if account is not None:
        command += [f"--uid={account.pw_uid}", f"--gid={account.pw_gid}"]
    return command
