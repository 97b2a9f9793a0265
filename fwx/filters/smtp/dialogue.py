"""The conversation of a client and a server of SMTP: what may pass, in step with the server's replies.

Nothing here moves bytes: :meth:`Dialogue.from_client` and :meth:`Dialogue.from_server` take them, :attr:`to_server` and
:attr:`to_client` are what is to be sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from fwx.filters.dialogue import CommandDialogue, State, Waiting, Wording
from fwx.filters.lines import Lines
from fwx.filters.smtp.body import Body, BodyError, Limits
from fwx.filters.smtp.command import MOST_IN_AUTH, Command, CommandError, is_base64, limit_of, parse
from fwx.filters.smtp.reply import Replies, Reply

MOST_WAITING = 256
"""Commands without a reply; while there are so many, the client is not listened to."""
# Behind these a client may send nothing before it has the reply (RFC 2920, 3.1), for it changes what may follow.
_WAITED_FOR = frozenset({"EHLO", "HELO", "DATA", "AUTH", "STARTTLS", "QUIT"})
_NEEDS_HELLO = frozenset({"MAIL", "RCPT", "DATA", "AUTH", "ETRN"})


@dataclass(frozen=True, slots=True)
class Rules:
    """What a dialogue may be. ``extensions`` are those that the server may offer."""

    limits: Limits
    refused: frozenset[str]
    extensions: frozenset[str]
    recipients: int
    errors: int


@dataclass(slots=True)
class _Waiting(Waiting):
    """A reply that the client is owed, in the mail *transaction* of that number."""

    transaction: int = 0


class Dialogue(CommandDialogue[Reply, _Waiting]):
    """The state of one connection (:class:`fwx.filters.conversation.Dialogue`).

    It is in the state ``AUTH`` while the client answers the challenges of an authentication.
    """

    wording = Wording(
        tls="STARTTLS",
        secured="STARTTLS: what is said under TLS is not looked at",
        syntax="500 5.5.2 Syntax error",
        out_of_order="421 4.3.0 The server is out of order",
        too_many="421 4.7.0 Too many errors",
        injected="554 5.5.0 Data behind STARTTLS",
    )

    def __init__(self, rules: Rules) -> None:
        super().__init__(Lines(self._limit_of), Replies(), _Waiting, rules.errors)
        self._rules = rules
        self._body: Body | None = None
        self._awaited = ""
        self._offered: frozenset[str] = frozenset()
        self._greeted = False
        # The mail transaction that the client is in, 0 for none; and the number of the last one.
        self._transaction = 0
        self._transactions = 0
        self._recipients = 0

    @property
    def held(self) -> bool:
        """Whether the client is not listened to until the server has replied.

        While STARTTLS waits for its reply the client may send nothing, so there it is listened to.
        """
        return self._awaited not in ("", "STARTTLS") or len(self._waiting) >= MOST_WAITING

    # From the client.

    def from_client(self, data: bytes | memoryview) -> None:
        """Take bytes of the client."""
        if self._awaited == "STARTTLS":
            self._refuse_injection()
        elif self.state is State.BODY:
            self._take_body(bytes(data))
        elif self.state is State.TLS:
            self._take_hello(bytes(data))
        elif self.state is not State.CLOSING:
            self._commands.feed(data)
        self.go_on()

    def go_on(self) -> None:
        """Take what the client has sent already, as far as it may be taken now."""
        while not self.held and len(self._commands):
            if self.state is State.BODY:
                self._take_body(self._commands.take_rest())
                continue
            line = self._next_line()
            if line is None:
                return
            if self.state is State.AUTH:
                self._take_response(line)
            else:
                self._take_command(line)

    def _limit_of(self, line: bytes) -> int:
        return MOST_IN_AUTH if self.state is State.AUTH else limit_of(line)

    def _take_command(self, line: bytes) -> None:
        try:
            command = parse(line, self._offered)
            self._judge(command)
        except CommandError as error:
            word = line[:40].partition(b" ")[0].decode("ascii", "backslashreplace")
            self._refuse(error.reply, f"{word} refused: {error.reply}")
            return
        if self.state is State.CLOSING:
            return
        self.to_server += line + b"\r\n"
        if command.verb in ("HELO", "EHLO", "RSET"):
            self._transaction = 0
        elif command.verb == "MAIL":
            self._transactions += 1
            self._transaction, self._recipients = self._transactions, 0
        elif command.verb == "RCPT":
            self._recipients += 1
        self._waiting.append(_Waiting(command.verb, transaction=self._transaction))
        if command.verb in _WAITED_FOR:
            self._awaited = command.verb

    def _judge(self, command: Command) -> None:
        """:raises CommandError: the command may not be used here, or not now."""
        verb, rules = command.verb, self._rules
        if verb in rules.refused:
            raise CommandError(f"502 5.5.1 {verb} is not allowed here")
        if verb in _NEEDS_HELLO and not self._greeted:
            raise CommandError("503 5.5.1 Send EHLO first")
        if verb in ("AUTH", "STARTTLS", "MAIL") and self._transaction:
            raise CommandError(f"503 5.5.1 {verb} inside a mail transaction")
        if verb in ("RCPT", "DATA") and not self._transaction:
            raise CommandError(f"503 5.5.1 {verb} needs MAIL first")
        if verb == "DATA" and not self._recipients:
            raise CommandError("503 5.5.1 DATA needs RCPT first")
        if verb == "RCPT" and 0 < rules.recipients <= self._recipients:
            raise CommandError("452 4.5.3 Too many recipients")
        if verb == "MAIL" and 0 < rules.limits.size < int(command.parameters.get("SIZE", b"0")):
            raise CommandError("552 5.3.4 Message too big")
        if verb == "STARTTLS":
            self._judge_starttls()

    def _judge_starttls(self) -> None:
        if "STARTTLS" not in self._offered:
            raise CommandError("502 5.5.1 STARTTLS is not offered")
        if len(self._commands):
            self._refuse_injection()

    def _take_response(self, line: bytes) -> None:
        if not is_base64(line):
            self._break("501 5.5.2 Base64 expected", "no base64 in an authentication")
            return
        self.to_server += line + b"\r\n"
        self._waiting.append(_Waiting("AUTH"))
        self._awaited = "AUTH"

    def _take_body(self, data: bytes) -> None:
        assert self._body is not None
        try:
            self.to_server += self._body.feed(data)
        except BodyError as error:
            self._break(error.reply, str(error))
            return
        if self._body.done:
            self._commands.feed(self._body.rest)
            self._body, self._transaction, self.state = None, 0, State.COMMANDS
            self._waiting.append(_Waiting("message"))

    # From the server.

    def _take_reply(self, reply: Reply) -> None:
        if reply.code == 421:  # at any time, and the last that it says
            self.to_client += bytes(reply)
            return
        if not self._waiting or self._waiting[0].own:
            self._distrust(f"reply {reply.code} that nobody has asked for")
            return
        waiting = self._waiting.popleft()
        if reply.code // 100 == 3 and (waiting.verb, reply.code) not in (("DATA", 354), ("AUTH", 334)):
            self._distrust(f"reply {reply.code} to {waiting.verb}")
            return
        if waiting.verb == "STARTTLS" and reply.code == 220:
            self._awaited = ""
            self._begin_tls(bytes(reply))
            return
        self._note_outcome(waiting, reply)
        if waiting.verb == self._awaited:
            self._awaited = ""
        self.to_client += bytes(reply)
        self._tell_own()

    def _note_outcome(self, waiting: _Waiting, reply: Reply) -> None:
        succeeded = reply.code // 100 == 2
        if waiting.verb in ("EHLO", "HELO") and succeeded:
            self._greeted = True
            self._offered = self._reduce(reply) if waiting.verb == "EHLO" else frozenset()
        elif waiting.verb == "MAIL" and not succeeded and waiting.transaction == self._transaction:
            self._transaction = 0
        elif waiting.verb == "DATA" and reply.code == 354 and self.state is State.COMMANDS:
            self.state, self._body = State.BODY, Body(self._rules.limits)
        elif waiting.verb == "DATA" and succeeded:
            self._distrust(f"reply {reply.code} to DATA")
        elif waiting.verb == "AUTH" and self.state is not State.CLOSING:
            self.state = State.AUTH if reply.code == 334 else State.COMMANDS

    def _reduce(self, reply: Reply) -> frozenset[str]:
        """Leave those extensions in the reply to EHLO that may pass, and return them."""
        rules, lines, offered = self._rules, reply.lines[:1], set()
        for line in reply.lines[1:]:
            words = line.split()
            name = words[0].decode("ascii", "replace").upper() if words else ""
            if name not in rules.extensions or name in rules.refused:
                continue
            offered.add(name)
            if name == "SIZE" and rules.limits.size:
                line = b"SIZE %d" % _least(rules.limits.size, words[1:])
            lines.append(line)
        reply.lines = lines
        return frozenset(offered)

    def _forget(self) -> None:
        self._body, self._awaited = None, ""


def _least(size: int, words: list[bytes]) -> int:
    offered = int(words[0]) if words and words[0].isdigit() and len(words[0]) <= 20 else 0
    return min(size, offered or size)
