"""The service's end of the control socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pwd
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from fwx.control import LONGEST_LINE, SOCKET, ControlError
from fwx.control.place import short_name

logger = logging.getLogger("fwx.control")

# How long a client may take to say what it wants.
REQUEST_SECONDS = 5.0
MOST_CLIENTS = 16
# How long what comes behind a request may take.
BODY_SECONDS = 30.0

_CREDENTIALS = struct.Struct("3i")  # process, user, group (unix(7))


class Lines:
    """The lines of an answer that goes on, and the client's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, line: Mapping[str, Any]) -> None:
        """Send *line* when the client has taken what came before. :raises OSError: the client is gone."""
        if self._writer.is_closing():  # uvloop would raise something else
            raise ConnectionResetError("the client is gone")
        self._writer.write(json.dumps(line).encode() + b"\n")
        await self._writer.drain()

    @property
    def peer_uid(self) -> int:
        """The account of the client, by what the kernel says."""
        credentials = self._writer.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
        uid: int = _CREDENTIALS.unpack(credentials)[1]
        return uid

    async def take(self, count: int) -> bytes:
        """Take the *count* bytes that the client sends behind its request. :raises ControlError: it does not."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._reader.readexactly(count)
        except TimeoutError:
            raise ControlError(f"{count} bytes have not come within {BODY_SECONDS:g} s") from None
        except asyncio.IncompleteReadError:
            raise ControlError(f"the client ended before its {count} bytes had come") from None

    async def ended(self) -> None:
        """Wait until the client says no more; what it says is thrown away. :raises OSError: it is gone."""
        while await self._reader.read(LONGEST_LINE):
            """Nothing is expected."""


Stream = Callable[[Mapping[str, Any], Lines], Awaitable[None]]
"""Answers a request with lines, the first of them ``done``; raises :class:`ControlError` before that.

When the client goes away it returns.
"""

Command = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Does what a request asks for and returns what ``done`` says; raises :class:`ControlError`."""


class ControlServer:
    """Answers requests, one for each client, on the loop of the service."""

    def __init__(
        self, folder: Path, commands: Mapping[str, Command], streams: Mapping[str, Stream] | None = None
    ) -> None:
        """:param folder: where the socket is made. :param commands: by name. :param streams: likewise, those whose
        answer goes on."""
        self.path = folder / SOCKET
        self._commands = commands
        self._streams = streams or {}
        # The account that the service becomes may not reach the folder by its name.
        self._folder: int | None = None
        self._listener: socket.socket | None = None
        self._server: asyncio.AbstractServer | None = None
        self._clients: set[asyncio.Task[None]] = set()

    def open(self, account: pwd.struct_passwd | None = None) -> None:
        """Make the socket, mode 0600, for *account*, in the place of one that a service has left behind.

        Clients wait until :meth:`start`. Whatever happens, :meth:`stop` has to be called.

        :raises ControlError: another service answers there, or the socket cannot be made.
        """
        try:
            self._folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._remove_old(self._folder)
            self._listener = self._listen(self._folder, account)
        except OSError as error:
            raise ControlError(f"the control socket {self.path} cannot be made: {error.strerror or error}") from error

    async def start(self) -> None:
        """Answer from now on."""
        self._server = await asyncio.start_unix_server(self._met, sock=self._listener, limit=LONGEST_LINE)

    async def stop(self) -> None:
        """Take no more requests, end those that are under way, and remove the socket."""
        server, self._server = self._server, None
        listener, self._listener = self._listener, None
        folder, self._folder = self._folder, None
        if server is not None:
            server.close()
        if listener is not None:
            listener.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(SOCKET, dir_fd=folder)
        if folder is not None:
            os.close(folder)
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _listen(self, folder: int, account: pwd.struct_passwd | None) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(short_name(folder))
            os.chmod(SOCKET, 0o600, dir_fd=folder)
            if account is not None:
                os.chown(SOCKET, account.pw_uid, account.pw_gid, dir_fd=folder)
            listener.listen(MOST_CLIENTS)
        except BaseException:
            listener.close()
            raise
        return listener

    def _remove_old(self, folder: int) -> None:
        try:
            if not stat.S_ISSOCK(os.stat(SOCKET, dir_fd=folder).st_mode):
                return  # bind complains about it
        except FileNotFoundError:
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(short_name(folder))
            except ConnectionRefusedError:
                os.unlink(SOCKET, dir_fd=folder)
            except BlockingIOError:  # its backlog is full, so it is there
                raise ControlError(self._taken) from None
            else:
                raise ControlError(self._taken)

    @property
    def _taken(self) -> str:
        return f"another service runs with the state folder {self.path.parent}; give each its own state_dir"

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            answer = await self._answer(reader, Lines(reader, writer))
            if answer is not None:
                writer.write(json.dumps(answer).encode() + b"\n")
            writer.close()
            async with asyncio.timeout(REQUEST_SECONDS):
                await writer.wait_closed()
        except (OSError, TimeoutError) as error:
            logger.debug("a client of the control socket went away: %s", error)
        except asyncio.CancelledError:  # the service stops; the stream's own callback would report it
            logger.debug("a client of the control socket was left without an answer")
        finally:
            self._clients.discard(task)
            writer.transport.abort()  # of one that has not taken what was said nothing is kept

    async def _answer(self, reader: asyncio.StreamReader, lines: Lines) -> Mapping[str, Any] | None:
        """Do what is asked for and return the answer, unless it has been given."""
        try:
            request = await self._read(reader)
            if len(self._clients) > MOST_CLIENTS:
                raise ControlError(f"{MOST_CLIENTS} other requests are under way")
            command = request.get("command")
            known = {*self._commands, *self._streams}
            if not isinstance(command, str) or command not in known:
                raise ControlError(f"no command {command!r}; expected {' or '.join(map(repr, sorted(known)))}")
            if command in self._streams:
                await self._streams[command](request, lines)
                return None
            return {"done": await self._commands[command](request)}
        except ControlError as error:
            return {"failed": str(error)}
        except Exception as error:
            logger.exception("a request of the control socket failed")
            return {"failed": f"{type(error).__name__}: {error}"}

    async def _read(self, reader: asyncio.StreamReader) -> Mapping[str, Any]:
        """:raises ControlError: it is no request."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                line = await reader.readuntil(b"\n")
            request = json.loads(line)
        except TimeoutError:
            raise ControlError(f"no request came within {REQUEST_SECONDS:g} s") from None
        except asyncio.IncompleteReadError:
            raise ControlError("the request is not complete; expected a line") from None
        except asyncio.LimitOverrunError:
            raise ControlError(f"the request is longer than {LONGEST_LINE} bytes") from None
        except (ValueError, RecursionError) as error:
            raise ControlError(f"the request is no JSON: {error}") from None
        if not isinstance(request, dict):
            raise ControlError("the request is no JSON object")
        return request


def text_of(request: Mapping[str, Any], key: str) -> str:
    """Return what *request* has under *key*. :raises ControlError: nothing, or no text."""
    value = request.get(key)
    if not isinstance(value, str) or not value:
        raise ControlError(f"{key!r} is {value!r}; expected a text")
    return value
