"""Transparent sockets for a service that has given up root: ordered from the maker, one answer for each."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import pwd
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from fwx.reaping import Reaping
from fwx.transparent.kernel import os_error
from fwx.transparent.orders import LARGEST, Answer, Kind, Order, OrderError, pack_order, unpack_answer

if TYPE_CHECKING:
    from fwx.interfaces import SocketAddress
    from fwx.network import Poller

logger = logging.getLogger("fwx.transparent")

START_SECONDS = 20.0
END_SECONDS = 10.0
MOST_ORDERED = 64
"""Orders that are with the maker at a time; the others wait here."""
MOST_WAITING = 4096
"""Orders that wait; more fail."""
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TZ")

Made = Callable[[socket.socket | None, int], object]
"""Gets the socket, which is then its own, or ``None`` and an errno."""


class SocketMakerError(Exception):
    """There are no transparent sockets to be had; says why."""


class Ordered:
    """One socket on its way."""

    __slots__ = ("address", "done", "kind")

    def __init__(self, kind: Kind, address: SocketAddress, done: Made) -> None:
        self.kind = kind
        self.address = address
        self.done: Made | None = done

    def cancel(self) -> None:
        """Want it no more: it is closed when it comes."""
        self.done = None

    def settle(self, made: socket.socket | None, code: int) -> None:
        done, self.done = self.done, None
        if done is not None:
            done(made, code)
        elif made is not None:
            made.close()


class SocketMaker:
    """The maker of one service, and what was ordered from it."""

    def __init__(self, poller: Poller, on_failure: Callable[[str], object]) -> None:
        """Nothing is started. *on_failure* hears of what calls for an alert."""
        self._poller = poller
        self._on_failure = on_failure
        self._process: subprocess.Popen[bytes] | None = None
        self._reaping: Reaping | None = None
        self._link: socket.socket | None = None
        self._serial = 0
        self._ordered: dict[int, Ordered] = {}
        self._waiting: deque[Ordered] = deque()

    def __len__(self) -> int:
        """The number of sockets that are on their way."""
        return len(self._ordered) + len(self._waiting)

    @property
    def is_running(self) -> bool:
        """Whether there is the process that makes them."""
        return self._process is not None

    def start(self, account: pwd.struct_passwd | None) -> None:
        """Start the maker, which becomes *account*, and wait until it serves; before root is given up.

        :raises SocketMakerError: it cannot.
        """
        link, far = socket.socketpair(type=socket.SOCK_SEQPACKET)
        try:
            with far:
                self._process = subprocess.Popen(  # noqa: S603  this interpreter
                    _command(account, far.fileno()),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(far.fileno(),),
                    start_new_session=True,  # Ctrl-C at a terminal is the service's to act on
                    env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                )
            link.settimeout(START_SECONDS)
            answer = unpack_answer(link.recv(LARGEST))
            if answer.code:
                raise os_error(answer.code)
        except (OSError, OrderError) as error:
            link.close()
            self._reap()
            raise SocketMakerError(f"the maker of transparent sockets does not start: {error}") from error
        link.setblocking(False)
        self._link = link
        self._poller.watch_level(link.fileno(), self._readable)

    async def stop(self) -> None:
        """Take no more orders, drop those that are there, and wait for the end of the maker."""
        self._part()
        for ordered in self._drop():
            ordered.cancel()
        if self._reaping is not None:
            self._reaping.close()
        if self._process is not None:
            await asyncio.to_thread(self._reap)

    def order(self, kind: Kind, address: SocketAddress, done: Made) -> Ordered:
        """Have a socket made that is bound to *address*; *done* is called once, later, unless it is cancelled.

        :raises OSError: ``ENETDOWN`` there is no maker; ``ENOBUFS`` too many are waited for; ``EINVAL`` the maker
            would not take the order, and end: an answer has a port, the others have none.
        """
        if bool(address.port) != (kind is Kind.ANSWER):
            raise os_error(errno.EINVAL)
        if self._link is None:
            raise os_error(errno.ENETDOWN)
        if len(self._waiting) >= MOST_WAITING:
            raise os_error(errno.ENOBUFS)
        ordered = Ordered(kind, address, done)
        self._waiting.append(ordered)
        self._send()
        return ordered

    def _send(self) -> None:
        while self._waiting and len(self._ordered) < MOST_ORDERED and self._link is not None:
            ordered = self._waiting.popleft()
            if ordered.done is None:
                continue
            self._serial = (self._serial + 1) & 0xFFFFFFFF
            try:
                self._link.send(pack_order(Order(ordered.kind, self._serial, ordered.address)))
            except OSError as error:  # there is room for all that may be under way
                self._waiting.appendleft(ordered)
                self._lost(f"it takes no orders: {error}")
                return
            self._ordered[self._serial] = ordered

    def _readable(self, _mask: int) -> None:
        while self._link is not None:
            try:
                data, descriptors, flags, _ = socket.recv_fds(self._link, LARGEST, 1)
            except BlockingIOError:
                break
            except OSError as error:
                self._lost(f"it is gone: {error}")
                return
            made = socket.socket(fileno=descriptors[0]) if descriptors else None
            try:
                self._take(data, made, is_cut=bool(flags & socket.MSG_CTRUNC))
            except OrderError as error:
                if made is not None:
                    made.close()
                self._lost(f"it sends what is no answer: {error}")
                return
        self._send()

    def _take(self, data: bytes, made: socket.socket | None, *, is_cut: bool) -> None:
        if not data:
            raise OrderError("it has ended")
        answer: Answer = unpack_answer(data)
        if is_cut and made is None and not answer.code:
            # The kernel had no descriptor left for it here: this order fails, the maker is as good as before.
            answer = answer._replace(code=errno.EMFILE)
        if answer.serial not in self._ordered or (made is None) != bool(answer.code):
            raise OrderError(f"{answer.serial} with code {answer.code}")
        self._ordered.pop(answer.serial).settle(made, answer.code)

    def _lost(self, reason: str) -> None:
        """There are no sockets any more: whoever waits for one is told. Without its link the maker ends."""
        self._part()
        assert self._process is not None
        self._reaping = Reaping(self._process, self._poller)
        self._on_failure(f"the maker of transparent sockets is lost: {reason}")
        for ordered in self._drop():
            self._poller.queue.post(ordered.settle, None, errno.ENETDOWN)

    def _drop(self) -> list[Ordered]:
        dropped = [*self._ordered.values(), *self._waiting]
        self._ordered.clear()
        self._waiting.clear()
        return dropped

    def _part(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._poller.pause(link.fileno())
            link.close()

    def _reap(self) -> None:
        """Wait for the end of the maker, which has no link any more; blocks."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _command(account: pwd.struct_passwd | None, link: int) -> list[str]:
    command = [sys.executable, "-m", "fwx.transparent.maker", f"--link={link}"]
    if account is not None:
        command += [f"--uid={account.pw_uid}", f"--gid={account.pw_gid}"]
    return command
