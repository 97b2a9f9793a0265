"""What may pass between one client and one server of DNS: which queries, and which responses to them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from fwx.filters.dns.message import (
    FORMERR,
    HEADER,
    NOTIFY,
    QR,
    QUERY,
    REFUSED,
    SERVFAIL,
    TC,
    UPDATE,
    Message,
    MessageError,
    Z,
    answer,
    parse,
)
from fwx.filters.dns.types import TYPES, type_name

MOST_OUTSTANDING = 512
"""Queries without a response that are remembered; the response to an older one is not known any more."""
PLAIN_UDP = 512
"""Bytes of a datagram where EDNS does not say more (RFC 1035, 4.2.1)."""
_TRANSFERS = frozenset({TYPES["AXFR"], TYPES["IXFR"]})
# Responses that may come without the question: the server could not read it.
_WITHOUT_QUESTION = frozenset({1, 4, 5})


@dataclass(frozen=True, slots=True)
class Rules:
    """The policy. ``types`` is ``None`` for all; ``names`` are suffixes as tuples of labels, the last one first."""

    opcodes: frozenset[int]
    classes: frozenset[int]
    types: frozenset[int] | None
    refused_types: frozenset[int]
    names: frozenset[tuple[str, ...]]
    name_length: int
    udp_size: int
    answers: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a message passes. If not, *words* say why, and *reply* is what the client is told, if anything."""

    passes: bool
    words: str = ""
    reply: bytes = b""


_PASSES = Verdict(True)


class Guard:
    """Judges the messages of one client's port, or connection, and one server."""

    __slots__ = ("_outstanding", "_rules", "_stream")

    def __init__(self, rules: Rules, *, stream: bool) -> None:
        """*stream* says that it is TCP."""
        self._rules = rules
        self._stream = stream
        # Identifier and question -> what datagram the client takes.
        self._outstanding: OrderedDict[tuple[int, bytes, int, int], int] = OrderedDict()

    def query(self, data: bytes) -> Verdict:
        """Judge what the client sends."""
        try:
            message = parse(data)
        except MessageError as error:
            # A response is not answered, however broken: two parties that answer each other would never end.
            is_query = len(data) >= HEADER.size and not data[2] & QR >> 8
            return self._refused(data, FORMERR if is_query else None, None, str(error))
        if message.is_response:
            return Verdict(False, "a response from the client")
        wrong = self._form(message)
        if wrong:
            return self._refused(data, FORMERR, message, wrong)
        refused = self._policy(message)
        if refused:
            return self._refused(data, REFUSED, message, refused)
        self._remember(message)
        return _PASSES

    def response(self, data: bytes) -> Verdict:
        """Judge what the server sends."""
        try:
            message = parse(data)
        except MessageError as error:
            return Verdict(False, f"the server: {error}", self._apology(data))
        if not message.is_response:
            return Verdict(False, "the server: a query")
        key = self._asked(message)
        if key is None:
            return Verdict(False, f"the server: a response that nobody has asked for: {_words(message)}")
        taken = self._outstanding[key]
        if not self._stream and len(data) > taken:
            return Verdict(False, f"the server: {len(data)} bytes for a client that takes {taken}")
        if not (self._stream and key[2] in _TRANSFERS):
            del self._outstanding[key]
        return _PASSES

    def _form(self, message: Message) -> str:
        """Return what is wrong with the form of a query, or nothing."""
        questions, answers, authorities, additional = message.counts
        if message.flags & (Z | TC) or message.rcode:
            return "flags that a query does not have"
        if questions != 1:
            return "no question"
        if message.opcode != UPDATE:
            transfer = message.question is not None and message.question.type == TYPES["IXFR"]
            if (answers and message.opcode != NOTIFY) or (authorities and not transfer) or additional > 2:
                return f"a query with {answers} answers, {authorities} authorities and {additional} additional records"
        return ""

    def _policy(self, message: Message) -> str:
        """Return why the policy has not this query, or nothing."""
        question, rules = message.question, self._rules
        assert question is not None
        if message.opcode not in rules.opcodes:
            return f"opcode {message.opcode}"
        if question.class_ not in rules.classes:
            return f"class {question.class_}"
        if message.opcode == QUERY and (
            question.type in rules.refused_types or (rules.types is not None and question.type not in rules.types)
        ):
            return f"type {type_name(question.type)}"
        if len(question.wire) > rules.name_length:
            return f"a name of {len(question.wire)} bytes"
        if rules.names and self._is_named(question.name):
            return f"name {question.name[:80]}"
        return ""

    def _is_named(self, name: str) -> bool:
        labels = tuple(reversed(name.split(".")))
        return any(labels[:count] in self._rules.names for count in range(1, len(labels) + 1))

    def _refused(self, data: bytes, rcode: int | None, message: Message | None, words: str) -> Verdict:
        reply = b"" if rcode is None or not self._rules.answers else answer(data, rcode, message)
        return Verdict(False, words, reply)

    def _remember(self, message: Message) -> None:
        key = _key(message)
        assert key is not None
        self._outstanding[key] = max(PLAIN_UDP, min(message.udp_size or 0, self._rules.udp_size))
        self._outstanding.move_to_end(key)
        if len(self._outstanding) > MOST_OUTSTANDING:
            self._outstanding.popitem(last=False)

    def _asked(self, message: Message) -> tuple[int, bytes, int, int] | None:
        """Return the query that *message* responds to."""
        key = _key(message)
        if key is not None:
            return key if key in self._outstanding else None
        if message.rcode in _WITHOUT_QUESTION and not any(message.counts[1:3]):
            return next((key for key in self._outstanding if key[0] & 0xFFFF == message.id), None)
        return None

    def _apology(self, data: bytes) -> bytes:
        """Return what the client is told where its server's response cannot be read.

        Not on UDP: anybody may have forged it, and the right one may still come.
        """
        number = int.from_bytes(data[:2], "big")
        key = next((key for key in self._outstanding if key[0] & 0xFFFF == number), None)
        if not self._stream or not self._rules.answers or len(data) < HEADER.size or key is None:
            return b""
        del self._outstanding[key]
        return answer(data, SERVFAIL, None)


def _key(message: Message) -> tuple[int, bytes, int, int] | None:
    question = message.question
    if question is None:
        return None
    # The opcode goes with the identifier: a response has its query's.
    return message.opcode << 16 | message.id, question.wire, question.type, question.class_


def _words(message: Message) -> str:
    question = message.question
    return f"number {message.id}" if question is None else f"{type_name(question.type)} {question.name[:80]}"
