"""Responses of a server to a request of plain HTTP."""

from __future__ import annotations

import h11

from fwx.proxy.http_forward import ClientSide, ForwardError, ServerSide

_REQUESTS = (
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/ HTTP/1.0\r\n\r\n",
)


def converse(asked: bytes, pieces: list[bytes], *, ends: bool) -> tuple[list[bytes], bytes, bool, str]:
    """Return the heads and the body that the client gets, whether they are whole, and the error."""
    client, server = ClientSide(asked), ServerSide()
    request = client.next_request()
    assert request is not None
    server.begin(request)
    client.read_body()
    server.end_body()
    heads: list[bytes] = []
    body = b""
    try:
        for number in range(len(pieces) + ends):
            if number < len(pieces):
                server.receive(pieces[number])
            else:
                server.end()
            while (event := server.next()) is not None:
                if isinstance(event, h11.Response | h11.InformationalResponse):
                    heads.append(client.respond(event))
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                    client.send_body(bytes(event.data))
                else:
                    client.end_response()
    except ForwardError as error:
        return heads, body, False, error.reason
    return heads, body, client.is_answered, ""


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does."""
    for asked in _REQUESTS:
        for ends in (False, True):
            outcome = converse(asked, [data], ends=ends)
            assert converse(asked, [data[at : at + 1] for at in range(len(data))], ends=ends) == outcome, data
            for head in outcome[0]:
                assert b"\n" not in head.replace(b"\r\n", b""), head
                framing = head.lower().count(b"\r\ncontent-length:") + head.lower().count(b"\r\ntransfer-encoding:")
                assert framing <= 1, head
