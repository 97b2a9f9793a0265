"""Running the command of an alert: without a shell, for a bounded time, with nothing of it left behind (B9.24)."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from fwx.alerts.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

logger = logging.getLogger("fwx.alert")

KEPT_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "TZ")
"""What a command has of the service's environment."""

KILL_SECONDS: Final = 1.0
"""How long a command that is killed may take to be gone."""

# What is told of a command's output: the end of it.
_MOST_OUTPUT = 1000
_READ = 1 << 16


async def run_command(argv: Sequence[str], variables: Mapping[str, str], message: str, seconds: float) -> str:
    """Run *argv* with *message* on its standard input; return ``""``, or why it failed, with what it said.

    It runs as the service's user, in a process group of its own. What is left of the group when the command ends, when
    *seconds* are over or when this is cancelled, is killed, and the command is waited for.

    :param variables: are added to its environment, which has little else.
    """
    try:
        running = _Running(argv, variables, message)
    except (OSError, ValueError) as error:
        return f"{argv[0]!r} cannot be run: {getattr(error, 'strerror', None) or error}"
    try:
        await asyncio.wait([running.ended], timeout=seconds)
        failure = "" if running.ended.done() else f"{argv[0]!r} has not ended after {seconds:g} s and was killed"
    finally:
        code = await running.close()
    if not failure and code:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        failure = f"{argv[0]!r} {how}"
    said = running.said() if failure else ""
    return failure + (f": {said}" if said else "")


class _Running:
    """A command that runs. :ivar ended: done as soon as it has ended by itself."""

    def __init__(self, argv: Sequence[str], variables: Mapping[str, str], message: str) -> None:
        """:raises OSError: it cannot be run."""
        self._loop = asyncio.get_running_loop()
        self._output = b""
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        self._pipe, out = os.pipe()
        try:
            with _file_of(message.encode() + b"\n") as text, os.fdopen(out, "wb") as output:
                self._process = subprocess.Popen(  # noqa: S603  the administrator's own command
                    list(argv),
                    stdin=text,
                    stdout=output,
                    stderr=output,
                    cwd="/",
                    env={**kept, **variables},
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._pipe)
            raise
        self.ended: asyncio.Future[None] = self._loop.create_future()
        try:
            self._handle = os.pidfd_open(self._process.pid)
        except OSError:
            os.close(self._pipe)
            self._kill()
            self._reap()
            raise
        os.set_blocking(self._pipe, False)
        self._reads = True
        self._loop.add_reader(self._handle, self._has_ended)
        self._loop.add_reader(self._pipe, self._read)

    async def close(self) -> int:
        """Kill what is left of it, wait for it, and return its exit code; what it said last is read.

        One that has much memory takes its time to be gone, and nobody else waits for it.
        """
        self._kill()
        try:
            await asyncio.wait([self.ended], timeout=KILL_SECONDS)
            if not self.ended.done():  # it hangs in the kernel, or has another user's rights
                logger.warning("process %d, the command of an alert, cannot be killed", self._process.pid)
        finally:
            self._loop.remove_reader(self._handle)
            os.close(self._handle)
            self._reap()
            self._read()
            if self._reads:
                self._loop.remove_reader(self._pipe)
            os.close(self._pipe)
        return self._process.returncode or 0

    def said(self) -> str:
        """Return the end of what it has printed, as one line."""
        return plain(self._output.decode(errors="replace").strip())

    def _kill(self) -> None:
        """Kill the group. It has its leader as long as nobody has waited for that, so the number is no other's."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Have it waited for, here if it is gone already."""
        if self._process.poll() is None:
            threading.Thread(target=self._process.wait, name="fwx-alert-wait", daemon=True).start()

    def _has_ended(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _read(self) -> None:
        if not self._reads:
            return
        try:
            data = os.read(self._pipe, _READ)
        except BlockingIOError:
            return
        if data:
            self._output = (self._output + data)[-_MOST_OUTPUT:]
        else:
            self._reads = False
            self._loop.remove_reader(self._pipe)


@contextmanager
def _file_of(content: bytes) -> Iterator[int]:
    """Give a file in memory with *content*, at its beginning: who writes into a pipe may have to wait."""
    descriptor = os.memfd_create("fwx-alert")
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
