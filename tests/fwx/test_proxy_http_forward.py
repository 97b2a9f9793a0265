"""Plain HTTP through the proxy port, without I/O: what is sent on, what comes back, what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.interfaces.address import SocketAddress
from fwx.proxy import Credentials, Outcome
from fwx.proxy.http_answer import Answer
from fwx.proxy.http_forward import ClientSide, ForwardError, ForwardRequest, ServerSide
from fwx.proxy.request import LONGEST_HANDSHAKE


def request_of(head: bytes) -> ForwardRequest:
    request = ClientSide(head).next_request()
    assert request is not None
    return request


def sent_on(data: bytes) -> bytes:
    """Return what the server gets for the request *data*, body included."""
    client, server = ClientSide(data), ServerSide()
    request = client.next_request()
    assert request is not None
    sent = server.begin(request)
    while body := client.read_body():
        sent += server.send_body(body)
    assert client.request_ended
    return sent + server.end_body()


def get(target: bytes = b"http://a.example/x", *lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    head = (method + b" " + target + b" HTTP/" + version, b"Host: ignored.example", *lines)
    return b"\r\n".join(head) + b"\r\n\r\n"


def refusal(data: bytes) -> ForwardError:
    """Return what the request *data* is refused with, in its head or in its body."""
    with pytest.raises(ForwardError) as caught:
        read_through([data])
    return caught.value


def read_through(pieces: Iterable[bytes]) -> None:
    """Read one request that comes in *pieces*. :raises ForwardError: it is refused."""
    client, begun = ClientSide(), False
    for piece in pieces:
        client.receive(piece)
        begun = begun or client.next_request() is not None
        while begun and client.read_body():
            continue


TARGETS = {
    b"http://a.example/x?y=%20": (SocketAddress("a.example", 80), b"a.example", b"/x?y=%20"),
    b"http://A.example:8080/": (SocketAddress("A.example", 8080), b"A.example:8080", b"/"),
    b"HTTP://a": (SocketAddress("a", 80), b"a", b"/"),
    b"http://a?q": (SocketAddress("a", 80), b"a", b"/?q"),
    b"http://192.0.2.1:81/x": (SocketAddress("192.0.2.1", 81), b"192.0.2.1:81", b"/x"),
    b"http://[2001:DB8::1]/x": (SocketAddress("2001:db8::1", 80), b"[2001:DB8::1]", b"/x"),
    b"http://[::1]:8080/x": (SocketAddress("::1", 8080), b"[::1]:8080", b"/x"),
    b"http://a//b/../c": (SocketAddress("a", 80), b"a", b"//b/../c"),
    b"http://a/http://b/": (SocketAddress("a", 80), b"a", b"/http://b/"),
}


@pytest.mark.parametrize(("target", "expected"), TARGETS.items(), ids=[target.decode() for target in TARGETS])
def test_the_target(target: bytes, expected: tuple[SocketAddress, bytes, bytes]) -> None:
    """RFC 9112 section 3.2.2: the absolute form says whom it is for, whatever Host says."""
    request = request_of(get(target))
    host = dict(request.message.headers)[b"host"]
    assert (request.target, host, request.message.target) == expected


@pytest.mark.parametrize(("target", "path"), [(b"http://a", b"*"), (b"http://a/", b"/"), (b"http://a/x", b"/x")])
def test_options_of_the_server_itself(target: bytes, path: bytes) -> None:
    """RFC 9112 section 3.2.4."""
    assert request_of(get(target, method=b"OPTIONS")).message.target == path


def test_what_concerns_the_proxy_alone_is_not_sent_on() -> None:
    """RFC 9110 section 7.6.1: Connection, what it names, and all that is for one hop; Via is added (7.6.3)."""
    data = get(
        b"http://a.example/x",
        b"User-Agent: curl/8",
        b"Connection: close, X-Mine",
        b"Connection: x-other",
        b"X-Mine: 1",
        b"x-OTHER: 2",
        b"X-Kept: 3",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic YW5uOnNlY3JldA==",
        b"Proxy-Whatever: 4",
        b"TE: trailers",
        b"Trailer: X-Sum",
        b"Upgrade: websocket",
        b"Authorization: Basic eDp5",
        b"Via: 1.0 before",
    )
    assert sent_on(data) == (
        b"GET /x HTTP/1.1\r\nHost: a.example\r\nUser-Agent: curl/8\r\nX-Kept: 3\r\nAuthorization: Basic eDp5\r\n"
        b"Via: 1.0 before\r\nVia: 1.1 fwx\r\n\r\n"
    )
    request = request_of(data)
    assert (request.credentials, request.agent) == (Credentials("ann", b"secret"), "curl/8")


def test_an_old_client() -> None:
    """It may have no Host; the server gets HTTP/1.1, and Via says what came."""
    data = b"GET http://a/ HTTP/1.0\r\n\r\n"
    assert sent_on(data) == b"GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 fwx\r\n\r\n"


BODIES = {
    "length": (get(b"http://a/", b"Content-Length: 5", method=b"POST") + b"hello", b"hello"),
    "the same length twice": (get(b"http://a/", b"Content-Length: 5, 5", method=b"POST") + b"hello", b"hello"),
    "chunks": (
        get(b"http://a/", b"Transfer-Encoding: chunked", method=b"POST") + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
    ),
    "no chunk": (get(b"http://a/", b"Transfer-Encoding: Chunked", method=b"PUT") + b"00\r\n\r\n", b"0\r\n\r\n"),
    "of a GET": (get(b"http://a/", b"Content-Length: 2") + b"ab", b"ab"),
    "none": (get(b"http://a/", b"Content-Length: 0", method=b"POST"), b""),
}


@pytest.mark.parametrize(("data", "body"), BODIES.values(), ids=BODIES)
def test_bodies(data: bytes, body: bytes) -> None:
    """They are framed anew: what the server gets has one length, or chunks of ours."""
    head, _, sent = sent_on(data).partition(b"\r\n\r\n")
    assert sent == body
    assert (b"chunked" in head) == (b"hunked" in data)
    assert head.lower().count(b"content-length") + head.lower().count(b"transfer-encoding") == 1


@pytest.mark.parametrize(
    ("method", "lines", "repeatable"),
    [
        (b"GET", (), True),
        (b"HEAD", (), True),
        (b"POST", (), False),
        (b"DELETE", (), False),
        (b"GET", (b"Content-Length: 1",), False),
        (b"GET", (b"Transfer-Encoding: chunked",), False),
    ],
)
def test_what_may_be_sent_again(method: bytes, lines: tuple[bytes, ...], repeatable: bool) -> None:
    assert request_of(get(b"http://a/", *lines, method=method)).is_repeatable is repeatable


def chunked(body: bytes) -> bytes:
    return get(b"http://a/", b"Transfer-Encoding: chunked", method=b"POST") + body


# What two readers of one stream could take for different messages, and what is not for a proxy.
REFUSED = {
    "two lengths": (get(b"http://a/", b"Content-Length: 5", b"Content-Length: 6"), 400, "conflicting Content-Length"),
    "two lengths in one": (get(b"http://a/", b"Content-Length: 5, 6"), 400, "conflicting Content-Length"),
    "signed length": (get(b"http://a/", b"Content-Length: +5"), 400, "bad Content-Length"),
    "length in hexadecimal": (get(b"http://a/", b"Content-Length: 0x5"), 400, "bad Content-Length"),
    "length with an underscore": (get(b"http://a/", b"Content-Length: 1_0"), 400, "bad Content-Length"),
    "length in other digits": (get(b"http://a/", "Content-Length: \u0665".encode()), 400, "bad Content-Length"),
    "length beyond all bounds": (get(b"http://a/", b"Content-Length: " + b"9" * 40), 400, "bad Content-Length"),
    "minus zero": (get(b"http://a/", b"Content-Length: -0"), 400, "bad Content-Length"),
    "a length and a comma": (get(b"http://a/", b"Content-Length: 5,"), 400, "conflicting Content-Length"),
    "one length in two spellings": (get(b"http://a/", b"Content-Length: 5, 05"), 400, "conflicting Content-Length"),
    "no length and chunks": (
        get(b"http://a/", b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        400,
        "both Content-Length and Transfer-Encoding",
    ),
    "no coding": (get(b"http://a/", b"Transfer-Encoding: identity"), 501, "Only Transfer-Encoding: chunked"),
    "a coding like chunks": (get(b"http://a/", b"Transfer-Encoding: xchunked"), 501, "Only Transfer-Encoding"),
    "chunks in quotes": (get(b"http://a/", b'Transfer-Encoding: "chunked"'), 501, "Only Transfer-Encoding"),
    "chunks with a parameter": (get(b"http://a/", b"Transfer-Encoding: chunked;q=1"), 501, "Only Transfer-Encoding"),
    "chunks and a comma": (get(b"http://a/", b"Transfer-Encoding: chunked,"), 501, "Only Transfer-Encoding"),
    "folded coding": (get(b"http://a/", b"Transfer-Encoding:", b" chunked"), 400, "a line is folded"),
    "blank before a name": (get(b"http://a/", b" Content-Length: 5"), 400, "a line is folded"),
    "empty length": (get(b"http://a/", b"Content-Length:"), 400, "bad Content-Length"),
    "length and chunks": (
        get(b"http://a/", b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        400,
        "both Content-Length and Transfer-Encoding",
    ),
    "chunks and length": (
        get(b"http://a/", b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        400,
        "both Content-Length and Transfer-Encoding",
    ),
    "chunks twice": (get(b"http://a/", b"Transfer-Encoding: chunked, chunked"), 501, "Only Transfer-Encoding: chunked"),
    "chunks and another": (get(b"http://a/", b"Transfer-Encoding: gzip, chunked"), 501, "Only Transfer-Encoding"),
    "a coding with a tab": (get(b"http://a/", b"Transfer-Encoding: \x0bchunked"), 400, "a control character"),
    "two codings": (get(b"http://a/", *[b"Transfer-Encoding: chunked"] * 2), 501, "multiple Transfer-Encoding"),
    "chunks in HTTP/1.0": (
        get(b"http://a/", b"Transfer-Encoding: chunked", version=b"1.0"),
        400,
        "Transfer-Encoding in HTTP/1.0",
    ),
    "bare LF": (get().replace(b"ignored.example\r\n", b"ignored.example\n"), 400, "a line ends with LF alone"),
    "bare LF at the end": (get()[:-2] + b"\n", 400, "a line ends with LF alone"),
    "bare LF after the request line": (get().replace(b"1.1\r\n", b"1.1\n"), 400, "a line ends with LF alone"),
    "bare CR": (get(b"http://a/", b"X: a\rY: b"), 400, "a CR stands alone"),
    "folded line": (get(b"http://a/", b"X: a", b" b"), 400, "a line is folded"),
    "folded by a tab": (get(b"http://a/", b"X: a", b"\tb"), 400, "a line is folded"),
    "blank before the colon": (get(b"http://a/", b"Content-Length : 5"), 400, "illegal header line"),
    "no colon": (get(b"http://a/", b"Content-Length"), 400, "illegal header line"),
    "NUL": (get(b"http://a/", b"X: a\0b"), 400, "a control character"),
    "NUL in a name": (get(b"http://a/", b"Content-Length\0: 5"), 400, "a control character"),
    "empty line first": (b"GET http://a/ HTTP/1.1\r\n \r\n\r\n", 400, "a line is folded"),
    "two Hosts": (get(b"http://a/", b"Host: b"), 400, "Found multiple Host"),
    "no Host": (b"GET http://a/ HTTP/1.1\r\n\r\n", 400, "Missing mandatory Host"),
    "two blanks": (get().replace(b"GET ", b"GET  "), 400, "illegal request line"),
    "tabs": (get().replace(b"GET ", b"GET\t"), 400, "illegal request line"),
    "a blank at the end": (get().replace(b"1.1\r\n", b"1.1 \r\n", 1), 400, "illegal request line"),
    "a blank in the target": (get(b"http://a/ x"), 400, "illegal request line"),
    "two targets": (get(b"http://a/ http://b/"), 400, "illegal request line"),
    "HTTP/1.10": (get(version=b"1.10"), 400, "illegal request line"),
    "only LF": (b"GET http://a/ HTTP/1.1\n\n", 400, "a line ends with LF alone"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\n", 505, "HTTP/2.0 is not supported"),
    "HTTP/0.9": (b"GET http://a/\r\n\r\n", 400, "illegal request line"),
    "lower-case version": (get().replace(b"HTTP/1.1", b"http/1.1"), 400, "illegal request line"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400, "illegal request line"),
    "CONNECT again": (get(b"a:443", method=b"CONNECT"), 400, "CONNECT has to be the first request"),
    "CONNECT in absolute form": (get(b"http://a:443/", method=b"CONNECT"), 400, "CONNECT has to be the first"),
    "authority form": (get(b"a.example:80"), 400, "target 'a.example:80' is not in absolute form"),
    "origin form": (get(b"/x"), 400, "target '/x' is not in absolute form"),
    "asterisk form": (get(b"*", method=b"OPTIONS"), 400, "target '*' is not in absolute form"),
    "no authority": (get(b"http:///x"), 400, "target: "),
    "one slash": (get(b"http:/a/x"), 400, "is not in absolute form"),
    "backslashes": (get(b"http:\\\\a\\x"), 400, "is not in absolute form"),
    "backslash in the authority": (get(b"http://a\\b/"), 400, "target: "),
    "user": (get(b"http://me@a/"), 400, "the target holds user information"),
    "user that looks like a port": (get(b"http://a:80@b/"), 400, "the target holds user information"),
    "two authorities": (get(b"http://a,b/"), 400, "is not a host name"),
    "user and password": (get(b"http://me:secret@a/"), 400, "the target holds user information"),
    "fragment": (get(b"http://a/#x"), 400, "is not in absolute form"),
    "https": (get(b"https://a/"), 501, "scheme 'https' is not supported"),
    "ftp": (get(b"ftp://a/"), 501, "scheme 'ftp' is not supported"),
    "port 0": (get(b"http://a:0/"), 400, "port 0 is outside 1 to 65535"),
    "port too large": (get(b"http://a:65536/"), 400, "port 65536 is outside"),
    "empty port": (get(b"http://a:/"), 400, "is not host:port"),
    "short IPv4": (get(b"http://127.1/"), 400, "four decimal parts"),
    "IPv4 in hexadecimal": (get(b"http://0x7f000001/"), 400, "four decimal parts"),
    "escaped host": (get(b"http://%61/"), 400, "is not a host name"),
    "TRACE": (get(method=b"TRACE"), 501, "TRACE is not supported"),
    "no more hops": (get(b"http://a/", b"Max-Forwards: 0", method=b"OPTIONS"), 501, "Max-Forwards is 0"),
    "expectation": (get(b"http://a/", b"Expect: the-impossible"), 417, "an expectation"),
    "Connection names the length": (
        get(b"http://a/", b"Connection: content-length", b"Content-Length: 1"),
        400,
        "Connection names Host",
    ),
    "Connection names the host": (get(b"http://a/", b"Connection: close,HOST"), 400, "Connection names Host"),
    "password that is none": (get(b"http://a/", b"Proxy-Authorization: Basic !"), 400, "is not base64"),
    "long head": (get(b"http://a/", b"X: " + b"x" * LONGEST_HANDSHAKE), 431, "head over 16384 bytes"),
    "chunk size in decimal words": (chunked(b"five\r\nhello\r\n0\r\n\r\n"), 400, "illegal chunk header"),
    "chunk size with 0x": (chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), 400, "illegal chunk header"),
    "negative chunk size": (chunked(b"-5\r\nhello\r\n0\r\n\r\n"), 400, "illegal chunk header"),
    "signed chunk size": (chunked(b"+5\r\nhello\r\n0\r\n\r\n"), 400, "illegal chunk header"),
    "chunk size with an underscore": (chunked(b"1_0\r\nhello\r\n0\r\n\r\n"), 400, "illegal chunk header"),
    "CRLF in a quoted extension": (chunked(b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n'), 400, "malformed chunk footer"),
    "huge chunk size": (chunked(b"f" * 21 + b"\r\nhello"), 400, "illegal chunk header"),
    "empty chunk size": (chunked(b"\r\nhello\r\n0\r\n\r\n"), 400, "illegal chunk header"),
    "LF in a chunk extension": (chunked(b"5;\nx\r\nhello\r\n0\r\n\r\n"), 400, "illegal chunk header"),
    "LF after a chunk size": (chunked(b"5\nhello\r\n0\r\n\r\n"), 400, "illegal chunk header"),
    "chunk too long": (chunked(b"5\r\nhello!\r\n0\r\n\r\n"), 400, "malformed chunk footer"),
    "LF after a chunk": (chunked(b"5\r\nhello\n0\r\n\r\n"), 400, "malformed chunk footer"),
    "LF after the last chunk": (chunked(b"0\r\n\n"), 400, "the last chunk is not followed by one empty line"),
    "a trailer": (chunked(b"0\r\nX: y\r\n\r\n"), 400, "the last chunk is not followed by one empty line"),
    "a trailer with bare LF": (chunked(b"0\r\nX: y\n\n"), 400, "the last chunk is not followed by one empty line"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "status", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(data: bytes, status: int, reason: str) -> None:
    error = refusal(data)
    assert error.reason.startswith("HTTP: ")
    assert reason in error.reason
    assert error.answer.status == status
    assert b"secret" not in error.answer.closing()
    assert "secret" not in error.reason


@pytest.mark.parametrize("data", [case[0] for case in REFUSED.values()], ids=REFUSED)
def test_refused_byte_by_byte(data: bytes) -> None:
    """However it was split, it is the same fault."""
    with pytest.raises(ForwardError) as caught:
        read_through(data[number : number + 1] for number in range(len(data)))
    assert caught.value.reason == refusal(data).reason


@pytest.mark.parametrize("hops", [1, 7, 999_999_999])
def test_max_forwards(hops: int) -> None:
    """RFC 9110 section 7.6.2: one less for OPTIONS; of another method it is left alone."""
    line = b"Max-Forwards: %d" % hops
    assert b"\r\nMax-Forwards: %d\r\n" % (hops - 1) in sent_on(get(b"http://a/", line, method=b"OPTIONS"))
    assert b"\r\nMax-Forwards: 0\r\n" in sent_on(get(b"http://a/", b"Max-Forwards: 0"))


# Responses.


def exchange(
    response: bytes, request: bytes = get(b"http://a/"), *, ends: bool = False, step: int = 100_000
) -> tuple[bytes, ClientSide, ServerSide]:
    """Return what the client gets for *response*, and both sides after it."""
    client, server = ClientSide(request), ServerSide()
    asked = client.next_request()
    assert asked is not None
    server.begin(asked)
    client.read_body()
    assert client.request_ended
    server.end_body()
    got = b""
    for start in range(0, len(response), step):
        server.receive(response[start : start + step])
        got += passed_on(client, server)
    if ends:
        server.end()
        got += passed_on(client, server)
    return got, client, server


def passed_on(client: ClientSide, server: ServerSide) -> bytes:
    got = b""
    while (event := server.next()) is not None:
        if isinstance(event, h11.Response | h11.InformationalResponse):
            got += client.respond(event)
        elif isinstance(event, h11.Data):
            got += client.send_body(bytes(event.data))
        else:
            got += client.end_response()
    return got


RESPONSES = {
    "length": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: 1.1 fwx\r\n\r\nhello", True, True,
    ),
    "chunks": (
        b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        b"HTTP/1.1 200 Fine\r\nVia: 1.1 fwx\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", True, True,
    ),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 204 No Content\r\nVia: 1.1 fwx\r\n\r\n", True, True),
    "not modified": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nVia: 1.1 fwx\r\n\r\n", True, True,
    ),
    "the server goes": (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVia: 1.1 fwx\r\n\r\n", True, False,
    ),
    "one hop alone": (
        b"HTTP/1.1 200 OK\r\nConnection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: x\r\nProxy-Connection: x\r\n"
        b"Proxy-Authenticate: Basic\r\nProxy-Status: b; error=x\r\nUpgrade: x\r\nVia: 1.0 b\r\n"
        b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nProxy-Status: b; error=x\r\nVia: 1.0 b\r\nContent-Length: 0\r\n"
        b"Via: 1.1 fwx\r\n\r\n", True, True,
    ),
    "interim": (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\nVia: 1.1 fwx\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVia: 1.1 fwx\r\n\r\n", True, True,
    ),
    "an old server": (
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nVia: 1.0 fwx\r\n\r\nx", True, False,
    ),
    "more than was asked for": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nVia: 1.1 fwx\r\n\r\nx", True, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("step", [1, 11, 100_000])
@pytest.mark.parametrize(
    ("response", "expected", "client_goes_on", "server_goes_on"), RESPONSES.values(), ids=RESPONSES
)
def test_responses(response: bytes, expected: bytes, client_goes_on: bool, server_goes_on: bool, step: int) -> None:
    got, client, server = exchange(response, step=step)
    # Data of one chunk that came in pieces are chunks of their own.
    if step < 100_000 and b"chunked" in response:
        got = rejoined(got)
    assert got == expected
    assert (client.can_continue, server.is_reusable) == (client_goes_on, server_goes_on)
    assert server.answered


def rejoined(message: bytes) -> bytes:
    head, _, chunks = message.partition(b"\r\n\r\n")
    body = b"".join(chunks.split(b"\r\n")[1:-3:2])
    return head + b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def test_a_response_to_the_end_of_the_connection() -> None:
    """A client of HTTP/1.1 gets chunks and goes on; an old one gets the end of its own connection."""
    response = b"HTTP/1.1 200 OK\r\n\r\nhello"
    got, client, server = exchange(response, ends=True)
    head, _, body = got.partition(b"\r\n\r\n")
    assert (b"Transfer-Encoding: chunked" in head, body) == (True, b"5\r\nhello\r\n0\r\n\r\n")
    assert (client.can_continue, server.is_reusable) == (True, False)
    got, client, server = exchange(response, b"GET http://a/ HTTP/1.0\r\n\r\n", ends=True)
    assert got == b"HTTP/1.1 200 OK\r\nVia: 1.1 fwx\r\nConnection: close\r\n\r\nhello"
    assert client.is_answered
    assert not client.can_continue


def test_an_old_client_gets_no_interim_response_and_no_chunks() -> None:
    response = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    got, _, _ = exchange(response, b"GET http://a/ HTTP/1.0\r\n\r\n")
    assert got == b"HTTP/1.1 200 OK\r\nVia: 1.1 fwx\r\nConnection: close\r\n\r\nx"


def test_head() -> None:
    """RFC 9110 section 9.3.2: the length of what there is not."""
    got, client, server = exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", get(b"http://a/", method=b"HEAD"))
    assert got == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: 1.1 fwx\r\n\r\n"
    assert client.can_continue
    assert server.is_reusable


BAD_RESPONSES = {
    "no HTTP": (b"220 ready\r\n\r\n", False, "illegal status line"),
    "HTTP/2": (b"HTTP/2.0 200 OK\r\n\r\n", False, "it is not HTTP/1"),
    "bare LF": (b"HTTP/1.1 200 OK\nX: y\r\n\r\n", False, "a line ends with LF alone"),
    "folded": (b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", False, "a line is folded"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", False, "conflicting"),
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        False,
        "both Content-Length and Transfer-Encoding",
    ),
    "another coding": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", False, "Only Transfer-Encoding"),
    "switching": (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", False, "without a pending proposal"),
    "a proxy's": (b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", False, "status 407 is no answer"),
    "Connection names the length": (
        b"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 1\r\n\r\n",
        False,
        "Connection names Host",
    ),
    "long head": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * LONGEST_HANDSHAKE, False, "head over 16384 bytes"),
    "bad chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", False, "illegal chunk header"),
    "nothing": (b"", True, "closed before its response head was complete"),
    "half a head": (b"HTTP/1.1 200 OK\r\nX", True, "closed before its response head was complete"),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", True, "without sending complete message body"),
    "no last chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
        True,
        "without sending complete message body",
    ),
}


@pytest.mark.parametrize("step", [1, 100_000])
@pytest.mark.parametrize(("response", "ends", "reason"), BAD_RESPONSES.values(), ids=BAD_RESPONSES)
def test_bad_responses(response: bytes, ends: bool, reason: str, step: int) -> None:
    with pytest.raises(ForwardError) as caught:
        exchange(response, ends=ends, step=step)
    assert caught.value.reason.startswith("HTTP: the server's response: ")
    assert reason in caught.value.reason
    assert caught.value.answer.status is HTTPStatus.BAD_GATEWAY


# One connection, many requests.


def test_requests_in_a_row_are_taken_one_at_a_time() -> None:
    """What came early waits, whatever the body of the first looks like."""
    first = get(b"http://a/1", b"Content-Length: 40", method=b"POST") + get(b"http://evil/")[:40].ljust(40)
    data = first + get(b"http://b/2") + get(b"http://c/3")
    client = ClientSide(data)
    for path in (b"/1", b"/2", b"/3"):
        request = client.next_request()
        assert request is not None
        assert request.message.target == path
        client.read_body()
        assert client.request_ended
        response = h11.Response(status_code=204, headers=[], http_version=b"1.1")
        assert client.respond(response).startswith(b"HTTP/1.1 204 ")
        client.end_response()
        assert client.can_continue
        client.next_cycle()
    assert not client.has_begun
    assert client.next_request() is None


@pytest.mark.parametrize(
    ("request_data", "goes_on"),
    [(get(), True), (get(b"http://a/", b"Connection: close"), False), (get(version=b"1.0"), False)],
)
def test_an_answer_of_our_own(request_data: bytes, goes_on: bool) -> None:
    client = ClientSide(request_data)
    client.next_request()
    client.read_body()
    data = client.answer(Answer.to(Outcome.DENIED, "off"))
    assert data.startswith(b"HTTP/1.1 403 Forbidden\r\nProxy-Status: fwx; error=http_request_denied\r\n")
    assert data.endswith(b"\r\n\r\ndenied by policy\n")
    assert (b"Connection: close" in data) is not goes_on
    assert client.can_continue is goes_on


def test_an_answer_to_head_has_no_body() -> None:
    client = ClientSide(get(method=b"HEAD"))
    client.next_request()
    client.read_body()
    assert client.answer(Answer.to(Outcome.DENIED, "off")).endswith(b"Content-Length: 17\r\n\r\n")


def test_an_answer_before_the_body_is_the_last_one() -> None:
    client = ClientSide(get(b"http://a/", b"Content-Length: 5", method=b"POST"))
    client.next_request()
    client.read_body()
    assert b"\r\nConnection: close\r\n" in client.answer(Answer.to(Outcome.DENIED, "off"))
    assert not client.can_continue


def test_who_must_authenticate_is_asked() -> None:
    assert b"Proxy-Authenticate" not in Answer.to(Outcome.UNAUTHENTICATED, "off").closing()
    asked = Answer.to(Outcome.UNAUTHENTICATED, "optional").closing()
    assert asked.startswith(b"HTTP/1.1 407 ")
    assert b'\r\nProxy-Authenticate: Basic realm="fwx"\r\n' in asked


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@given(
    st.lists(st.sampled_from([case[0] for case in BODIES.values()] + [get(b"http://b/")]), min_size=1, max_size=4),
    st.lists(st.integers(min_value=0), max_size=12),
)
def test_any_split_gives_the_same_requests(requests: list[bytes], cuts: list[int]) -> None:
    client, server = ClientSide(), ServerSide()
    heads: list[bytes] = []
    bodies: list[bytes] = []
    under_way = False
    for piece in split(b"".join(requests), cuts):
        client.receive(piece)
        while under_way or (request := client.next_request()) is not None:
            if not under_way:
                heads.append(server.begin(request))
                bodies.append(b"")
            bodies[-1] += client.read_body()
            under_way = not client.request_ended
            if under_way:
                break
            client.respond(h11.Response(status_code=204, headers=[], http_version=b"1.1"))
            client.end_response()
            client.next_cycle()
    sent = [sent_on(request).partition(b"\r\n\r\n") for request in requests]
    assert heads == [head + end for head, end, _ in sent]
    assert bodies == [b"hello" if b"hello" in body else body.removesuffix(b"0\r\n\r\n") for _, _, body in sent]


@given(st.lists(st.binary(max_size=400), max_size=8), st.sampled_from([get()[:-2], chunked(b""), b"POST http://a/ "]))
def test_hostile_requests(pieces: list[bytes], start: bytes) -> None:
    """A request, an error, or more to come; never anything else."""
    status = 0
    try:
        read_through([start, *pieces])
    except ForwardError as error:
        status = error.answer.status
    assert status in (0, 400, 417, 431, 501, 505)


@given(
    st.lists(st.binary(max_size=400), max_size=8),
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
)
def test_hostile_responses(pieces: list[bytes], start: bytes) -> None:
    status = HTTPStatus.BAD_GATEWAY
    try:
        exchange(start + b"".join(pieces), ends=True, step=97)
    except ForwardError as error:
        status = error.answer.status
    assert status is HTTPStatus.BAD_GATEWAY
