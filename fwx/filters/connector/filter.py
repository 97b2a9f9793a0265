"""The filter ``connector``: its options, and what it attaches to each primary connection."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from fwx import sdk
from fwx.filters.connector.announcer import Announcer, Limits
from fwx.filters.connector.dialogue import Dialogue
from fwx.filters.connector.signals import CONNECTOR, Signal, Signals
from fwx.filters.conversation import Conversation


def _answer(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise ValueError("expected one line, without its end")
    return text


class ConnectorOptions(sdk.FilterOptions):
    """The options of ``connector``; docs/filters/connector.rst explains them."""

    signals: tuple[Signal, ...] = Field(default_factory=lambda: CONNECTOR, min_length=1)
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = ()
    answer: Annotated[str, AfterValidator(_answer)] = ""
    low_ports: bool = False
    third_party: Literal["refuse", "allow"] = "refuse"
    published: bool = False
    announcements: int = Field(default=8, ge=1, le=64)
    line_length: int = Field(default=4096, ge=64, le=65536)


class PrimaryConnection(Conversation):
    """A primary connection; what it has announced is withdrawn with it."""

    def __init__(self, dialogue: Dialogue, announcer: Announcer, report: Any) -> None:
        super().__init__(dialogue, report)
        self._announcer = announcer

    def Detach(self) -> None:
        super().Detach()
        self._announcer.detach()


@sdk.implementer(sdk.IFWXFilter)
class Connector(sdk.ConnectionFilter):
    """The filter object. It sees primary connections alone: secondary ones are not in its mask (B2.4)."""

    Options = ConnectorOptions
    EVENTS = ("Secondary connection refused",)
    events = sdk.fwx_Connect_Tcp

    def __init__(self, options: ConnectorOptions) -> None:
        self._options = options
        self._signals = Signals(options.signals)
        self._answer = f"{options.answer}\r\n".encode() if options.answer else b""
        allows = options.third_party == "allow"
        self._limits = Limits(options.announcements, options.low_ports, allows, options.published)
        self._event: sdk.EventDefinition | None = None

    def started(self, firewall: sdk.IFWXFirewall) -> None:
        self._event = sdk.define_event(firewall, "Secondary connection refused", source="connector")

    def ended(self) -> None:
        self._event = None

    def data_filter(self, asked: sdk.AskedConnection) -> sdk.IFWXDataFilter | None:
        options = self._options
        if options.ports and asked.target.port not in options.ports:
            return None
        announcer = Announcer(self.firewall, asked, self._limits)
        dialogue = Dialogue(self._signals, announcer, options.line_length, self._answer)
        record: Any = sdk.IRecorded
        report = partial(self._report, asked.client.host, record(asked.connection))
        return PrimaryConnection(dialogue, announcer, report)

    def _report(self, client: str, record: Any, words: str, alarming: bool) -> None:
        """Have the log say what did not pass, and raise the alert."""
        record.remark(f"connector: {words}")
        if alarming and self._event is not None:
            sdk.signal(self._event, f"client {client}: {words}", key=client)
