"""What the dialogues of protocols have in common whose client sends commands, a line each, and whose server replies.

Nothing here moves bytes: :meth:`CommandDialogue.from_client` and :meth:`CommandDialogue.from_server` take them, and
``to_server`` and ``to_client`` are what is to be sent (:class:`fwx.filters.conversation.Dialogue`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from fwx.filters.lines import LineError, Lines

_HANDSHAKE = b"\x16\x03"  # how a TLS record with a ClientHello begins (RFC 8446, 5.1)

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
W = TypeVar("W", bound="Waiting")


class ReplyError(ValueError):
    """What the server says is no reply of the protocol: ``str()`` says why."""


class Replies(Protocol[R_co]):
    """Cuts what a server says into replies."""

    def __len__(self) -> int:
        """Bytes and lines that no reply has been made of."""

    def feed(self, data: bytes | memoryview) -> None: ...

    def next(self) -> R_co | None:
        """Return the next reply, ``None`` if it has not come whole. :raises ReplyError: it is none."""


class State(Enum):
    """What the client's bytes are."""

    COMMANDS = auto()
    BODY = auto()
    AUTH = auto()
    TLS = auto()
    CLOSING = auto()


@dataclass(slots=True)
class Waiting:
    """A reply that the client is owed: the server's to *verb*, or one of ours."""

    verb: str
    own: str = ""


@dataclass(frozen=True, slots=True)
class Wording:
    """What a protocol says: ``tls`` is the verb that begins TLS; ``secured``, what the log has of that.

    The others are replies: to what is no line, in the place of all that the server should say, to too many refused
    commands, and to commands in the clear behind ``tls``.
    """

    tls: str
    secured: str
    syntax: str
    out_of_order: str
    too_many: str
    injected: str


class CommandDialogue(Generic[R, W]):
    """The state of one connection. What the commands mean, a protocol's own dialogue says.

    :ivar state: what the client's bytes are.
    """

    wording: Wording

    def __init__(self, commands: Lines, replies: Replies[R], waiting: type[W], errors: int) -> None:
        """*waiting* makes the entries of replies that are owed; so many refused commands as *errors* end it, 0 none."""
        self.to_server = bytearray()
        self.to_client = bytearray()
        self.notes: list[str] = []
        self.remarks: list[str] = []
        self.over = False
        self.secured = False
        self.state = State.COMMANDS
        self._commands = commands
        self._replies = replies
        self._owed = waiting
        self._waiting: deque[W] = deque([waiting("greeting")])
        self._most_errors = errors
        self._errors = 0
        self._hello = b""

    @property
    def closing(self) -> bool:
        return self.state is State.CLOSING

    # What a protocol's own dialogue has.

    def _take_reply(self, reply: R) -> None:
        """Take the server's next reply."""
        raise NotImplementedError

    def _forget(self) -> None:
        """The connection is to end: forget the command that is under way."""

    # From the client.

    def _next_line(self) -> bytes | None:
        """Return the client's next line; ``None`` if it has not come, or breaks the rules: then all ends."""
        try:
            return self._commands.next()
        except LineError as error:
            self._break(f"{self.wording.syntax}: {error}", str(error))
            return None

    def _take_hello(self, data: bytes) -> None:
        """What was sent in the clear behind the verb, in time or late, is no TLS record (CVE-2011-0411)."""
        self._hello += data
        if not self._hello.startswith(_HANDSHAKE[: len(self._hello)]):
            self._refuse_injection()
        elif len(self._hello) >= len(_HANDSHAKE):
            self.to_server += self._hello
            self.secured = True
            self.remarks.append(self.wording.secured)

    # From the server.

    def from_server(self, data: bytes | memoryview) -> None:
        if self.state is State.TLS:
            self._distrust("it sends before the client has begun TLS")
            return
        self._replies.feed(data)
        while not self.over:
            try:
                reply = self._next_reply()
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

    def awaited(self) -> Awaitable[object] | None:
        return None

    def _next_reply(self) -> R | None:
        """Return the server's next reply, if it may be taken now. :raises ReplyError: it is none."""
        return self._replies.next()

    def _begin_tls(self, reply: bytes) -> None:
        if len(self._replies):
            self._distrust(f"it sends more behind its reply to {self.wording.tls}")
            return
        self.to_client += reply
        self.state = State.TLS

    # Refusals.

    def _refuse(self, reply: str, words: str, *, is_attack: bool = True) -> None:
        """Refuse a command; the conversation goes on."""
        (self.notes if is_attack else self.remarks).append(words)
        self._errors += 1
        if 0 < self._most_errors <= self._errors:
            self._break(self.wording.too_many, f"{self._errors} refused commands, the last one: {words}")
            return
        self._waiting.append(self._owed("", own=reply))
        self._tell_own()

    def _break(self, reply: str, words: str) -> None:
        """Refuse what came, and all that comes: the connection ends when the client has its replies."""
        self.notes.append(words)
        self._close()
        self._commands.clear()
        self._waiting.append(self._owed("", own=reply))
        self._tell_own()

    def _refuse_injection(self) -> None:
        verb = self.wording.tls
        # The reply to it would promise what does not come.
        while self._waiting and self._waiting[-1].verb == verb:
            self._waiting.pop()
        self._break(self.wording.injected, f"commands in the clear behind {verb}")

    def _distrust(self, words: str) -> None:
        """The server does not speak the protocol: nothing that it says can be relied on."""
        self.notes.append(f"the server: {words}")
        self._close()
        self._waiting.clear()
        self.to_client += self.wording.out_of_order.encode() + b"\r\n"
        self.over = True

    def _close(self) -> None:
        self.state = State.CLOSING
        self._forget()

    def _tell_own(self) -> None:
        """Tell the client what it is owed of our own replies, in its turn."""
        while self._waiting and self._waiting[0].own:
            self.to_client += self._waiting.popleft().own.encode() + b"\r\n"
        if self.closing and not self._waiting:
            self.over = True
