"""The values that a configuration writes as text: how each is read, and what is wrong when it cannot be.

Every reader takes the text, returns the value and raises :class:`ValueError` with words that complete the sentence
``'text' ...``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Annotated, Any, NamedTuple, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from fwx.config_plain import are_plain, is_plain_name, is_plain_prefix
from fwx.config_problems import did_you_mean
from fwx.config_web import read_content_type, read_url
from fwx.interfaces.address import SocketAddress
from fwx.logs.jsonlines import FIELDS as JSON_FIELDS
from fwx.logs.w3cfields import FIELDS as W3C_FIELDS

_Item = TypeVar("_Item")

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@-]{1,14}(\*|[A-Za-z0-9_.:@-])?")
_CLOCK = re.compile(r"(\d\d):(\d\d)")
_DATABASE_URL = re.compile(r"[a-z][a-z0-9]*(\+[a-z][a-z0-9_]*)?://.*", re.IGNORECASE)
# RFC 1929 section 2.
_LONGEST_USER = 255
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES_OF_DAY = 24 * 60


class Hours(NamedTuple):
    """A span of the day in minutes after midnight, ``start`` included, ``end`` not.

    Where ``end`` is not after ``start`` the span runs over midnight into the next day.
    """

    start: int
    end: int


def read_name(text: str) -> str:
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError("is empty, or has blanks around it or control characters in it")
    return text


def _address_and_port(text: str) -> SocketAddress:
    try:
        return SocketAddress.parse(text)
    except ValueError:
        raise ValueError("is not an address with a port from 0 to 65535") from None


def read_end_point(text: str) -> SocketAddress:
    """Read ``address:port`` or ``name:port``; the port may be 0."""
    address = _address_and_port(text)
    if address.address is None:
        check_host_name(address.host)
    return address


def read_bind(text: str) -> SocketAddress:
    """Read the address that a listener binds; port 0 lets the system choose one."""
    address = _address_and_port(text)
    if address.address is None:
        raise ValueError(f"has no address before the port: {address.host!r} is not an IPv4 or IPv6 address")
    return address


def read_target(text: str) -> SocketAddress:
    """Read an end point to connect to, which needs a port other than 0."""
    address = read_end_point(text)
    if address.port == 0:
        raise ValueError("has port 0, which nothing can connect to")
    return address


def check_host_name(text: str) -> str:
    """Accept a DNS name in letters of any script; a last label of digits only would be a broken IPv4 address."""
    try:
        ascii_name = text.removesuffix(".").encode("idna").decode()
    except UnicodeError:
        raise ValueError("is not a DNS name") from None
    labels = ascii_name.split(".")
    if len(ascii_name) > 253 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise ValueError("is neither an address nor a DNS name")
    return text


def read_domain(text: str) -> str:
    """Read an exact DNS name or ``*.name``."""
    if is_plain_name(text):
        return text
    if _is_address(text):
        raise ValueError("is an address; addresses belong to a [[network]]")
    check_host_name(text.removeprefix("*."))
    return text


def read_server_name(text: str) -> str:
    """Read what a server's certificate is for: an exact DNS name or an address."""
    return text if _is_address(text) else check_host_name(text)


def check_sni_names(names: Mapping[str, SocketAddress]) -> Mapping[str, SocketAddress]:
    """Refuse names that clients cannot tell apart."""
    reject_repeated(tuple(name.lower().removesuffix(".") for name in names))
    return names


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def read_range(text: str) -> str:
    """Check ``address``, ``address/prefix`` or ``first-last``; the text stays as it was written."""
    if "-" in text:
        _check_first_last(text)
    elif "/" in text:
        _check_prefix(text)
    elif not _is_address(text):
        raise ValueError("is not an address")
    return text


def _check_first_last(text: str) -> None:
    first, _, last = text.partition("-")
    ends = [_address_of_range(end.strip()) for end in (first, last)]
    if ends[0].version != ends[1].version:
        raise ValueError("mixes IPv4 and IPv6")
    if int(ends[0]) > int(ends[1]):
        raise ValueError("ends before it starts")


def _address_of_range(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"is not a range of addresses: {text!r} is not an address") from None


def _check_prefix(text: str) -> None:
    if is_plain_prefix(text):
        return
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is not an address with a prefix length") from None
    if str(network.network_address) != str(ip_address(text.partition("/")[0])):
        raise ValueError(f"has address bits behind its prefix; did you mean '{network}'?")


def read_guid(text: str) -> UUID:
    """Read a GUID with or without braces."""
    try:
        return UUID(text)
    except ValueError:
        raise ValueError("is not a GUID") from None


def read_days(text: str) -> frozenset[int]:
    """Read days such as ``mon-fri`` or ``mon,wed,sat-sun``; Monday is 0. A span may run over the end of the week."""
    days: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.strip().partition("-")
        start, end = _day(first), _day(last if dash else first)
        days.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return frozenset(days)


def _day(text: str) -> int:
    name = text.strip()
    if name not in _DAYS:
        raise ValueError(f"names a day {name!r} that is none of {', '.join(_DAYS)}")
    return _DAYS.index(name)


def read_hours(text: str) -> tuple[Hours, ...]:
    """Read spans such as ``08:00-18:00`` or ``08:00-12:00,13:00-18:00``; ``24:00`` is the end of the day."""
    return tuple(_span(part.strip()) for part in text.split(","))


def _span(text: str) -> Hours:
    first, dash, last = text.partition("-")
    if not dash:
        raise ValueError("has a span without an end")
    hours = Hours(_minutes(first.strip()), _minutes(last.strip()))
    if hours.start == hours.end or hours.start == _MINUTES_OF_DAY:
        raise ValueError("has an empty span")
    return hours


def _minutes(text: str) -> int:
    match = _CLOCK.fullmatch(text)
    if match is None or int(match[2]) > 59 or int(match[1]) * 60 + int(match[2]) > _MINUTES_OF_DAY:
        raise ValueError(f"has a time {text!r} that is not between 00:00 and 24:00")
    return int(match[1]) * 60 + int(match[2])


def read_path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("is not a path")
    return text


def read_password_hash(text: str) -> str:
    if not text.startswith("$argon2id$"):
        raise ValueError("is not an Argon2id hash")
    return text


def read_user_name(text: str) -> str:
    """Check that a client can send the name: in Basic authentication without a colon, in SOCKS5 in 255 bytes."""
    if ":" in read_name(text):
        raise ValueError("has a colon, which HTTP clients cannot send")
    if len(text.encode()) > _LONGEST_USER:
        raise ValueError(f"is longer than {_LONGEST_USER} bytes, which SOCKS5 clients cannot send")
    return text


def read_ldap_url(text: str) -> str:
    """Read ``ldap://host``, ``ldap://host:port`` or the same with ``ldaps``; nothing may follow."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("ldap", "ldaps"):
        raise ValueError("does not begin with ldap:// or ldaps://")
    host = rest.removesuffix("/")
    # An IPv6 address stands in brackets; what has no port gets one, to be read as what has.
    read_target(host if host.rpartition(":")[2].isdigit() and not host.endswith("]") else f"{host}:389")
    return f"{scheme}://{host}"


def read_database_url(text: str) -> str:
    if not _DATABASE_URL.fullmatch(text):
        raise ValueError("is not a database URL")
    return text


def read_w3c_field(text: str) -> str:
    if text not in W3C_FIELDS:
        raise ValueError(f"is no field of a W3C log{did_you_mean(text, W3C_FIELDS)}")
    return text


def read_json_field(text: str) -> str:
    if text not in JSON_FIELDS:
        raise ValueError(f"is no field of a JSON log{did_you_mean(text, JSON_FIELDS)}")
    return text


def read_port_range(text: str) -> tuple[int, int]:
    """Read ``22`` or ``1024-65535``."""
    first, dash, last = text.partition("-")
    ends = [end.strip() for end in ((first, last) if dash else (first, first))]
    if not all(end.isascii() and end.isdigit() for end in ends):
        raise ValueError("is not a port or a range of ports")
    start, end = (int(each) for each in ends)
    if not 1 <= start <= end <= 0xFFFF:
        raise ValueError("is not within 1 to 65535, or ends before it starts")
    return start, end


def read_exception(text: str) -> tuple[str, int, int]:
    """Read ``tcp/22`` or ``udp/500-510``."""
    transport, slash, ports = text.partition("/")
    if not slash or transport not in ("tcp", "udp"):
        raise ValueError("does not begin with tcp/ or udp/")
    return transport, *read_port_range(ports)


def read_interface(text: str) -> str:
    """Read the name of a network interface, or its beginning and ``*``."""
    if not _INTERFACE.fullmatch(text):
        raise ValueError("is not the name of a network interface")
    return text


def reject_repeated(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    """Refuse an item that is written twice."""
    for index, item in enumerate(items):
        if item in items[:index]:
            raise ValueError(f"names {item!r} twice")
    return items


def _reader(read: Callable[[str], Any]) -> PlainValidator:
    def validate(value: object) -> Any:
        if not isinstance(value, str):
            raise ValueError("is not a string")
        return read(value)

    return PlainValidator(validate)


def _reject_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("is not a number")
    return value


Array = Annotated[tuple[_Item, ...], Field(strict=False)]
"""A TOML array, or the tables of one ``[[name]]``. Lax only about list for tuple; its items stay strict."""

Name = Annotated[str, AfterValidator(read_name)]
UserName = Annotated[str, AfterValidator(read_user_name)]
Names = Annotated[Array[Name], Field(min_length=1), AfterValidator(reject_repeated)]
OptionalNames = Annotated[Array[Name], AfterValidator(reject_repeated)]
Bind = Annotated[SocketAddress, _reader(read_bind)]
Target = Annotated[SocketAddress, _reader(read_target)]
Ranges = Annotated[Array[Annotated[str, AfterValidator(read_range)]], Field(min_length=1), are_plain(is_plain_prefix)]
Domains = Annotated[Array[Annotated[str, AfterValidator(read_domain)]], Field(min_length=1), are_plain(is_plain_name)]
Urls = Annotated[Array[Annotated[str, AfterValidator(read_url)]], Field(min_length=1)]
ContentTypes = Annotated[Array[Annotated[str, AfterValidator(read_content_type)]], AfterValidator(reject_repeated)]
ServerName = Annotated[str, AfterValidator(read_server_name)]
SniNames = Annotated[
    Mapping[Annotated[str, AfterValidator(read_domain)], Target], Field(min_length=1), AfterValidator(check_sni_names)
]
Guid = Annotated[UUID, _reader(read_guid)]
Days = Annotated[frozenset[int], _reader(read_days)]
DayHours = Annotated[tuple[Hours, ...], _reader(read_hours)]
PortRange = Annotated[tuple[int, int], _reader(read_port_range)]
PortException = Annotated[tuple[str, int, int], _reader(read_exception)]
Interface = Annotated[str, AfterValidator(read_interface)]
PathText = Annotated[str, AfterValidator(read_path)]
PasswordHash = Annotated[str, AfterValidator(read_password_hash)]
DatabaseUrl = Annotated[str, AfterValidator(read_database_url)]
Port = Annotated[int, Field(ge=0, le=65535)]
W3cFields = Annotated[
    Array[Annotated[str, AfterValidator(read_w3c_field)]], Field(min_length=1), AfterValidator(reject_repeated)
]
JsonFields = Annotated[
    Array[Annotated[str, AfterValidator(read_json_field)]], Field(min_length=1), AfterValidator(reject_repeated)
]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, BeforeValidator(_reject_boolean), Field(gt=0, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, BeforeValidator(_reject_boolean), Field(ge=0, allow_inf_nan=False)]
