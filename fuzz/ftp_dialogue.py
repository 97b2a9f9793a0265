"""What a client says in FTP, to a server that agrees to everything: however it is cut, the server gets lines.

Of data ports it hears of those alone that were opened.
"""

from __future__ import annotations

from fwx import sdk
from fwx.filters.ftp.command import active_command
from fwx.filters.ftp.dialogue import Dialogue, Rules

_OPENED = sdk.SocketAddress("192.0.2.7", 40000)
_RULES = Rules(refused=frozenset({"SITE"}), read_only=True)
_REPLIES = {
    b"PASV": b"227 Entering Passive Mode (192,0,2,9,4,1).\r\n",
    b"EPSV": b"229 Entering Extended Passive Mode (|||1025|)\r\n",
    b"FEAT": b"211-Features\r\n MDTM\r\n211 End\r\n",
    b"RETR": b"150 here it comes\r\n226 that was it\r\n",
}


class _Ports:
    """Opens every port, and says the same of each."""

    def passive(self, host: str, port: int) -> sdk.SocketAddress:  # noqa: ARG002
        return _OPENED

    def active(self, client: sdk.SocketAddress) -> sdk.SocketAddress:  # noqa: ARG002
        return _OPENED

    def close(self) -> None:
        """Nothing is open."""


def converse(pieces: list[bytes]) -> tuple[bytes, bool]:
    """Return what the server got, and whether the connection was ended."""
    dialogue, got, unread = Dialogue(_RULES, _Ports()), b"", b""
    dialogue.from_server(b"220 files\r\n")
    for piece in pieces:
        dialogue.from_client(piece)
        while dialogue.to_server and not dialogue.over:
            got, unread = got + dialogue.to_server, unread + dialogue.to_server
            dialogue.to_server.clear()
            *lines, unread = unread.split(b"\r\n")
            for line in lines:
                dialogue.from_server(_REPLIES.get(line[:4].upper(), b"200 ok\r\n"))
            dialogue.go_on()
    return got, dialogue.over


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does, or what passes depends on how they come."""
    whole, cut = converse([data]), converse([data[place : place + 1] for place in range(len(data))])
    assert whole[1] == cut[1], data
    if not whole[1]:
        assert whole == cut, data
    for got, _ in (whole, cut):
        assert b"\x00" not in got
        assert got.count(b"\r") == got.count(b"\n") == got.count(b"\r\n"), data
        for line in got.split(b"\r\n"):
            verb = line[:4]
            assert verb == verb.upper(), data
            assert verb not in (b"STOR", b"DELE", b"SITE", b"AUTH"), data
            assert verb not in (b"PORT", b"EPRT") or line + b"\r\n" == active_command(_OPENED), data
