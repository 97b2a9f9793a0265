"""The helper process: the only part of a service that may change nftables.

``fwx serve`` starts it while it is root. It gives up everything but CAP_NET_ADMIN, writes the table, and does what the
service orders over a socket. When the service ends without having said so, the table is left with nothing open.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import select
import signal
import socket
import sys
import syslog
import time
from collections.abc import Callable

from fwx.packetfilter.confinement import confine, end_with_parent
from fwx.packetfilter.messages import (
    Answer,
    Frames,
    Kind,
    MessageError,
    Order,
    pack_answer,
    unpack_order,
)
from fwx.packetfilter.nft import Nft, NftError, NftProgram, find_nft
from fwx.packetfilter.plan import INTERFACE, TABLE, Plan, read_ranges
from fwx.packetfilter.table import Table, TableInUseError

_READ = 1 << 16
# Exit codes: done as ordered; the service was lost; it could not begin.
REMOVED, LOST, UNABLE = 0, 1, 2


class Helper:
    """Serves one service over a connected socket, until it says so or is gone."""

    def __init__(self, link: socket.socket, table: Table, lost: Callable[[], bool], woken: int) -> None:
        """*lost* tells whether the service is known to be gone; asked when the descriptor *woken* can be read."""
        self._link = link
        self._table = table
        self._lost = lost
        self._woken = woken

    def run(self) -> int:
        """Serve; return the exit code."""
        frames = Frames()
        try:
            while data := self._receive():
                for body in frames.feed(data):
                    order = unpack_order(body)
                    self._answer(order)
                    if order.kind in (Kind.REMOVE, Kind.LOCK):
                        return REMOVED
        except MessageError as error:
            return self._lock(f"the service sends what is no order: {error}")
        except ConnectionError:  # it has left without reading what it was told
            return self._lock("the service is gone")
        return self._lock("the service is gone")

    def _receive(self) -> bytes:
        """Wait for what the service sends; nothing when it is gone."""
        while True:
            ready, _, _ = select.select([self._link.fileno(), self._woken], [], [])
            if self._woken not in ready:
                return self._link.recv(_READ)
            os.read(self._woken, _READ)
            if self._lost():
                return b""

    def _answer(self, order: Order) -> None:
        try:
            wrong = self._do(order)
        except OSError as error:
            self._say(Answer(Kind.DONE, order.serial, error.errno or errno.EIO, error.strerror or str(error)))
            return
        if wrong:
            self._say(Answer(Kind.DIFFERENCE, text=wrong))
        self._say(Answer(Kind.DONE, order.serial))

    def _do(self, order: Order) -> str:
        """Do what *order* says; return what was wrong with the table."""
        match order.kind:
            case Kind.CHANGE:
                return self._table.change(order.changes)
            case Kind.BEAT:
                refreshed = self._table.refresh()
                return self._table.compare() or refreshed
        try:
            if order.kind is Kind.LOCK:
                self._table.lock()
            else:
                self._table.remove()
        except NftError as error:
            raise OSError(errno.EIO, str(error)) from error
        return ""

    def _lock(self, reason: str) -> int:
        try:
            self._table.lock()
        except NftError as error:
            _report(f"{reason}, and the table cannot be locked: {error}")
        else:
            _report(f"{reason}: nothing new is let in until fwx is started again")
        return LOST

    def _say(self, answer: Answer) -> None:
        self._link.sendall(pack_answer(answer))


def main(arguments: list[str] | None = None) -> int:
    """Run the helper; the command line is written by :mod:`fwx.packetfilter.process`."""
    options = _read(arguments)
    link = socket.socket(fileno=options.link)
    parent = os.getppid()
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        # An end of the whole control group is the service's to act on; it says so.
        signal.signal(number, _ignore)
    try:
        nft = find_nft()
        confine(options.uid, options.gid, children=isinstance(nft, NftProgram))
        end_with_parent(signal.SIGTERM)
        table = _begin(nft, options, link)
    except (OSError, NftError, TableInUseError) as error:
        link.sendall(pack_answer(Answer(Kind.DONE, 0, getattr(error, "errno", None) or errno.EIO, str(error))))
        return UNABLE
    with link:
        code = Helper(link, table, lambda: os.getppid() != parent, woken).run()
    nft.close()
    return code


def _begin(nft: Nft, options: argparse.Namespace, link: socket.socket) -> Table:
    """Write the table, and say that it is there."""
    plan = Plan(options.table, options.tcp, options.udp, tuple(options.interface), options.redirected)
    table = Table(nft, plan, options.seconds, time.monotonic)
    if table.left_over():
        text = f"the table {plan.table} of a run that did not end as it should is replaced"
        link.sendall(pack_answer(Answer(Kind.NOTE, text=text)))
        link.sendall(pack_answer(Answer(Kind.DROPPED, text=str(table.dropped))))
    table.write(os.getpid())
    link.sendall(pack_answer(Answer(Kind.READY, text=nft.name)))
    return table


def _ignore(_number: int, _frame: object) -> None:
    """The process is only woken up; it looks whether its parent is there."""


def _report(text: str) -> None:
    message = f"fwx: CRITICAL: packet filter: {text}"
    print(message, file=sys.stderr, flush=True)
    syslog.openlog("fwx", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_CRIT, text)


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(text)
        return text

    return check


def _read(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fwx.packetfilter.helper", description=__doc__, allow_abbrev=False)
    parser.add_argument("--link", type=int, required=True)
    parser.add_argument("--table", type=_matching(TABLE), required=True)
    parser.add_argument("--tcp", type=read_ranges, required=True)
    parser.add_argument("--udp", type=read_ranges, required=True)
    parser.add_argument("--redirected", type=read_ranges, default=())
    parser.add_argument("--interface", type=_matching(INTERFACE), action="append", default=[])
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
