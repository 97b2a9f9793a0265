"""The filter ``ftp``: its options, and what it attaches to each control connection."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from fwx import sdk
from fwx.filters.conversation import Conversation
from fwx.filters.ftp.command import VERBS
from fwx.filters.ftp.dialogue import Dialogue, Rules
from fwx.filters.ftp.ports import DataPorts

_MINIMUM = frozenset({"USER", "PASS", "QUIT", "NOOP", "AUTH"})


def _verb(text: str) -> str:
    verb = text.upper()
    if verb not in VERBS - _MINIMUM:
        raise ValueError(f"expected one of {', '.join(sorted(VERBS - _MINIMUM))}")
    return verb


Verb = Annotated[str, AfterValidator(_verb)]


class FtpOptions(sdk.FilterOptions):
    """The options of ``ftp``; docs/filters/ftp.rst explains them."""

    read_only: bool = False
    refuse_verbs: tuple[Verb, ...] = ()
    unknown_verbs: Literal["refuse", "pass"] = "refuse"
    auth_tls: Literal["refuse", "pass"] = "refuse"
    low_ports: bool = False
    foreign_address: Literal["refuse", "replace"] = "refuse"
    published: bool = False
    public_address: IPv4Address | None = None
    line_length: int = Field(default=4096, ge=256, le=65536)
    errors: int = Field(default=20, ge=0)

    @model_validator(mode="after")
    def _needs_published(self) -> FtpOptions:
        if self.public_address is not None and not self.published:
            raise ValueError("public_address is for published servers: expected published = true beside it")
        return self


class FtpConnection(Conversation):
    """A control connection; its data ports are closed with it."""

    def __init__(self, rules: Rules, ports: DataPorts, report: Any) -> None:
        super().__init__(Dialogue(rules, ports), report)
        self._ports = ports

    def Detach(self) -> None:
        super().Detach()
        self._ports.detach()


@sdk.implementer(sdk.IFWXFilter)
class FtpFilter(sdk.ConnectionFilter):
    """The filter object. It sees control connections alone: secondary ones are not in its mask (B2.4)."""

    Options = FtpOptions
    EVENTS = ("FTP refused",)

    def __init__(self, options: FtpOptions) -> None:
        self._options = options
        self._rules = Rules(
            frozenset(options.refuse_verbs),
            options.read_only,
            options.unknown_verbs == "pass",
            options.auth_tls == "pass",
            options.line_length,
            options.errors,
        )
        self._event: sdk.EventDefinition | None = None

    def started(self, firewall: sdk.IFWXFirewall) -> None:
        self._event = sdk.define_event(firewall, "FTP refused", source="ftp")

    def ended(self) -> None:
        self._event = None

    def data_filter(self, asked: sdk.AskedConnection) -> sdk.IFWXDataFilter:
        options = self._options
        ports = DataPorts(
            self.firewall,
            asked,
            published=options.published,
            public_address=options.public_address,
            low_ports=options.low_ports,
            corrects=options.foreign_address == "replace",
        )
        record: Any = sdk.IRecorded
        return FtpConnection(self._rules, ports, partial(self._report, asked.client.host, record(asked.connection)))

    def _report(self, client: str, record: Any, words: str, alarming: bool) -> None:
        """Have the log say what did not pass, and raise the alert where it was an attack."""
        record.remark(f"ftp: {words}")
        if alarming and self._event is not None:
            sdk.signal(self._event, f"client {client}: {words}", key=client)
