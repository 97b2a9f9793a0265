"""What an alert can do (B9.24), as values: two that are equal do the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fwx.interfaces import SocketAddress


@dataclass(frozen=True, slots=True)
class LogAction:
    """A line in the system's log, at the alert's severity."""

    name = "log"


@dataclass(frozen=True, slots=True)
class CommandAction:
    """A program with its arguments, run without a shell; ended after *seconds*."""

    argv: tuple[str, ...]
    seconds: float

    name = "command"


@dataclass(frozen=True, slots=True)
class MailAction:
    """A message to *to* by the server *server*, given up after *seconds*.

    :ivar start_tls: not without TLS. :ivar authorities: of the server's certificate, ``None`` for those of the system.
    """

    to: tuple[str, ...]
    sender: str
    server: SocketAddress
    seconds: float
    start_tls: bool = False
    authorities: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    password: str = field(default="", repr=False)

    name = "mail"


@dataclass(frozen=True, slots=True)
class StopAction:
    """The end of the service, as SIGTERM brings it about."""

    name = "stop_service"


Action = LogAction | CommandAction | MailAction | StopAction
