"""End points to ask an upstream for, made up by Hypothesis."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from fwx.interfaces import SocketAddress

addresses = st.builds(
    SocketAddress,
    st.one_of(
        st.integers(0, 2**32 - 1).map(IPv4Address),
        st.integers(0, 2**128 - 1).map(IPv6Address),
        st.from_regex(r"[a-z]([a-z0-9-]{0,30}[a-z])?(\.[a-z]{1,20}){0,5}", fullmatch=True),
    ),
    st.integers(1, 0xFFFF),
)


def plain(address: SocketAddress) -> tuple[object, int]:
    return address.address or address.host, address.port
