"""Names to addresses, by the machine's resolver on a few threads of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from fwx.impl.winsock import winsock_code
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import WSAHOST_NOT_FOUND

_THREADS = 8

Resolved = Callable[[list[SocketAddress], int], None]


class SystemResolver:
    """Asks ``getaddrinfo``, so the hosts file and the name service switch count (:class:`fwx.impl.engine.Resolver`)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="fwx-resolver")
        self._closed = False

    def resolve(self, name: SocketAddress, done: Resolved) -> Callable[[], None]:
        """Look *name* up; *done* is called once, later, on the loop thread, with addresses or a Windows error.

        Returns what cancels the look-up: *done* is then not called.
        """
        wanted = [True]

        def finish(addresses: list[SocketAddress], code: int) -> None:
            if wanted and not self._closed:
                done(addresses, code)

        def looked_up(future: Future[list[SocketAddress]]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            outcome = (future.result(), 0) if error is None else ([], _code(error))
            if not self._closed:
                self._loop.call_soon_threadsafe(finish, *outcome)

        self._threads.submit(_look_up, name).add_done_callback(looked_up)
        return wanted.clear

    def close(self) -> None:
        """Forget every look-up; one that is under way ends on its thread."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(name: SocketAddress) -> list[SocketAddress]:
    found = socket.getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
    addresses = [
        SocketAddress.from_sockaddr(entry[4]) for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6)
    ]
    return list(dict.fromkeys(addresses))


def _code(error: BaseException) -> int:
    if isinstance(error, OSError):
        return winsock_code(error)
    # A name that cannot be encoded for the resolver is a name that nobody has.
    return WSAHOST_NOT_FOUND
