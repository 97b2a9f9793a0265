"""A command's end of the control socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fwx.control import LONGEST_LINE, SOCKET, ControlError
from fwx.control.place import short_path

ANSWER_SECONDS = 60.0


def ask(folder: Path, command: str, *, seconds: float = ANSWER_SECONDS, **arguments: Any) -> Mapping[str, Any]:
    """Have the service with the state folder *folder* do *command*, and return what it says was done.

    :raises ControlError: it was not done, or there is no service.
    """
    path = folder / SOCKET
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(seconds)
            with short_path(folder) as short:
                sock.connect(short)
            sock.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            line = _line(sock)
    except TimeoutError:
        raise ControlError(f"the service at {path} has not answered within {seconds:g} s") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(f"no service runs with the state folder {folder}") from None
    except OSError as error:
        raise ControlError(f"the control socket {path} cannot be used: {error.strerror or error}") from error
    return _done(line)


def _line(sock: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) <= LONGEST_LINE:
        block = sock.recv(LONGEST_LINE)
        if not block:
            break
        line += block
    return line


def _done(line: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(line) if line else None
    except ValueError:
        answer = None
    match answer:
        case {"done": dict(done)}:
            return done
        case {"failed": str(reason)}:
            raise ControlError(reason)
    raise ControlError("the service ended before it answered" if not line else f"the service answered {line!r}")
