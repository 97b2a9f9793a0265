"""The filter ``dns``: its options, and what it attaches to connections of either transport."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from fwx import sdk
from fwx.filters.dns.datagrams import DnsDatagrams
from fwx.filters.dns.guard import PLAIN_UDP, Rules
from fwx.filters.dns.message import LONGEST_LABEL, LONGEST_NAME
from fwx.filters.dns.stream import DnsStream
from fwx.filters.dns.types import CLASSES, OPCODES, type_number


def _type(text: str) -> str:
    type_number(text)
    return text.upper()


def _domain(text: str) -> str:
    name = text.rstrip(".").lower()
    labels = name.split(".")
    if not name.isascii() or not all(0 < len(label) <= LONGEST_LABEL for label in labels) or len(name) > LONGEST_NAME:
        raise ValueError("expected a domain in ASCII, such as example.org or xn--bcher-kva.example")
    return name


Type = Annotated[str, AfterValidator(_type)]
Domain = Annotated[str, AfterValidator(_domain)]
Opcode = Literal["QUERY", "IQUERY", "STATUS", "NOTIFY", "UPDATE", "DSO"]
Class = Literal["IN", "CH", "HS", "ANY"]


class DnsOptions(sdk.FilterOptions):
    """The options of ``dns``; docs/filters/dns.rst explains them."""

    opcodes: tuple[Opcode, ...] = ("QUERY",)
    classes: tuple[Class, ...] = ("IN",)
    types: tuple[Type, ...] = ()
    refuse_types: tuple[Type, ...] = ("AXFR", "IXFR", "ANY", "NULL")
    refuse_names: tuple[Domain, ...] = ()
    name_length: int = Field(default=LONGEST_NAME, ge=2, le=LONGEST_NAME)
    udp_size: int = Field(default=4096, ge=PLAIN_UDP, le=65535)
    on_refusal: Literal["answer", "drop"] = "answer"


@sdk.implementer(sdk.IFWXFilter)
class DnsFilter(sdk.ConnectionFilter):
    """The filter object."""

    Options = DnsOptions
    EVENTS = ("DNS refused",)
    events = sdk.fwx_Connect_Tcp | sdk.fwx_AcceptedConnection | sdk.fwx_Udp_Destination

    def __init__(self, options: DnsOptions) -> None:
        self._rules = Rules(
            opcodes=frozenset(OPCODES[name] for name in options.opcodes),
            classes=frozenset(CLASSES[name] for name in options.classes),
            types=frozenset(map(type_number, options.types)) if options.types else None,
            refused_types=frozenset(map(type_number, options.refuse_types))
            - frozenset(map(type_number, options.types)),
            names=frozenset(tuple(reversed(name.split("."))) for name in options.refuse_names),
            name_length=options.name_length,
            udp_size=options.udp_size,
            answers=options.on_refusal == "answer",
        )
        self._event: sdk.EventDefinition | None = None

    def started(self, firewall: sdk.IFWXFirewall) -> None:
        self._event = sdk.define_event(firewall, "DNS refused", source="dns")

    def ended(self) -> None:
        self._event = None

    def data_filter(self, asked: sdk.AskedConnection) -> sdk.IFWXDataFilter:
        record: Any = sdk.IRecorded
        report = partial(self._report, asked.client.host, record(asked.connection))
        if asked.transport == "tcp":
            return DnsStream(self._rules, report)
        assert self.firewall is not None
        return DnsDatagrams(self.firewall, self._rules, report)

    def _report(self, client: str, record: Any, words: str) -> None:
        """Have the log say what did not pass, and raise the alert."""
        record.remark(f"dns: {words}")
        if self._event is not None:
            sdk.signal(self._event, f"client {client}: {words}", key=client)
