"""The traffic: jobs that each make one connection through the firewall, and the check of every byte of it."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from fwx.demo import DemoError
from fwx.demo.clients import WAYS, Advance, Answer, exchange, get, programs, put
from fwx.demo.text import blocks, in_upper_case
from fwx.interfaces import SocketAddress

PATTERN = b"fwx-demo-forbidden-words"
"""What ``data-monitor`` looks for; it is in no text."""

_SHORT_SIZE = 2000
_PROGRAM_SIZE = 100_000
_THREADS = 8


class Job(NamedTuple):
    """One connection: what it is called, what makes it, and what the origin sends as the body of its answer."""

    name: str
    run: Callable[[Advance], Answer]
    sent: Callable[[], Iterable[bytes]]


class Traffic:
    """Makes the jobs of one demonstration.

    :ivar connections: how many jobs were made, each of which is one connection.
    """

    def __init__(self, proxy: SocketAddress, origin: SocketAddress) -> None:
        """The addresses of the proxy port and of the origin."""
        self.connections = 0
        self._proxy = proxy
        self._origin = origin

    def downloads(self, count: int, size: int = _SHORT_SIZE) -> list[Job]:
        """Return *count* jobs that each fetch another text of *size* bytes, over each way in turn."""
        return [self._download(size) for _ in range(count)]

    def uploads(self, count: int, size: int) -> list[Job]:
        """Return *count* jobs that each send another text of *size* bytes and get its digest back from the origin."""
        return [self._upload(partial(blocks, self.connections, size), size) for _ in range(count)]

    def forbidden(self) -> list[Job]:
        """Return one job that sends the pattern in two pieces."""
        half = len(PATTERN) // 2
        pieces = (b"some words, then " + PATTERN[:half], PATTERN[half:] + b", then more")
        return [self._upload(lambda: pieces, sum(map(len, pieces)))]

    def by_programs(self) -> list[Job]:
        """Return a job for curl and for ncat over each way; none for a program that is not installed."""
        return [self._by_program(name, fetch) for name, fetch in programs().items()]

    def _download(self, size: int) -> Job:
        number, way, connect = self._next()

        def run(advance: Advance) -> Answer:
            connection = connect(self._proxy, self._origin)
            return exchange(connection, get(f"/{number}/{size}"), lambda _: None, advance)

        return Job(f"text {number} over {way}", run, partial(blocks, number, size))

    def _upload(self, body: Callable[[], Iterable[bytes]], size: int) -> Job:
        number, way, connect = self._next()

        def run(advance: Advance) -> Answer:
            return exchange(connect(self._proxy, self._origin), put(body(), size), advance, lambda _: None)

        return Job(f"upload {number} over {way}", run, lambda: [_digest(body())[1].encode()])

    def _by_program(self, name: str, fetch: Callable[[SocketAddress, SocketAddress, str], Answer]) -> Job:
        number, _, _ = self._next()

        def run(advance: Advance) -> Answer:
            answer = fetch(self._proxy, self._origin, f"/{number}/{_PROGRAM_SIZE}")
            advance(answer.size)
            return answer

        return Job(name, run, partial(blocks, number, _PROGRAM_SIZE))

    def _next(self) -> tuple[int, str, Callable[[SocketAddress, SocketAddress], socket.socket]]:
        number = self.connections
        self.connections += 1
        return number, *WAYS[number % len(WAYS)]


def run_all(jobs: Sequence[Job], moved: Advance, done: Advance) -> list[Answer]:
    """Run *jobs*, several at once, and return their answers in order.

    :param moved: told of bytes of text that moved. :param done: told of each job that is done, by 1.
    :raises DemoError: one failed; those that had not begun are not run.
    """
    pool = ThreadPoolExecutor(_THREADS)
    try:
        return list(pool.map(partial(_run, moved, done), jobs))
    finally:
        pool.shutdown(cancel_futures=True)


def check(job: Job, answer: Answer, appended: bytes | None) -> None:
    """Compare *answer* with what the origin sent, in upper case and with *appended* behind it unless that is ``None``.

    :raises DemoError: they differ.
    """
    size, digest = _digest(job.sent() if appended is None else in_upper_case(job.sent(), appended))
    if (answer.size, answer.digest) != (size, digest):
        raise DemoError(
            f"{job.name}: {answer.size} bytes came with SHA-256 {answer.digest}, beginning with "
            f"{answer.beginning[:40]!r}; expected {size} bytes with {digest}"
        )


def _run(moved: Advance, done: Advance, job: Job) -> Answer:
    try:
        answer = job.run(moved)
    except (DemoError, OSError) as error:
        raise DemoError(f"{job.name}: {error}") from error
    done(1)
    return answer


def _digest(pieces: Iterable[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()
