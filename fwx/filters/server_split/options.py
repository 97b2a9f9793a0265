"""The options of ``server-split``."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from fwx import sdk

By = Literal["host", "line", "address", "round-robin"]

_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# What a server says of the clients that it takes, by the option "by".
_KEYS = {"host": "hosts", "line": "lines", "address": "clients", "round-robin": ""}


def _place(text: str) -> str:
    try:
        address = sdk.SocketAddress.parse(text)
    except ValueError as error:
        raise ValueError(f"expected an address with a port, such as 10.0.0.21:80: {error}") from error
    if address.address is None or not address.port:
        raise ValueError("expected a literal address with a port, such as 10.0.0.21:80")
    return text


def _server(text: str) -> str:
    address = sdk.SocketAddress.parse(_place(text)).address
    if address is None or address.is_unspecified:
        raise ValueError("expected the address of a computer, such as 10.0.0.21:80")
    return text


def _host(text: str) -> str:
    name = text.lower().removesuffix(".")
    if name != "*" and not _NAME.fullmatch(name):
        raise ValueError("expected the name of a host, such as www.example.org or *.example.org, or *")
    return name


def _pattern(text: str) -> str:
    try:
        re.compile(text.encode())
    except re.error as error:
        raise ValueError(f"expected a regular expression: {error}") from error
    return text


class Server(sdk.FilterOptions):
    """One inside server, and whom it takes."""

    address: Annotated[str, AfterValidator(_server)]
    hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = ()
    lines: tuple[Annotated[str, AfterValidator(_pattern)], ...] = ()
    clients: tuple[IPv4Network | IPv6Network, ...] = ()


class SplitOptions(sdk.FilterOptions):
    """The options of ``server-split``; docs/filters/server-split.rst explains them."""

    listen: tuple[Annotated[str, AfterValidator(_place)], ...] = ()
    by: By
    servers: tuple[Server, ...] = Field(min_length=1)
    bytes: int = Field(default=16384, ge=64, le=65536)
    seconds: float = Field(default=10.0, gt=0, le=3600)
    connections: int = Field(default=4096, ge=1)
    per_client: int = Field(default=160, ge=0)
    refusal: str = ""
    sessions: Literal["private", "client"] = "private"

    @model_validator(mode="after")
    def _fits(self) -> SplitOptions:
        wanted = _KEYS[self.by]
        for server in self.servers:
            for key in filter(None, _KEYS.values()):
                if bool(getattr(server, key)) != (key == wanted):
                    expected = f"expected {wanted} of each server" if wanted else "expected nothing but addresses"
                    raise ValueError(f"by = {self.by!r}, and server {server.address}: {expected}, and no other key")
        if self.refusal and self.by == "host":
            raise ValueError("refusal is for protocols that the filter does not know: expected none with by = 'host'")
        return self
