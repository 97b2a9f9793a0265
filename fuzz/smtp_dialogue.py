"""What a client says in SMTP, to a server that agrees to everything: however it is cut, the server gets lines."""

from __future__ import annotations

from fwx.filters.smtp.dialogue import Dialogue
from fwx.filters.smtp.filter import SmtpFilter, SmtpOptions

_RULES = SmtpFilter(SmtpOptions(refuse_words=("secret",)))._rules
_REPLIES = {b"EHLO": b"250-mail\r\n250-PIPELINING\r\n250 SIZE\r\n", b"DATA": b"354 go\r\n"}


def converse(pieces: list[bytes]) -> tuple[bytes, bool]:
    """Return what the server got, and whether the connection was ended."""
    dialogue, got, unread, in_text = Dialogue(_RULES), b"", b"", False
    dialogue.from_server(b"220 mail\r\n")
    for piece in pieces:
        dialogue.from_client(piece)
        while dialogue.to_server and not dialogue.over:
            got, unread = got + dialogue.to_server, unread + dialogue.to_server
            dialogue.to_server.clear()
            *lines, unread = unread.split(b"\r\n")
            for line in lines:
                if in_text and line != b".":
                    continue
                in_text = not in_text and line[:4].upper() == b"DATA"
                dialogue.from_server(_REPLIES.get(line[:4].upper(), b"250 ok\r\n"))
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
