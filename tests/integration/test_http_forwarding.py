"""Plain HTTP through a running service: raw clients, servers that behave and servers that do not."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import (
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED,
    HRESULT_FROM_WIN32,
    WSAECONNABORTED,
    WSAECONNREFUSED,
)

LOOPS = ("uvloop", "asyncio")
ABORTED = int(HRESULT_FROM_WIN32(WSAECONNABORTED))
# Tells the test what the filters of a service have seen, on standard error.
SEES = """
import sys

class Data(sdk.DataPump):
    def __init__(self, firewall, connection):
        super().__init__()

    def inspect(self, to_server, buffer):
        print("SEEN", "up" if to_server else "down", bytes(buffer.GetBufferAndSize()), file=sys.stderr, flush=True)
        return buffer
"""


class Web:
    """A handler of HTTP/1.1: what it was asked, and answers that say so."""

    def __init__(self, answer: Callable[[socket.socket, bytes, bytes], bool] | None = None) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self._answer = answer or self.echo

    def __call__(self, client: socket.socket) -> None:
        file = client.makefile("rb")
        with file:
            while head := self._head(file):
                body = self._body(head, file)
                self.heads.append(head)
                self.bodies.append(body)
                if not self._answer(client, head, body):
                    return

    def _head(self, file: Any) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = file.readline()
            if not line:
                return b""
            head += line
        return head

    def _body(self, head: bytes, file: Any) -> bytes:
        lines = head.lower().split(b"\r\n")
        if b"transfer-encoding: chunked" in lines:
            body = b""
            while size := int(file.readline(), 16):
                body += file.read(size)
                assert file.read(2) == b"\r\n"
            assert file.read(2) == b"\r\n"
            return body
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        return bytes(file.read(length))

    def echo(self, client: socket.socket, head: bytes, body: bytes) -> bool:
        text = head.split(b"\r\n")[0] + b"|" + body[:100]
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        return True


def get(server: Any, path: str = "/", *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    fields = [f"{method} http://{server.host}:{server.port}{path} HTTP/1.1", "Host: somewhere.else", *lines]
    if body:
        fields.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*fields, "", ""]).encode() + body


def answer(opened: socket.socket, client: Any, *, has_body: bool = True) -> tuple[bytes, bytes]:
    """Read one response with a length; return its head and its body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.exactly(opened, 1)
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head, client.exactly(opened, length) if has_body else b""


@pytest.mark.parametrize("loop", LOOPS)
def test_many_requests_on_one_connection(serve: Any, origin: Any, client: Any, loop: str) -> None:
    """One client connection, one onward connection while the server stays the same, one record for it."""
    web = Web()
    server, firewall = origin(web), serve(loop=loop)
    opened = client.connect(firewall.address())
    for number in range(20):
        opened.sendall(get(server, f"/{number}", "User-Agent: raw/1", "Proxy-Connection: keep-alive"))
        head, body = answer(opened, client)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nVia: 1.1 fwx\r\n" in head
        assert body == b"GET /%d HTTP/1.1|" % number
    assert web.heads[0] == (
        b"GET /0 HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: raw/1\r\nVia: 1.1 fwx\r\n\r\n"
        % (server.host.encode(), server.port)
    )
    assert server.connections == 1
    opened.close()
    row = firewall.wait_row()
    assert (row["Action"], row["resultcode"], row["ClientAgent"], row["reason"]) == (Action.Terminate, 0, "raw/1", "")
    assert row["bytessent"] == sum(map(len, web.heads))
    firewall.wait_base_line()


@pytest.mark.parametrize("loop", LOOPS)
def test_another_server_on_the_same_connection(serve: Any, origin: Any, client: Any, loop: str) -> None:
    """The last onward connection has ended cleanly before the next one begins."""
    webs = [Web(), Web()]
    servers = [origin(web) for web in webs]
    firewall = serve(loop=loop)
    opened = client.connect(firewall.address())
    for number in range(6):
        opened.sendall(get(servers[number % 2], f"/{number}"))
        assert answer(opened, client)[1] == b"GET /%d HTTP/1.1|" % number
    opened.close()
    rows = firewall.wait_rows(6)
    assert [row["DestinationPort"] for row in rows] == [servers[number % 2].port for number in range(6)]
    assert {(row["Action"], row["resultcode"]) for row in rows} == {(Action.Terminate, 0)}
    assert [server.connections for server in servers] == [3, 3]
    firewall.wait_base_line()


def test_requests_sent_at_once(serve: Any, origin: Any, client: Any) -> None:
    """Pipelined, to two servers, with bodies, in pieces: answered in order."""
    servers = [origin(Web()), origin(Web())]
    firewall = serve()
    opened = client.connect(firewall.address())
    data = b"".join(
        get(servers[number // 2 % 2], f"/{number}", method="POST", body=b"body %d" % number) for number in range(12)
    )
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pieces = random.Random(1)
    while data:
        size = pieces.randrange(1, 200)
        opened.send(data[:size])
        data = data[size:]
    for number in range(12):
        assert answer(opened, client)[1] == b"POST /%d HTTP/1.1|body %d" % (number, number)


@pytest.mark.path(entry="http", exit="direct", transport="tcp")
@pytest.mark.parametrize("loop", LOOPS)
def test_large_bodies_both_ways(serve: Any, origin: Any, client: Any, loop: str) -> None:
    blob = random.Random(4).randbytes(5 << 20)

    def send_back(peer: socket.socket, head: bytes, body: bytes) -> bool:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return True

    server, firewall = origin(Web(send_back)), serve(loop=loop)
    opened = client.connect(firewall.address())
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(blob[at : at + 99_991]), blob[at : at + 99_991]) for at in range(0, len(blob), 99_991)
    )
    head = get(server, "/", "Transfer-Encoding: chunked", method="PUT")
    for data in (get(server, "/", method="PUT", body=blob), head + chunks + b"0\r\n\r\n"):
        opened.sendall(data)
        assert answer(opened, client)[1] == blob


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("filters", [{}, {"sees": SEES.replace("print(", "0 and print(")}], ids=["plain", "filter"])
def test_a_reader_that_stops_costs_a_bounded_amount(
    serve: Any, origin: Any, client: Any, eventually: Any, loop: str, filters: dict[str, str]
) -> None:
    """DESIGN 5: backpressure from the client to the server."""
    sent = [0]

    def flood(peer: socket.socket, head: bytes, body: bytes) -> bool:
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent[0] += peer.send(bytes(65536))

    server, firewall = origin(Web(flood)), serve(loop=loop, filters=filters)
    before = firewall.memory()
    crowd = [client.connect(firewall.address()) for _ in range(4)]
    for opened in crowd:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        opened.sendall(get(server))
    stable: list[int] = [-1]

    def stands_still() -> bool:
        time.sleep(0.3)  # a state that lasts is seen in no other way
        last, stable[0] = stable[0], sent[0]
        return last == sent[0] > 0

    eventually(stands_still, "the server to be held back", 30)
    assert firewall.memory() - before < 8 << 20
    for opened in crowd:
        client.reset(opened)
    assert len(firewall.wait_rows(4)) == 4
    firewall.wait_base_line()


def test_what_filters_see(serve: Any, origin: Any, client: Any, eventually: Any) -> None:
    """The request as the server gets it and the response as the server sends it; no credentials, no absolute form."""
    server = origin(Web())
    firewall = serve(filters={"sees": SEES})
    opened = client.connect(firewall.address())
    opened.sendall(get(server, "/x", "Proxy-Authorization: Basic YTpi", "Connection: close"))
    answer(opened, client)
    assert client.to_end(opened) == b""
    host = f"{server.host}:{server.port}"
    eventually(lambda: "SEEN up b'GET /x HTTP/1.1" in firewall.stderr(), "the filter to see the request")
    assert host in firewall.stderr()
    assert "YTpi" not in firewall.stderr()
    assert "Via: 1.1 fwx" in firewall.stderr().split("SEEN down")[0]
    assert "SEEN down b'HTTP/1.1 200 OK" in firewall.stderr()
    assert firewall.wait_row()["filters"] == "sees"


def test_an_interim_response(serve: Any, origin: Any, client: Any) -> None:
    """RFC 9110 section 10.1.1: 100 Continue comes from the server, and the body waits for it."""

    def handler(peer: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += peer.recv(1)
        assert b"\r\nExpect: 100-continue\r\n" in head
        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert client.exactly(peer, 5) == b"hello"
        peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    server, firewall = origin(handler), serve()
    opened = client.connect(firewall.address())
    opened.sendall(get(server, "/", "Expect: 100-continue", "Content-Length: 5", method="PUT"))
    expected = b"HTTP/1.1 100 Continue\r\nVia: 1.1 fwx\r\n\r\n"
    assert client.exactly(opened, len(expected)) == expected
    opened.sendall(b"hello")
    assert client.exactly(opened, 25) == b"HTTP/1.1 204 No Content\r\n"


def test_a_final_response_before_the_body_was_sent(serve: Any, origin: Any, client: Any) -> None:
    """The client gets it, then the end: what is left of its body would be taken for a request."""

    def refuse(peer: socket.socket) -> None:
        while b"\r\n\r\n" not in peer.recv(65536):
            pass
        peer.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        while peer.recv(65536):
            pass

    server, firewall = origin(refuse), serve()
    opened = client.connect(firewall.address())
    opened.sendall(get(server, "/", "Content-Length: 1000000", method="PUT") + bytes(1000))
    assert client.to_end(opened).startswith(b"HTTP/1.1 413 Too Large\r\n")
    firewall.wait_row()
    firewall.wait_base_line()


def test_a_response_to_the_end_of_the_connection(serve: Any, origin: Any, client: Any) -> None:
    """The client's connection goes on with chunks; a truncated response is never taken for a whole one."""

    def until_the_end(peer: socket.socket, head: bytes, body: bytes) -> bool:
        peer.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1000)
        return False

    def broken(peer: socket.socket, head: bytes, body: bytes) -> bool:
        peer.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1000)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return False

    whole, cut, firewall = origin(Web(until_the_end)), origin(Web(broken)), serve()
    opened = client.connect(firewall.address())
    for _ in range(2):
        opened.sendall(get(whole))
        data = b""
        while not data.endswith(b"\r\n0\r\n\r\n"):
            data += client.exactly(opened, 1)
        assert b"Transfer-Encoding: chunked" in data
        assert data.count(b"x") >= 1000
    opened.sendall(get(cut))
    with pytest.raises(ConnectionResetError):
        client.to_end(opened)


BAD_SERVERS = {
    "no HTTP": (b"220 ready\r\n\r\n", "illegal status line"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "conflicting Content-Length"),
    "a proxy's answer": (b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", "status 407 is no answer"),
    "nothing": (b"", "closed before its response head was complete"),
    "half a head": (b"HTTP/1.1 200 OK\r\nX: ", "closed before its response head was complete"),
    "long head": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9000, "head over 16384 bytes"),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_servers_that_do_not_speak_http(serve: Any, origin: Any, client: Any, loop: str) -> None:
    """502, a record with the reason, and the client's connection goes on."""
    firewall = serve(loop=loop)
    opened = client.connect(firewall.address())
    for number, (data, reason) in enumerate(BAD_SERVERS.values()):

        def respond(peer: socket.socket, head: bytes, body: bytes, data: bytes = data) -> bool:
            peer.sendall(data)
            return False

        server = origin(Web(respond))
        opened.sendall(get(server))
        head, _ = answer(opened, client)
        assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"), reason
        assert b"Proxy-Status: fwx; error=http_protocol_error\r\n" in head
        row = firewall.wait_rows(number + 1, resultcode=ABORTED, Action=int(Action.Failed))[-1]
        assert reason in row["reason"]
    opened.close()
    firewall.wait_base_line()


def test_a_kept_connection_that_the_server_has_closed(serve: Any, origin: Any, client: Any) -> None:
    """Nothing is lost: a new onward connection takes the next request."""

    def once(peer: socket.socket, head: bytes, body: bytes) -> bool:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return False

    server, firewall = origin(Web(once)), serve()
    opened = client.connect(firewall.address())
    for _ in range(10):
        opened.sendall(get(server))
        assert answer(opened, client)[1] == b"ok"
    assert server.connections == 10


def test_a_kept_connection_that_ends_as_the_request_comes(serve: Any, origin: Any, client: Any) -> None:
    """RFC 9112 section 9.3.1: what can be sent again is, once; what cannot gets 502."""
    asked: list[bytes] = []

    def second_time_away(peer: socket.socket) -> None:
        for number in range(2):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.exactly(peer, 1)
            asked.append(head.split(b" ")[0])
            if number:
                return
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server, firewall = origin(second_time_away), serve()
    opened = client.connect(firewall.address())
    opened.sendall(get(server))
    assert answer(opened, client)[1] == b"ok"
    opened.sendall(get(server))
    assert answer(opened, client)[1] == b"ok"
    assert (asked, server.connections) == ([b"GET"] * 3, 2)
    opened.sendall(get(server, method="POST"))
    assert answer(opened, client)[0].startswith(b"HTTP/1.1 502 ")
    assert (asked[3:], server.connections) == ([b"POST"], 2)


def test_bytes_that_nobody_asked_for_answer_nothing(serve: Any, origin: Any, client: Any) -> None:
    """A second response behind the first is not the answer to the next request."""

    def two(peer: socket.socket, head: bytes, body: bytes) -> bool:
        peer.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrueHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfake"
        )
        return True

    server, firewall = origin(Web(two)), serve()
    opened = client.connect(firewall.address())
    for _ in range(5):
        opened.sendall(get(server))
        assert answer(opened, client)[1] == b"true"


def test_refused(serve: Any, origin: Any, client: Any) -> None:
    """The client is told, the record is as for every connection, and its connection goes on."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    server, firewall = origin(Web()), serve()
    opened = client.connect(firewall.address())
    opened.sendall(b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % port)
    head, body = answer(opened, client)
    assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 502 Bad Gateway", b"connection refused\n")
    assert firewall.wait_row()["resultcode"] == int(HRESULT_FROM_WIN32(WSAECONNREFUSED))
    opened.sendall(get(server))
    assert answer(opened, client)[0].startswith(b"HTTP/1.1 200 ")


DENIES = """
[[network]]
name = "good"
ranges = ["127.0.0.1"]

[[rule]]
name = "good alone"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["good"]
"""


def test_each_request_is_judged_by_its_own_target(serve: Any, origin: Any, client: Any) -> None:
    """Whatever Host says, and whatever was allowed before on the same connection."""
    good, bad, firewall = origin(Web()), origin(Web(), host="127.0.0.2"), serve(DENIES)
    opened = client.connect(firewall.address())
    for _ in range(3):
        opened.sendall(get(good))
        assert answer(opened, client)[0].startswith(b"HTTP/1.1 200 ")
        opened.sendall(get(bad).replace(b"somewhere.else", b"127.0.0.1"))
        assert answer(opened, client)[0].startswith(b"HTTP/1.1 403 ")
    assert bad.connections == 0
    assert len(firewall.wait_rows(3, resultcode=int(FWX_E_POLICY_RULES_DENIED), Action=int(Action.Denied))) == 3


def test_refused_with_a_body_to_come(serve: Any, client: Any, origin: Any) -> None:
    """The refusal arrives although the body is not read to its end."""
    bad, firewall = origin(Web(), host="127.0.0.2"), serve(DENIES)
    opened = client.connect(firewall.address())
    opened.sendall(get(bad, "/", "Content-Length: 500000", method="PUT") + bytes(400_000))
    assert client.to_end(opened).startswith(b"HTTP/1.1 403 ")
    firewall.wait_base_line()


def test_malformed_after_a_good_request(serve: Any, origin: Any, client: Any) -> None:
    """400, a record with the reason, and the end."""
    server, firewall = origin(Web()), serve()
    for data, reason in (
        (get(server).replace(b"else\r\n", b"else\n"), "a line ends with LF alone"),
        (get(server).replace(b"GET", b"CONNECT"), "CONNECT has to be the first request"),
        (get(server, "/", "Transfer-Encoding: chunked", "Content-Length: 3"), "both Content-Length and"),
    ):
        opened = client.connect(firewall.address())
        opened.sendall(get(server))
        answer(opened, client)
        opened.sendall(data)
        assert client.to_end(opened).startswith(b"HTTP/1.1 400 ")
        row = firewall.wait_row(SourcePort=opened.getsockname()[1], Action=int(Action.Failed))
        assert reason in row["reason"]
        opened.close()
    firewall.wait_base_line()


def test_a_malformed_body(serve: Any, origin: Any, client: Any) -> None:
    """What has gone to the server already is no whole request there, and the connection to it is reset."""
    web = Web()
    server, firewall = origin(web), serve()
    opened = client.connect(firewall.address())
    opened.sendall(get(server, "/", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\nx\r\n")
    assert client.to_end(opened).startswith(b"HTTP/1.1 400 ")
    rows = firewall.wait_rows(2)
    assert any("illegal chunk header" in row["reason"] for row in rows)
    assert web.bodies == []
    firewall.wait_base_line()


@pytest.mark.parametrize("when", ["before an answer", "within an answer", "within a body"])
def test_the_client_goes_away(serve: Any, origin: Any, client: Any, eventually: Any, when: str) -> None:
    """The onward connection ends, and nothing is left."""

    def handler(peer: socket.socket) -> None:
        peer.recv(65536)
        if when == "within an answer":
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        while peer.recv(65536):
            pass

    server, firewall = origin(handler), serve()
    opened = client.connect(firewall.address())
    opened.sendall(get(server, "/", *(["Content-Length: 9"] if when == "within a body" else [])))
    if when == "within an answer":
        client.exactly(opened, 20)
    else:
        eventually(lambda: server.connections, "the onward connection")
    client.reset(opened)
    firewall.wait_row(DestinationPort=server.port)
    firewall.wait_base_line()


def test_a_client_that_half_closes_gets_its_answer(serve: Any, origin: Any, client: Any) -> None:
    server, firewall = origin(Web()), serve()
    opened = client.connect(firewall.address())
    opened.sendall(get(server, "/1") + get(server, "/2"))
    opened.shutdown(socket.SHUT_WR)
    data = client.to_end(opened)
    assert data.count(b"HTTP/1.1 200 OK") == 2
    assert data.endswith(b"GET /2 HTTP/1.1|")
    firewall.wait_base_line()


KEEP = "import fwx.service; fwx.service.KEEP_ALIVE_SECONDS = 0.3\n"


def test_a_client_that_says_nothing_more(serve: Any, origin: Any, client: Any) -> None:
    """It is closed, without a record of its own; one in the middle of a head gets one."""
    server, firewall = origin(Web()), serve(prelude=KEEP)
    opened = client.connect(firewall.address())
    opened.sendall(get(server))
    answer(opened, client)
    assert client.to_end(opened) == b""
    assert firewall.wait_row()["reason"] == ""
    opened = client.connect(firewall.address())
    opened.sendall(get(server))
    answer(opened, client)
    opened.sendall(b"GET http")
    assert client.to_end(opened) == b""
    assert "KEEP_ALIVE_SECONDS" in firewall.wait_row(Action=int(Action.Failed))["reason"]
    firewall.wait_base_line()


def test_limits(serve: Any, origin: Any, client: Any) -> None:
    """B11.7: a client connection has one place, whatever it asks for; each onward connection counts in the minute."""
    limits = "[limits]\ntcp_per_address = 2\ntcp_connects_per_minute_per_address = 5\n"
    servers, firewall = [origin(Web()), origin(Web())], serve(limits)
    opened = client.connect(firewall.address())
    for number in range(5):
        opened.sendall(get(servers[number % 2]))
        assert answer(opened, client)[0].startswith(b"HTTP/1.1 200 ")
    opened.sendall(get(servers[1]))
    assert answer(opened, client)[0].startswith(b"HTTP/1.1 503 ")
    row = firewall.wait_row(resultcode=int(FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED))
    assert "tcp_connects_per_minute_per_address" in row["reason"]


def test_places_are_given_back(serve: Any, origin: Any, client: Any) -> None:
    limits = "[limits]\ntcp_per_address = 1\ntcp_connects_per_minute_per_address = 1000\n"
    server, firewall = origin(Web()), serve(limits)
    for number in range(20):
        opened = client.connect(firewall.address())
        opened.sendall(
            get(server, "/", "Connection: close") if number % 2 else b"GET /no-proxy HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        assert client.to_end(opened).startswith(b"HTTP/1.1 200 " if number % 2 else b"HTTP/1.1 400 ")
        opened.close()


@pytest.mark.parametrize("state", ["idle", "half a head", "waiting for the answer"])
def test_the_service_stops(serve: Any, origin: Any, client: Any, eventually: Any, state: str) -> None:
    """An idle client does not hold it up; an exchange may end."""
    asked, server_goes_on = threading.Event(), threading.Event()

    def slow(peer: socket.socket, head: bytes, body: bytes) -> bool:
        asked.set()
        assert server_goes_on.wait(10)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True

    server, firewall = origin(Web(slow if state == "waiting for the answer" else None)), serve()
    opened = client.connect(firewall.address())
    opened.sendall(get(server))
    if state == "waiting for the answer":
        assert asked.wait(10)
    else:
        answer(opened, client)
    if state == "half a head":
        opened.sendall(b"GET http://")
    begun = time.monotonic()
    firewall.tell()
    if state == "waiting for the answer":
        eventually(lambda: "fwx: stopping" in firewall.stderr(), "the service to stop")
        server_goes_on.set()
        assert answer(opened, client)[1] == b"ok"
    firewall.wait_stopped()
    assert time.monotonic() - begun < 6
    try:
        assert opened.recv(1) == b""
    except ConnectionResetError:
        assert state == "half a head"
