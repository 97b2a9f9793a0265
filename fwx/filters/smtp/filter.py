"""The filter ``smtp``: its options, and what it attaches to each connection."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from fwx import sdk
from fwx.filters.conversation import Conversation
from fwx.filters.smtp.body import Limits
from fwx.filters.smtp.command import VERBS
from fwx.filters.smtp.dialogue import Dialogue, Rules

_MINIMUM = frozenset({"HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT"})
# CHUNKING and BINARYMIME are not among them: BDAT has no lines that could be looked at.
_EXTENSIONS = frozenset(
    {"8BITMIME", "AUTH", "DSN", "ENHANCEDSTATUSCODES", "ETRN", "EXPN", "HELP", "PIPELINING", "SIZE", "SMTPUTF8", "VRFY"}
)


def _verb(text: str) -> str:
    verb = text.upper()
    if verb not in VERBS - _MINIMUM:
        raise ValueError(f"expected one of {', '.join(sorted(VERBS - _MINIMUM))}")
    return verb


def _pattern(text: str) -> str:
    try:
        re.compile(text.encode())
    except re.error as error:
        raise ValueError(f"expected a regular expression: {error}") from error
    return text


def _word(text: str) -> str:
    if not text or "\n" in text or "\r" in text:
        raise ValueError("expected some letters on one line")
    return text


Verb = Annotated[str, AfterValidator(_verb)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Word = Annotated[str, AfterValidator(_word)]


class SmtpOptions(sdk.FilterOptions):
    """The options of ``smtp``; docs/filters/smtp.rst explains them."""

    message_size: int = Field(default=50 << 20, ge=0)
    line_length: int = Field(default=1000, ge=80, le=65536)
    recipients: int = Field(default=100, ge=0)
    errors: int = Field(default=20, ge=0)
    refuse_verbs: tuple[Verb, ...] = ("VRFY", "EXPN", "ETRN")
    starttls: Literal["pass", "strip"] = "pass"
    refuse_words: tuple[Word, ...] = ()
    refuse_in_headers: tuple[Pattern, ...] = ()
    refuse_in_body: tuple[Pattern, ...] = ()


@sdk.implementer(sdk.IFWXFilter)
class SmtpFilter(sdk.ConnectionFilter):
    """The filter object."""

    Options = SmtpOptions
    EVENTS = ("SMTP refused",)

    def __init__(self, options: SmtpOptions) -> None:
        words = tuple(re.escape(word) for word in options.refuse_words)
        limits = Limits(
            options.message_size,
            options.line_length,
            _any_of(words + options.refuse_in_headers),
            _any_of(words + options.refuse_in_body),
        )
        refused = frozenset(options.refuse_verbs) | ({"STARTTLS"} if options.starttls == "strip" else set())
        extensions = _EXTENSIONS | {"STARTTLS"}
        self._rules = Rules(limits, refused, extensions, options.recipients, options.errors)
        self._event: sdk.EventDefinition | None = None

    def started(self, firewall: sdk.IFWXFirewall) -> None:
        self._event = sdk.define_event(firewall, "SMTP refused", source="smtp")

    def ended(self) -> None:
        self._event = None

    def data_filter(self, asked: sdk.AskedConnection) -> sdk.IFWXDataFilter:
        record: Any = sdk.IRecorded
        report = partial(self._report, asked.client.host, record(asked.connection))
        return Conversation(Dialogue(self._rules), report)

    def _report(self, client: str, record: Any, words: str, refused: bool) -> None:
        """Have the log say what did not pass, and raise the alert."""
        record.remark(f"smtp: {words}")
        if refused and self._event is not None:
            sdk.signal(self._event, f"client {client}: {words}", key=client)


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[bytes] | None:
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns).encode(), re.IGNORECASE)
