"""The PROXY header of a load balancer, versions 1 and 2, from its first byte."""

from __future__ import annotations

from fwx.proxy.proxy_header import LONGEST_V2, ProxyHeader, ProxyHeaderCodec, ProxyHeaderError, proxy_header

Outcome = tuple[ProxyHeader | None, bytes, str]


def converse(pieces: list[bytes]) -> Outcome:
    """Have a codec receive *pieces*; return the header, what follows it, and the error."""
    codec = ProxyHeaderCodec()
    try:
        for place, piece in enumerate(pieces, 1):
            if (found := codec.receive(piece)) is not None:
                header, rest = found
                return header, rest + b"".join(pieces[place:]), ""
    except ProxyHeaderError as error:
        return None, b"", str(error)
    return None, b"", ""


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does."""
    outcome = converse([data])
    cut = len(data) % 7 + 1
    for pieces in ([data[at : at + 1] for at in range(len(data))], [data[:cut], data[cut:]]):
        assert converse(pieces) == outcome, data
    header, rest, reason = outcome
    assert reason.isprintable(), reason
    if header is None:
        assert reason or len(data) < LONGEST_V2, data
        return
    assert data.endswith(rest), data
    assert (header.source is None) == (header.destination is None), header
    if header.source is not None and header.destination is not None:
        _check_written(header)


def _check_written(header: ProxyHeader) -> None:
    """What it says can be said to the next server, and means the same there."""
    assert header.source is not None
    assert header.destination is not None
    for version in (1, 2):
        again, rest, reason = converse([proxy_header(version, header.source, header.destination)])
        assert (rest, reason) == (b"", "")
        assert again is not None
        assert (again.source, again.destination) == (header.source, header.destination), header
