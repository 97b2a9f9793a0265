"""Names to addresses and back, by the machine's resolver on a few threads, with a memory for what it said."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from queue import SimpleQueue
from typing import Any, Final

from fwx.hosts_file import HostsFile
from fwx.impl.engine import Answer, Question, Resolved
from fwx.impl.lookups import socket_address
from fwx.impl.winsock import winsock_code
from fwx.interfaces import Hostent, SocketAddress
from fwx.interfaces.hresult import WSAHOST_NOT_FOUND, WSATRY_AGAIN
from fwx.name_cache import NameCache

logger = logging.getLogger("fwx.resolver")

MOST_ADDRESSES: Final = 64
"""Addresses of one name that are kept, the preferred ones."""

_THREADS: Final = 32

Found = Callable[[Answer], None]


class _Waiter:
    """Somebody who waits for an answer; without *done*, who does so no more."""

    __slots__ = ("done",)

    def __init__(self, done: Found) -> None:
        self.done: Found | None = done

    def cancel(self) -> None:
        self.done = None

    def finish(self, answer: Answer) -> None:
        done, self.done = self.done, None
        if done is not None:
            done(answer)


class _LookUp:
    """One question that is under way, and everybody who waits for its answer."""

    __slots__ = ("question", "waiting")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.waiting: dict[_Waiter, None] = {}


class SystemResolver:
    """Asks ``getaddrinfo`` and ``getnameinfo``, so that the hosts file and the name service switch count.

    The engine's :class:`fwx.impl.engine.Resolver`, to be asked on the loop thread. What was said a short while ago is
    said again, and a question that is under way is not asked a second time.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.monotonic,
        hosts: HostsFile | None = None,
    ) -> None:
        """Answer on *loop*; the threads start with the look-ups. *clock* gives seconds that only grow."""
        self._loop = loop
        self._cache = NameCache(clock)
        self._hosts = hosts or HostsFile(clock)
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._pending = 0
        self._under_way: dict[Question, _LookUp] = {}
        self._lock = threading.Lock()
        self._closed = False

    def resolve(self, name: SocketAddress, done: Resolved) -> Callable[[], None]:
        """Look *name* up; *done* is called once, later, with addresses or a Windows error."""
        return self.look_up(name.host, partial(_tell_addresses, done, name.port))

    def known(self, question: Question) -> Answer | None:
        """Return what the hosts file or the memory says."""
        self._heed_hosts_file()
        host = self._hosts.find(question)
        return self._cache.get(_key(question)) if host is None else Answer(host)

    def look_up(self, question: Question, done: Found) -> Callable[[], None]:
        """Look *question* up; *done* is called once, later.

        Returns what cancels the look-up: *done* is then not called.
        """
        self._heed_hosts_file()
        question = _key(question)
        waiter = _Waiter(done)
        answer = self._cache.get(question)
        if answer is not None:
            self._loop.call_soon(waiter.finish, answer)
            return waiter.cancel
        try:
            look_up = self._join(question, waiter)
        except RuntimeError as error:  # the system gives no thread, and there is none yet
            logger.error("looking up %s failed: %s", question, error)
            self._loop.call_soon(waiter.finish, Answer(None, WSATRY_AGAIN))
            return waiter.cancel
        return partial(self._leave, look_up, waiter)

    def close(self) -> None:
        """Forget every look-up; one that is under way may take the name service's time and holds nobody up."""
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._jobs.put(None)

    def _join(self, question: Question, waiter: _Waiter) -> _LookUp:
        """Wait for the answer to *question*, which is asked now unless it is under way."""
        with self._lock:
            look_up = self._under_way.get(question)
            if look_up is None:
                look_up = _LookUp(question)
                self._submit(partial(self._ask, look_up))
                self._under_way[question] = look_up
            look_up.waiting[waiter] = None
        return look_up

    def _leave(self, look_up: _LookUp, waiter: _Waiter) -> None:
        waiter.cancel()
        with self._lock:
            look_up.waiting.pop(waiter, None)

    def _ask(self, look_up: _LookUp) -> None:
        with self._lock:
            if not look_up.waiting:  # nobody wants it any more
                del self._under_way[look_up.question]
                return
        self._on_loop(self._answered, look_up, _outcome(look_up.question))

    def _answered(self, look_up: _LookUp, answer: Answer) -> None:
        with self._lock:
            del self._under_way[look_up.question]
        self._cache.put(look_up.question, answer)
        for waiter in look_up.waiting:
            # A call of its own for each: one that fails is the loop's to report, and stops nobody else's.
            self._loop.call_soon(waiter.finish, answer)

    def _heed_hosts_file(self) -> None:
        """What was said may have come from the hosts file: forget it when that changes, and have it read again."""
        if self._hosts.has_changed():
            self._cache.clear()
            with self._lock:
                self._submit(self._read_hosts)

    def _read_hosts(self) -> None:
        self._on_loop(self._hosts.replace, self._hosts.read())

    # The threads.

    def _submit(self, job: Callable[[], None]) -> None:
        """Have *job* done on a thread; to be called with the lock held.

        :raises RuntimeError: there is no thread, and the system does not give one.
        """
        if len(self._threads) < min(self._pending + 1, _THREADS):
            self._add_thread()
        self._pending += 1
        self._jobs.put(job)

    def _add_thread(self) -> None:
        # Daemons, no ThreadPoolExecutor: Python would wait for its threads, and a name server may be silent for long.
        thread = threading.Thread(target=self._run, name=f"fwx-resolver-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
            return  # those that there are do it
        self._threads.append(thread)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not self._closed:
                job()
            with self._lock:
                self._pending -= 1

    def _on_loop(self, function: Callable[..., None], *args: Any) -> None:
        with self._lock:  # close() comes before the loop is closed
            if not self._closed:
                self._loop.call_soon_threadsafe(function, *args)


def _key(question: Question) -> Question:
    return question.lower() if isinstance(question, str) else question


def _tell_addresses(done: Resolved, port: int, answer: Answer) -> None:
    addresses = () if answer.host is None else answer.host.addresses
    done([socket_address(address, port) for address in addresses], answer.code)


def _outcome(question: Question) -> Answer:
    try:
        return Answer(_host_of_name(question) if isinstance(question, str) else _host_at(question))
    except OSError as error:
        return Answer(None, winsock_code(error))
    except ValueError:  # a name that cannot be encoded for the resolver is a name that nobody has
        return Answer(None, WSAHOST_NOT_FOUND)
    except Exception:
        logger.exception("looking up %s failed", question)
        return Answer(None, WSAHOST_NOT_FOUND)


def _host_of_name(name: str) -> Hostent:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)
    official = next((entry[3] for entry in found if entry[3]), name)
    addresses = dict.fromkeys(_address(entry[4]) for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6))
    aliases = () if official.lower() == name.removesuffix(".") else (name,)
    return Hostent(official, aliases, tuple(addresses)[:MOST_ADDRESSES])


def _address(sockaddr: tuple[Any, ...]) -> IPv4Address | IPv6Address:
    text = sockaddr[0].partition("%")[0]
    if ":" not in text:
        return IPv4Address(text)
    return IPv6Address(f"{text}%{sockaddr[3]}" if sockaddr[3] else text)


def _host_at(address: IPv4Address | IPv6Address) -> Hostent:
    name, _ = socket.getnameinfo((str(address), 0), socket.NI_NAMEREQD | socket.NI_NUMERICSERV)
    return Hostent(name, (), (address,))
