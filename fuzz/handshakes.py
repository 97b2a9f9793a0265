"""What the targets of the proxy port's handshakes have in common."""

from __future__ import annotations

from fwx.proxy import HandshakeError, ProxyHandshake
from fwx.proxy.request import Demand

Outcome = tuple[object, bytes, bytes, str]


def converse(pieces: list[bytes], demand: Demand) -> Outcome:
    """Have a handshake receive *pieces*; return the request without early data, what was sent, what follows, the error.

    Credentials are found right.
    """
    handshake = ProxyHandshake(demand)
    sent = after = b""
    try:
        for piece in pieces:
            if handshake.is_over:
                after += piece
                continue
            sent += handshake.receive(piece)
            if handshake.credentials is not None:
                sent += handshake.accepted()
    except HandshakeError as error:
        return None, sent + error.reply, b"", error.reason
    request = handshake.request
    if request is None:
        return None, sent, b"", ""
    known = (request.protocol, request.command, request.target, request.agent, request.claimed_user)
    return known, sent, request.early + after, ""


def check(start: bytes, data: bytes) -> None:
    """Whole, byte by byte, and cut somewhere, *start* and *data* mean the same; whoever has to authenticate or not."""
    demands: tuple[Demand, ...] = ("off", "optional", "required")
    whole = start + data
    for demand in demands:
        outcome = converse([whole], demand)
        cut = len(data) % 7 + 1
        for pieces in ([whole[at : at + 1] for at in range(len(whole))], [whole[:cut], whole[cut:]]):
            assert converse(pieces, demand) == outcome, (demand, whole)
        request, sent, following, reason = outcome
        assert not (request and reason), outcome
        assert request is None or whole.endswith(following), outcome
        assert len(sent) < 1000, outcome
        assert reason.isprintable(), reason
