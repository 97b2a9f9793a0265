"""Requests of plain HTTP, one after the other on a client's connection."""

from __future__ import annotations

import h11

from fwx.proxy.http_forward import ClientSide, ForwardError, ServerSide

_MOST_REQUESTS = 50


def converse(pieces: list[bytes]) -> tuple[list[tuple[bytes, bytes, bool]], str]:
    """Have the proxy receive *pieces*; return what it sends on, whether whole, and the error."""
    client, server = ClientSide(), ServerSide()
    sent: list[tuple[bytes, bytes, bool]] = []
    under_way = False
    try:
        for piece in pieces:
            client.receive(piece)
            while len(sent) < _MOST_REQUESTS:
                if not under_way:
                    request = client.next_request()
                    if request is None:
                        break
                    sent.append((server.begin(request), b"", False))
                    under_way = True
                head, body, _ = sent[-1]
                body += client.read_body()
                sent[-1] = (head, body, client.request_ended)
                if not client.request_ended:
                    break
                _answer(client)
                under_way = False
                if not client.can_continue:
                    return sent, ""
                client.next_cycle()
    except ForwardError as error:
        # How much of a body had gone before its fault was found depends on the pieces; it is reset at the server.
        return [(head, body if whole else b"", whole) for head, body, whole in sent], error.reason
    return sent, ""


def _answer(client: ClientSide) -> None:
    client.respond(h11.Response(status_code=204, headers=[], http_version=b"1.1"))
    client.end_response()


def check_sent(head: bytes) -> None:
    """What is sent on means one thing: one Host, one framing, nothing that was for the proxy."""
    lines = head.split(b"\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert b"\n" not in head.replace(b"\r\n", b""), head
    names = [line.partition(b":")[0].lower() for line in lines[1:-2]]
    assert names.count(b"host") == 1, head
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1, head
    assert not any(name.startswith(b"proxy-") and name != b"proxy-status" for name in names), head
    assert b"connection" not in names, head
    target = lines[0].split(b" ")[1]
    assert target.startswith(b"/") or target == b"*", head


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does."""
    outcome = converse([data])
    assert converse([data[at : at + 1] for at in range(len(data))]) == outcome, data
    for head, _, _ in outcome[0]:
        check_sent(head)
    assert outcome[1].isprintable(), outcome[1]
