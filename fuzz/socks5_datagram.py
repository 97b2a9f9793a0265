"""A client's datagram in an association of SOCKS5."""

from __future__ import annotations

from fwx.interfaces import SocketAddress
from fwx.proxy.socks5_datagram import HeaderCodec, datagram_header, parse_datagram

EndPoint = tuple[str, int]


def parsed(data: bytes) -> tuple[bytes, EndPoint | None, str]:
    """Return payload, target and error."""
    try:
        payload, target = parse_datagram(data)
    except ValueError as error:
        return b"", None, str(error)
    return bytes(payload), (target.host, target.port), ""


def split(codec: HeaderCodec, data: bytes) -> tuple[bytes, EndPoint | None, str]:
    """Return the same as the codec has it, which remembers headers."""
    try:
        payload, target = codec.split(data)
    except ValueError as error:
        return b"", None, str(error)
    return payload, (target[0], target[1]), ""


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does."""
    codec = HeaderCodec()
    payload, target, reason = parsed(data)
    assert reason.isprintable(), reason
    # What is remembered after the first time means the same the second time, whatever the payload.
    assert split(codec, data) == split(codec, data) == (payload, target, reason), data
    if target is None:
        return
    assert data.endswith(payload), data
    header = data[: len(data) - len(payload)]
    for following in (b"", b"other"):
        assert split(codec, header + following) == (following, target, ""), data
    address = SocketAddress(*target)
    if address.address is not None:
        assert parsed(datagram_header(address) + b"x") == (b"x", target, ""), data
