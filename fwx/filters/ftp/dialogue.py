"""The conversation of a client and a server of FTP: what may pass, in step with the server's replies.

Nothing here moves bytes: :meth:`Dialogue.from_client` and :meth:`Dialogue.from_server` take them, :attr:`to_server` and
:attr:`to_client` are what is to be sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fwx import sdk
from fwx.filters.dialogue import CommandDialogue, State, Waiting, Wording
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
from fwx.filters.ftp.lines import Lines
from fwx.filters.ftp.ports import PortRefusedError
from fwx.filters.ftp.reply import Replies, Reply, extended_port, passive_address

MOST_WAITING = 1024
"""Commands without a reply; while there are so many, the client is not listened to."""
# These open a port, close the one before, or change what the stream is.
_IN_STEP = frozenset({"PORT", "EPRT", "PASV", "EPSV", "AUTH", "REIN"})
_ONLY_BY = {227: "PASV", 229: "EPSV", 234: "AUTH"}
_TLS = frozenset({b"TLS", b"TLS-C", b"SSL", b"TLS-P"})


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


@dataclass(slots=True)
class _Waiting(Waiting):
    """A reply that the client is owed; one that *names_port* is to be read."""

    names_port: bool = False


class Dialogue(CommandDialogue[Reply, _Waiting]):
    """The state of one connection (:class:`fwx.filters.conversation.Dialogue`).

    It is in the state ``AUTH`` while that command waits for its reply.
    """

    wording = Wording(
        tls="AUTH",
        secured="AUTH: what is said under TLS is not looked at, and no data port is opened",
        syntax="500 Syntax error",
        out_of_order="421 The server is out of order",
        too_many="421 Too many errors",
        injected="503 Data behind AUTH",
    )

    def __init__(self, rules: Rules, ports: Ports) -> None:
        super().__init__(Lines(rules.line), Replies(), _Waiting, rules.errors)
        self._rules = rules
        self._ports = ports
        # A command that waits for the replies to those before it.
        self._next: Command | None = None

    @property
    def held(self) -> bool:
        """While AUTH waits for its reply the client may send nothing, so there it is listened to."""
        return len(self._waiting) >= MOST_WAITING or self._next is not None

    # From the client.

    def from_client(self, data: bytes | memoryview) -> None:
        if self.state is State.AUTH:
            self._refuse_injection()
        elif self.state is State.TLS:
            self._take_hello(bytes(data))
        elif self.state is not State.CLOSING:
            self._commands.feed(data)
        self.go_on()

    def go_on(self) -> None:
        if self._next is not None and not self._waiting:
            command, self._next = self._next, None
            self._pass(command)
        while self.state is State.COMMANDS and not self.held and len(self._commands):
            line = self._next_line()
            if line is None:
                return
            self._take_command(line)

    def _take_command(self, line: bytes) -> None:
        try:
            command = parse(line)
            self._judge(command)
        except CommandError as error:
            word = line[:40].partition(b" ")[0].decode("ascii", "backslashreplace")
            self._refuse(error.reply, f"{word}: {error.reply}", is_attack=False)
            return
        if self._waiting and self._is_in_step(command):
            self._next = command
        else:
            self._pass(command)

    def _is_in_step(self, command: Command) -> bool:
        """Tell whether it is passed on only when all replies to what came before are there."""
        return command.verb in _IN_STEP

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
                self._refuse(error.reply, f"{command.verb}: {error.reply}", is_attack=False)
                return
            except PortRefusedError as error:
                self._refuse(error.reply, f"{command.verb}: {error}", is_attack=error.is_attack)
                return
        elif command.verb == "AUTH":
            if len(self._commands):
                self._refuse_injection()
                return
            self.state = State.AUTH
        self.to_server += line
        # EPSV ALL names no port (RFC 2428, 4).
        names_port = command.verb in ("PASV", "EPSV") and command.argument.strip(b" ").upper() != b"ALL"
        self._waiting.append(_Waiting(command.verb, names_port=names_port))

    # From the server.

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
            self._begin_tls(bytes(reply))
            return
        self.to_client += self._made_of(reply, waiting)
        if self.state is State.AUTH:
            self.state = State.COMMANDS
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

    def _forget(self) -> None:
        self._next = None
