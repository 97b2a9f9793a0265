from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from fwx.config_values import (
    Hours,
    check_host_name,
    read_bind,
    read_database_url,
    read_days,
    read_domain,
    read_exception,
    read_guid,
    read_hours,
    read_interface,
    read_name,
    read_password_hash,
    read_path,
    read_port_range,
    read_range,
    read_target,
)
from fwx.interfaces.address import SocketAddress

GOOD: list[tuple[Callable[[str], object], str, object]] = [
    (read_name, "staff browse", "staff browse"),
    (read_bind, "127.0.0.1:1080", SocketAddress("127.0.0.1", 1080)),
    (read_bind, "127.0.0.1:0", SocketAddress("127.0.0.1", 0)),
    (read_bind, "[::1]:65535", SocketAddress("::1", 65535)),
    (read_target, "10.2.0.5:8080", SocketAddress("10.2.0.5", 8080)),
    (read_target, "www.example.org:80", SocketAddress("www.example.org", 80)),
    (read_target, "localhost:80", SocketAddress("localhost", 80)),
    (check_host_name, "bücher.example.", "bücher.example."),
    (read_domain, "*.debian.org", "*.debian.org"),
    (read_domain, "pypi.org", "pypi.org"),
    (read_range, "10.1.0.0/16", "10.1.0.0/16"),
    (read_range, "fd00:1::/64", "fd00:1::/64"),
    (read_range, "10.1.0.1", "10.1.0.1"),
    (read_range, "10.1.0.1-10.1.0.9", "10.1.0.1-10.1.0.9"),
    (read_guid, "{DF6CABC0-D4A3-11D2-BBC4-00A0C9D785A6}", UUID("DF6CABC0-D4A3-11D2-BBC4-00A0C9D785A6")),
    (read_guid, "df6cabc0-d4a3-11d2-bbc4-00a0c9d785a6", UUID("DF6CABC0-D4A3-11D2-BBC4-00A0C9D785A6")),
    (read_days, "mon-fri", frozenset({0, 1, 2, 3, 4})),
    (read_days, "Mon, sat-SUN", frozenset({0, 5, 6})),
    (read_days, "sat-mon", frozenset({5, 6, 0})),
    (read_hours, "08:00-18:00", (Hours(480, 1080),)),
    (read_hours, "00:00-12:00, 13:30-24:00", (Hours(0, 720), Hours(810, 1440))),
    (read_hours, "22:00-06:00", (Hours(1320, 360),)),
    (read_path, "state", "state"),
    (read_password_hash, "$argon2id$v=19$...", "$argon2id$v=19$..."),
    (read_database_url, "postgresql+psycopg://fwx@/fwx", "postgresql+psycopg://fwx@/fwx"),
]

GOOD += [
    (read_port_range, "22", (22, 22)),
    (read_port_range, "1024-65535", (1024, 65535)),
    (read_exception, "tcp/22", ("tcp", 22, 22)),
    (read_exception, "udp/500-510", ("udp", 500, 510)),
    (read_interface, "eth0.100", "eth0.100"),
    (read_interface, "ppp*", "ppp*"),
]

BAD: list[tuple[Callable[[str], object], str, str]] = [
    (read_name, "", "is empty"),
    (read_port_range, "ssh", "is not a port or a range"),
    (read_port_range, "1-", "is not a port or a range"),
    (read_port_range, "0-5", "is not within 1 to 65535"),
    (read_port_range, "6-5", "ends before it starts"),
    (read_port_range, "1-65536", "is not within 1 to 65535"),
    (read_exception, "22", "does not begin with tcp/ or udp/"),
    (read_exception, "sctp/22", "does not begin with tcp/ or udp/"),
    (read_exception, "tcp/ssh", "is not a port"),
    (read_interface, "eth0; drop", "is not the name of a network interface"),
    (read_interface, "a" * 16, "is not the name of a network interface"),
    (read_name, " a", "blanks around it"),
    (read_name, "a\tb", "control characters"),
    (read_bind, "127.0.0.1", "is not an address with a port"),
    (read_bind, "127.0.0.1:65536", "a port from 0 to 65535"),
    (read_bind, "127.0.0.1:-1", "is not an address with a port"),
    (read_bind, "::1:80", "is not an address with a port"),
    (read_bind, "localhost:80", "'localhost' is not an IPv4 or IPv6 address"),
    (read_target, "10.2.0.5:0", "has port 0"),
    (read_target, "10.2.0.999:80", "neither an address nor a DNS name"),
    (read_target, "a_b c:80", "neither an address nor a DNS name"),
    (check_host_name, "a..b", "is not a DNS name"),
    (check_host_name, "", "neither an address nor a DNS name"),
    (check_host_name, "-a.b", "neither an address nor a DNS name"),
    (check_host_name, ".".join(["a" * 60] * 5), "neither an address nor a DNS name"),
    (read_domain, "10.0.0.1", r"addresses belong to a \[\[network\]\]"),
    (read_domain, "*", "neither an address nor a DNS name"),
    (read_domain, "a.*.org", "neither an address nor a DNS name"),
    (read_range, "10.1.0.0/33", "is not an address with a prefix length"),
    (read_range, "10.1.0.1/16", "did you mean '10.1.0.0/16'"),
    (read_range, "internal", "is not an address"),
    (read_range, "10.1.0.9-10.1.0.1", "ends before it starts"),
    (read_range, "10.1.0.9-::1", "mixes IPv4 and IPv6"),
    (read_range, "10.1.0.9-x", "'x' is not an address"),
    (read_guid, "FTP", "is not a GUID"),
    (read_days, "mon-fry", "'fry' that is none of mon, tue"),
    (read_days, "", "a day '' that is none"),
    (read_hours, "08:00", "a span without an end"),
    (read_hours, "08:00-8:30", "'8:30' that is not between"),
    (read_hours, "08:60-09:00", "'08:60' that is not between"),
    (read_hours, "08:00-24:01", "'24:01' that is not between"),
    (read_hours, "08:00-08:00", "an empty span"),
    (read_hours, "24:00-08:00", "an empty span"),
    (read_path, "", "is not a path"),
    (read_path, "a\0b", "is not a path"),
    (read_password_hash, "secret", "is not an Argon2id hash"),
    (read_database_url, "fwx.db", "is not a database URL"),
]


@pytest.mark.parametrize(("read", "text", "value"), GOOD)
def test_reads(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(("read", "text", "reason"), BAD)
def test_refuses(read: Callable[[str], object], text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(text)
