"""The conversation of FTP, where the reply that ends a transfer waits for what becomes of the data."""

from __future__ import annotations

from collections.abc import Awaitable

from fwx.filters.exe_block.port import TRANSFERS, DataPort, may_transfer
from fwx.filters.exe_block.ports import WatchedPorts
from fwx.filters.ftp.command import Command, CommandError
from fwx.filters.ftp.dialogue import Dialogue, Rules
from fwx.filters.ftp.reply import Reply

_LINE = 65536
# Whatever else a data connection could carry than the bytes of a file as they are.
_PLAIN = {"MODE": frozenset({b"S"}), "STRU": frozenset({b"F"}), "TYPE": frozenset({b"A", b"I", b"L"})}


class ScannedDialogue(Dialogue):
    """Passes everything on but what would keep data from being looked at: TLS, other forms of a file, parts of one."""

    def __init__(self, ports: WatchedPorts, *, resumes: bool, appends: bool) -> None:
        """*resumes* lets transfers begin in the middle of a file; *appends* lets a client add to one."""
        parts = {"RANG": resumes, "APPE": appends}
        refused = frozenset(verb for verb, is_allowed in parts.items() if not is_allowed)
        super().__init__(Rules(refused, passes_unknown=True, line=_LINE, errors=0), ports)
        self._watched = ports
        self._resumes = resumes
        self._withheld: Reply | None = None
        # The transfer that the first reply is about has begun.
        self._has_begun = False

    @property
    def is_under_way(self) -> bool:
        """Whether the server has been asked for a transfer, and has not said how that ended."""
        return any(waiting.verb and may_transfer(waiting.verb) for waiting in self._waiting)

    def awaited(self) -> Awaitable[object] | None:
        port = self._watched.current
        if self._withheld is None or port is None:
            return None
        return port.recognise() if _has_more_to_come(self._withheld) else port.settle()

    def _is_in_step(self, command: Command) -> bool:
        """One transfer at a time, so that each reply is known to be about its data."""
        return super()._is_in_step(command) or may_transfer(command.verb)

    def _judge(self, command: Command) -> None:
        super()._judge(command)
        argument = command.argument.strip(b" ")
        if command.verb == "REST" and not self._resumes and argument != b"0":
            raise CommandError("504 REST is not allowed here: a file must be whole to be looked at")
        allowed = _PLAIN.get(command.verb)
        if allowed is not None and argument[:1].upper() not in allowed:
            raise CommandError(f"504 {command.verb} is not allowed here with that parameter")

    def _pass(self, command: Command) -> None:
        if may_transfer(command.verb):
            port = self._watched.current
            if port is not None:
                port.asks_for(command)
            elif command.verb in TRANSFERS:
                self._refuse("425 Use PORT or PASV first", f"{command.verb} without a data port", is_attack=False)
                return
        super()._pass(command)

    def _next_reply(self) -> Reply | None:
        """Withhold what is said of a transfer until its data is decided on; put the refusal in its place.

        Of a program the client does not hear that it comes: many do not read on when nothing follows.
        """
        port = self._watched.current
        while True:
            reply, self._withheld = self._withheld or super()._next_reply(), None
            waiting = self._waiting[0] if self._waiting else None
            if reply is None or port is None or waiting is None or waiting.own or not may_transfer(waiting.verb):
                return reply
            if not _has_more_to_come(reply):
                return self._end_of_transfer(reply, port, waiting.verb)
            self._has_begun = True
            # Of others nothing need come from the server before the client has heard this.
            if waiting.verb == "RETR" and port.is_looked_at:
                self._withheld = reply
                return None
            if not port.refusal:
                return reply

    def _end_of_transfer(self, reply: Reply, port: DataPort, verb: str) -> Reply | None:
        if reply.code // 100 == 2 and (self._has_begun or verb in TRANSFERS) and not port.is_settled:
            self._withheld = reply
            return None
        self._has_begun = False
        refusal, port.refusal = port.refusal, ""
        return Reply(int(refusal[:3]), [refusal.encode()]) if refusal else reply

    def _offers(self, line: bytes) -> bool:
        words = line.upper().split()
        if words[:1] == [b"MODE"] or (words[:1] == [b"REST"] and not self._resumes):
            return False
        return super()._offers(line)


def _has_more_to_come(reply: Reply) -> bool:
    """Tell whether another reply to the same command follows (RFC 959, 4.2)."""
    return reply.code // 100 == 1
