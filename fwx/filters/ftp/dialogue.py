"""The conversation of a client and a server of FTP: what may pass, in step with the server's replies.

Nothing here moves bytes: :meth:`Dialogue.from_client` and :meth:`Dialogue.from_server` take them, :attr:`to_server` and
:attr:`to_client` are what is to be sent.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from fwx import sdk
from fwx.filters.ftp.command import (
    SECURITY,
    UNREADABLE,
    VERBS,
    Command,
    CommandError,
    active_address,
    active_command,
    in_numbers,
    parse,
)
from fwx.filters.ftp.lines import LineError, Lines
from fwx.filters.ftp.ports import PortRefusedError
from fwx.filters.ftp.reply import Replies, Reply, ReplyError, extended_port, passive_address

MOST_WAITING = 1024
"""Commands without a reply; while there are so many, the client is not listened to."""
# These are passed on when all replies to what came before are there: they open a port, close the one before, or change
# what the stream is.
_IN_STEP = frozenset({"PORT", "EPRT", "PASV", "EPSV", "AUTH", "REIN"})
_ONLY_BY = {227: "PASV", 229: "EPSV", 234: "AUTH"}
_TLS = frozenset({b"TLS", b"TLS-C", b"SSL", b"TLS-P"})
_HANDSHAKE = b"\x16\x03"  # how a TLS record with a ClientHello begins (RFC 8446, 5.1)


class Ports(Protocol):
    """What opens data ports, such as :class:`fwx.filters.ftp.ports.DataPorts`."""

    def passive(self, host: str, port: int) -> sdk.SocketAddress:
        """The server waits there; return where the client has to go. :raises PortRefusedError: nothing is open."""

    def active(self, client: sdk.SocketAddress) -> sdk.SocketAddress:
        """The client waits there; return where the server has to go. :raises PortRefusedError: nothing is open."""

    def close(self) -> None:
        """Close what has been opened and not used."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a dialogue may be. ``refused`` are verbs; ``errors`` is how many refusals end it, 0 for any number."""

    refused: frozenset[str] = frozenset()
    read_only: bool = False
    passes_unknown: bool = False
    passes_tls: bool = False
    line: int = 4096
    errors: int = 20


class _State(Enum):
    """What the client's bytes are."""

    COMMANDS = auto()
    AUTH = auto()
    TLS = auto()
    CLOSING = auto()


@dataclass(slots=True)
class _Waiting:
    """A reply that the client is owed: the server's to *verb*, or one of ours."""

    verb: str
    own: str = ""
    names_port: bool = False


class Dialogue:
    """The state of one connection (:class:`fwx.filters.conversation.Dialogue`)."""

    def __init__(self, rules: Rules, ports: Ports) -> None:
        self.to_server = bytearray()
        self.to_client = bytearray()
        self.notes: list[str] = []
        self.remarks: list[str] = []
        self.over = False
        self.secured = False
        self._rules = rules
        self._ports = ports
        self._state = _State.COMMANDS
        self._commands = Lines(rules.line)
        self._replies = Replies()
        self._waiting: deque[_Waiting] = deque([_Waiting("greeting")])
        # A command that waits for the replies to those before it.
        self._next: Command | None = None
        self._errors = 0
        self._hello = b""

    @property
    def closing(self) -> bool:
        return self._state is _State.CLOSING

    @property
    def held(self) -> bool:
        """While AUTH waits for its reply the client may send nothing, so there it is listened to."""
        return len(self._waiting) >= MOST_WAITING or self._next is not None

    # From the client.

    def from_client(self, data: bytes | memoryview) -> None:
        if self._state is _State.AUTH:
            self._refuse_injection()
        elif self._state is _State.TLS:
            self._take_hello(bytes(data))
        elif self._state is not _State.CLOSING:
            self._commands.feed(data)
        self.go_on()

    def go_on(self) -> None:
        if self._next is not None and not self._waiting:
            command, self._next = self._next, None
            self._pass(command)
        while self._state is _State.COMMANDS and not self.held and len(self._commands):
            try:
                line = self._commands.next()
            except LineError as error:
                self._break(f"500 Syntax error: {error}", str(error))
                return
            if line is None:
                return
            self._take_command(line)

    def _take_command(self, line: bytes) -> None:
        try:
            command = parse(line)
            self._judge(command)
        except CommandError as error:
            word = line[:40].partition(b" ")[0].decode("ascii", "backslashreplace")
            self._refuse(error.reply, f"{word}: {error.reply}")
            return
        if command.verb in _IN_STEP and self._waiting:
            self._next = command
        else:
            self._pass(command)

    def _judge(self, command: Command) -> None:
        """:raises CommandError: the command may not be used here."""
        verb, rules = command.verb, self._rules
        if verb in UNREADABLE or verb in rules.refused:
            raise CommandError(f"502 {verb} is not allowed here")
        if verb in SECURITY:
            raise CommandError(f"503 {verb} needs AUTH first")
        if verb not in VERBS and not rules.passes_unknown:
            raise CommandError("500 Command unknown")
        if rules.read_only and command.changes_files:
            raise CommandError("550 Permission denied, read only")
        if verb == "AUTH":
            if not rules.passes_tls:
                raise CommandError("534 AUTH is not allowed here")
            if command.argument.strip(b" ").upper() not in _TLS:
                raise CommandError("504 AUTH is for TLS alone")

    def _pass(self, command: Command) -> None:
        """Send a command on; one that names a port opens it first, and another port is named."""
        line = f"{command.verb} ".encode() + command.argument if command.argument else command.verb.encode()
        line += b"\r\n"
        if command.verb in ("PORT", "EPRT"):
            try:
                line = active_command(self._ports.active(active_address(command)))
            except CommandError as error:
                self._refuse(error.reply, f"{command.verb}: {error.reply}")
                return
            except PortRefusedError as error:
                self._refuse(error.reply, f"{command.verb}: {error}", is_attack=error.is_attack)
                return
        elif command.verb == "AUTH":
            if len(self._commands):
                self._refuse_injection()
                return
            self._state = _State.AUTH
        self.to_server += line
        # EPSV ALL names no port (RFC 2428, 4).
        names_port = command.verb in ("PASV", "EPSV") and command.argument.strip(b" ").upper() != b"ALL"
        self._waiting.append(_Waiting(command.verb, names_port=names_port))

    def _take_hello(self, data: bytes) -> None:
        """What was sent in the clear behind AUTH, in time or late, is no TLS record."""
        self._hello += data
        if not self._hello.startswith(_HANDSHAKE[: len(self._hello)]):
            self._refuse_injection()
        elif len(self._hello) >= len(_HANDSHAKE):
            self.to_server += self._hello
            self.secured = True
            self.remarks.append("AUTH: what is said under TLS is not looked at, and no data port is opened")

    # From the server.

    def from_server(self, data: bytes | memoryview) -> None:
        if self._state is _State.TLS:
            self._distrust("it sends before the client has begun TLS")
            return
        self._replies.feed(data)
        while not self.over:
            try:
                reply = self._replies.next()
            except ReplyError as error:
                self._distrust(str(error))
                return
            if reply is None:
                return
            self._take_reply(reply)

    def give_up(self) -> None:
        if not self.over:
            last = self._waiting[-1].own
            self._waiting.clear()
            self.to_client += last.encode() + b"\r\n"
            self.over = True

    def _take_reply(self, reply: Reply) -> None:
        if reply.code == 421:  # at any time, and the last that it says
            self.to_client += bytes(reply)
            return
        if not self._waiting or self._waiting[0].own:
            self._distrust(f"reply {reply.code} that nobody has asked for")
            return
        waiting = self._waiting[0]
        expected = _ONLY_BY.get(reply.code, waiting.verb)
        if expected != waiting.verb or (waiting.names_port and reply.code // 100 == 2 and reply.code not in _ONLY_BY):
            self._distrust(f"reply {reply.code} to {waiting.verb}")
            return
        if reply.code // 100 == 1:
            self.to_client += bytes(reply)
            return
        self._waiting.popleft()
        if reply.code == 234:
            self._begin_tls(reply)
            return
        self.to_client += self._made_of(reply, waiting)
        if self._state is _State.AUTH:
            self._state = _State.COMMANDS
        self._tell_own()

    def _made_of(self, reply: Reply, waiting: _Waiting) -> bytes:
        """Return what the client gets of the final *reply*."""
        if reply.code in (227, 229):
            return self._passive(reply)
        if waiting.verb in ("PORT", "EPRT") and reply.code // 100 != 2:
            self._ports.close()
        if waiting.verb == "FEAT" and reply.code == 211:
            reply.lines = [*reply.lines[:1], *filter(self._offers, reply.lines[1:-1]), *reply.lines[1:][-1:]]
        return bytes(reply)

    def _offers(self, line: bytes) -> bool:
        """Tell whether a feature may be shown: what is refused is not offered either."""
        words = line.split()
        name = words[0].decode("latin-1").upper() if words else ""
        rules = self._rules
        if name in UNREADABLE or name in rules.refused:
            return False
        if name == "AUTH" or name in SECURITY:
            return rules.passes_tls
        return not (rules.read_only and Command(name).changes_files)

    def _passive(self, reply: Reply) -> bytes:
        """Open the port that the server names. The reply is made anew, so that all understand the same."""
        if reply.code == 227:
            host, port = passive_address(reply) or ("", 0)
        else:
            host, port = "", extended_port(reply) or 0
        try:
            if not port:
                raise PortRefusedError("425 Can't open data connection", f"no port in {reply.lines[-1][:80]!r}")
            address = self._ports.passive(host, port)
            if reply.code == 229:
                return b"229 Entering Extended Passive Mode (|||%d|)\r\n" % address.port
            if address.family != sdk.SocketAddress("0.0.0.0").family:  # noqa: S104  asked for its family
                self._ports.close()
                raise PortRefusedError("425 Use EPSV", f"reply 227 cannot name {address.host}")
            return f"227 Entering Passive Mode ({in_numbers(address)}).\r\n".encode()
        except PortRefusedError as error:
            (self.notes if error.is_attack else self.remarks).append(f"reply {reply.code}: {error}")
            return error.reply.encode() + b"\r\n"

    def _begin_tls(self, reply: Reply) -> None:
        if len(self._replies):
            self._distrust("it sends more behind its reply to AUTH")
            return
        self.to_client += bytes(reply)
        self._state = _State.TLS

    # Refusals.

    def _refuse(self, reply: str, words: str, *, is_attack: bool = False) -> None:
        """Refuse a command; the conversation goes on."""
        (self.notes if is_attack else self.remarks).append(words)
        self._errors += 1
        if 0 < self._rules.errors <= self._errors:
            self._break("421 Too many errors", f"{self._errors} refused commands, the last one: {words}")
            return
        self._waiting.append(_Waiting("", own=reply))
        self._tell_own()

    def _break(self, reply: str, words: str) -> None:
        """Refuse what came, and all that comes: the connection ends when the client has its replies."""
        self.notes.append(words)
        self._state, self._next = _State.CLOSING, None
        self._commands.clear()
        self._waiting.append(_Waiting("", own=reply))
        self._tell_own()

    def _refuse_injection(self) -> None:
        # The reply to AUTH would promise what does not come.
        while self._waiting and self._waiting[-1].verb == "AUTH":
            self._waiting.pop()
        self._break("503 Data behind AUTH", "commands in the clear behind AUTH")

    def _distrust(self, words: str) -> None:
        """The server does not speak FTP: nothing that it says can be relied on."""
        self.notes.append(f"the server: {words}")
        self._state, self._next = _State.CLOSING, None
        self._waiting.clear()
        self.to_client += b"421 The server is out of order\r\n"
        self.over = True

    def _tell_own(self) -> None:
        """Tell the client what it is owed of our own replies, in its turn."""
        while self._waiting and self._waiting[0].own:
            self.to_client += self._waiting.popleft().own.encode() + b"\r\n"
        if self.closing and not self._waiting:
            self.over = True
