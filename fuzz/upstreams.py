"""What the targets of upstreams' answers have in common."""

from __future__ import annotations

from fwx.interfaces import SocketAddress
from fwx.proxy.http_connect_client import HttpConnectClient
from fwx.proxy.socks5_client import Socks5Client
from fwx.proxy.upstream import Account

Client = type[Socks5Client] | type[HttpConnectClient]
Outcome = tuple[bool, bytes, bytes, str]

TARGET = SocketAddress("www.example.org", 443)
WORD = "a-secret-word"


def converse(client_class: Client, account: Account | None, pieces: list[bytes]) -> Outcome:
    """Have a client receive *pieces*; return whether it is established, what it sent, what follows, the error."""
    client = client_class(TARGET, account)
    sent = client.start()
    after = b""
    try:
        for piece in filter(None, pieces):  # nothing is the end, which the connection sees to
            if client.established:
                after += piece
            else:
                sent += client.receive(piece)
    except OSError as error:
        # An upstream that refuses before it was asked is told nothing more.
        return False, b"", b"", error.strerror or ""
    return client.established, sent, client.early + after, ""


def check(client_class: Client, data: bytes) -> None:
    """Whole, byte by byte, and cut somewhere, *data* means the same, with an account and without."""
    for account in (None, Account("branch", WORD)):
        outcome = converse(client_class, account, [data])
        cut = len(data) % 7 + 1
        for pieces in ([data[at : at + 1] for at in range(len(data))], [data[:cut], data[cut:]]):
            assert converse(client_class, account, pieces) == outcome, data
        established, sent, following, reason = outcome
        assert not (established and reason), outcome
        assert data.endswith(following), outcome
        assert reason.isprintable(), reason
        assert WORD not in reason
        assert len(sent) < 1000, outcome
