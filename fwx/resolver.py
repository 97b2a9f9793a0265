"""Names to addresses, by the machine's resolver on a few threads of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from queue import SimpleQueue

from fwx.impl.winsock import winsock_code
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import WSAHOST_NOT_FOUND

logger = logging.getLogger("fwx.resolver")

_THREADS = 32

Resolved = Callable[[list[SocketAddress], int], None]


class _LookUp:
    """One name on its way; without *done* nobody wants it any more."""

    __slots__ = ("done", "name")

    def __init__(self, name: SocketAddress, done: Resolved) -> None:
        self.name = name
        self.done: Resolved | None = done

    def cancel(self) -> None:
        self.done = None

    def finish(self, addresses: list[SocketAddress], code: int) -> None:
        if self.done is not None:
            self.done(addresses, code)


class SystemResolver:
    """Asks ``getaddrinfo``, so that the hosts file and the name service switch count.

    The engine's :class:`fwx.impl.engine.Resolver`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer on *loop*; the threads start with the look-ups."""
        self._loop = loop
        self._asked: SimpleQueue[_LookUp | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._pending = 0
        self._lock = threading.Lock()
        self._closed = False

    def resolve(self, name: SocketAddress, done: Resolved) -> Callable[[], None]:
        """Look *name* up; *done* is called once, later, on the loop thread, with addresses or a Windows error.

        Returns what cancels the look-up: *done* is then not called.
        """
        look_up = _LookUp(name, done)
        with self._lock:
            self._pending += 1
            if len(self._threads) < min(self._pending, _THREADS):
                self._add_thread()
        self._asked.put(look_up)
        return look_up.cancel

    def close(self) -> None:
        """Forget every look-up; one that is under way may take the name service's time and holds nobody up."""
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._asked.put(None)

    def _add_thread(self) -> None:
        # Daemons, no ThreadPoolExecutor: Python would wait for its threads, and a name server may be silent for long.
        thread = threading.Thread(target=self._run, name=f"fwx-resolver-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        while (look_up := self._asked.get()) is not None:
            if look_up.done is not None and not self._closed:
                outcome = _outcome(look_up.name)
                with self._lock:  # close() comes before the loop is closed
                    if not self._closed:
                        self._loop.call_soon_threadsafe(look_up.finish, *outcome)
            with self._lock:
                self._pending -= 1


def _outcome(name: SocketAddress) -> tuple[list[SocketAddress], int]:
    try:
        return _look_up(name), 0
    except OSError as error:
        return [], winsock_code(error)
    except UnicodeError:  # a name that cannot be encoded for the resolver is a name that nobody has
        return [], WSAHOST_NOT_FOUND
    except Exception:
        logger.exception("looking up %s failed", name.host)
        return [], WSAHOST_NOT_FOUND


def _look_up(name: SocketAddress) -> list[SocketAddress]:
    found = socket.getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
    addresses = [
        SocketAddress.from_sockaddr(entry[4]) for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6)
    ]
    return list(dict.fromkeys(addresses))
