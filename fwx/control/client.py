"""A command's end of the control socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fwx.control import LONGEST_LINE, SOCKET, ControlError
from fwx.control.place import short_path

ANSWER_SECONDS = 60.0

LONGEST_OF_MANY = 4 << 20
"""Bytes of one line of an answer that goes on."""


def ask(folder: Path, command: str, *, seconds: float = ANSWER_SECONDS, **arguments: Any) -> Mapping[str, Any]:
    """Have the service with the state folder *folder* do *command*, and return what it says was done.

    :raises ControlError: it was not done, or there is no service.
    """
    with _in_words(folder, seconds), socket.socket(socket.AF_UNIX) as sock:
        _say(sock, folder, {"command": command, **arguments}, seconds)
        line = _Reader(sock).line(LONGEST_LINE)
    return _done(line)


class Answer:
    """An answer that goes on: line by line, until one of the two ends it."""

    def __init__(self, sock: socket.socket, reader: _Reader) -> None:
        self._sock = sock
        self._reader = reader

    def line(self, seconds: float | None) -> Mapping[str, Any] | None:
        """Return the next line, or ``None`` where the service says no more.

        :raises TimeoutError: none has come within *seconds*; ``None`` waits for ever.
        :raises ControlError: the service says that it has failed, or says what is no line.
        """
        self._sock.settimeout(seconds)
        try:
            line = self._reader.line(LONGEST_OF_MANY)
        except ConnectionError:
            return None
        if not line.endswith(b"\n"):
            return None  # nothing, or half a line: the service ended
        found = _parsed(line)
        if isinstance(found, dict):
            if "failed" in found:
                raise ControlError(str(found["failed"]))
            return found
        raise ControlError(f"the service answered {line[:200]!r}")

    def enough(self) -> None:
        """Tell the service to end; what it has still to say comes as lines."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it has gone, which the next line says


@contextmanager
def follow(
    folder: Path, command: str, *, seconds: float = ANSWER_SECONDS, body: bytes = b"", **arguments: Any
) -> Iterator[Answer]:
    """Have the service do *command*, whose answer goes on; *seconds* are for its beginning. *body* follows the request.

    :raises ControlError: it was not begun, or there is no service.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        reader = _Reader(sock)
        with _in_words(folder, seconds):
            _say(sock, folder, {"command": command, **arguments}, seconds)
            if body:
                with suppress(BrokenPipeError):  # it says why it does not want it
                    sock.sendall(body)
            line = reader.line(LONGEST_LINE)
        _done(line)
        yield Answer(sock, reader)


@contextmanager
def _in_words(folder: Path, seconds: float) -> Iterator[None]:
    """Say what goes wrong with the socket in *folder* in words. :raises ControlError: something has."""
    path = folder / SOCKET
    try:
        yield
    except TimeoutError:
        raise ControlError(f"the service at {path} has not answered within {seconds:g} s") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(f"no service runs with the state folder {folder}") from None
    except OSError as error:
        raise ControlError(f"the control socket {path} cannot be used: {error.strerror or error}") from error


def _say(sock: socket.socket, folder: Path, request: Mapping[str, Any], seconds: float) -> None:
    sock.settimeout(seconds)
    with short_path(folder) as short:
        sock.connect(short)
    sock.sendall(json.dumps(request).encode() + b"\n")


class _Reader:
    """Takes lines from a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rest = b""

    def line(self, longest: int) -> bytes:
        """Return the next line with its end; without one at the end of what comes, or where it is too long."""
        while b"\n" not in self._rest and len(self._rest) <= longest:
            block = self._sock.recv(LONGEST_LINE)
            if not block:
                break
            self._rest += block
        line, end, rest = self._rest.partition(b"\n")
        self._rest = rest
        return line + end


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line) if line else None
    except ValueError:
        return None


def _done(line: bytes) -> Mapping[str, Any]:
    match _parsed(line):
        case {"done": dict(done)}:
            return done
        case {"failed": str(reason)}:
            raise ControlError(reason)
    raise ControlError("the service ended before it answered" if not line else f"the service answered {line!r}")
