"""Rules about plain HTTP in a running service: URLs of each request, content types of each response."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FWX_E_POLICY_RULES_DENIED
from tests.integration.test_http_forwarding import Web, answer, get

RULES = """
[[network]]
name = "here"
ranges = ["127.0.0.0/24"]

[[network]]
name = "elsewhere"
ranges = ["192.0.2.0/24"]

[[network_rule]]
name = "out"
from = ["elsewhere"]
to = ["external"]
relation = "nat"

[[computers]]
name = "servers"
ranges = ["127.0.0.1"]

[[urls]]
name = "secret"
urls = ["127.0.0.1:*/secret/*"]

[[urls]]
name = "files"
urls = ["127.0.0.1:*/files/*"]

[[system_rule]]
name = "no secrets"
action = "deny"
protocols = ["any"]
from = ["localhost"]
to = ["secret"]

[[rule]]
name = "files"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["files"]
content_types = ["text/*"]

[[rule]]
name = "images"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["servers"]
content_types = ["image/png"]
"""
CONTENT = {
    b"html": b"Content-Type: Text/HTML; charset=utf-8\r\n",
    b"png": b"Content-Type: image/png\r\n",
    b"exe": b"Content-Type: application/x-msdownload\r\n",
    b"two": b"Content-Type: text/html\r\nContent-Type: application/x-msdownload\r\n",
    b"taken": b"Connection: close, Content-Type\r\nContent-Type: text/html\r\n",
    b"none": b"",
}


def typed(client: socket.socket, head: bytes, body: bytes) -> bool:
    """Answer with the type that the path ends in."""
    path = head.split(b" ")[1]
    if path.endswith(b"empty"):
        client.sendall(b"HTTP/1.1 204 No Content\r\nContent-Type: application/x-msdownload\r\n\r\n")
        return True
    content, text = CONTENT[path.rpartition(b"/")[2]], b"body of " + path
    length = b"Content-Length: %d\r\n\r\n" % len(text)
    client.sendall(b"HTTP/1.1 200 OK\r\n" + content + length + (b"" if head.startswith(b"HEAD") else text))
    return True


@pytest.mark.path(entry="http", exit="direct", transport="tcp")
def test_each_request_and_each_response(serve: Any, origin: Any, client: Any) -> None:
    """B7.2, B7.3, B7.7: on one connection of the client; what is refused has not reached it, and goes on."""
    web = Web(typed)
    server, firewall = origin(web), serve(RULES)
    opened = client.connect(firewall.address())

    def ask(path: str, **more: Any) -> tuple[bytes, bytes]:
        opened.sendall(get(server, path, **more))
        head, body = answer(opened, client, has_body=more.get("method") != "HEAD")
        return head.split(b" ")[1], body

    assert ask("/files/html") == (b"200", b"body of /files/html")
    assert ask("/files/html") == (b"200", b"body of /files/html")
    assert server.connections == 1
    # The request may go, the response may not come; the client's connection goes on.
    for content in ("exe", "two", "none", "taken"):
        status, body = ask(f"/files/{content}")
        assert (status, b"body of" in body) == (b"403", False), content
    # Another rule below allows what the first does not.
    assert ask("/files/png") == (b"200", b"body of /files/png")
    assert ask("/files/exe", method="HEAD")[0] == b"200"
    # A denied path, however it is written, over the connection that is kept.
    asked, connections = len(web.heads), server.connections
    for path in ("/secret/html", "/SECRET/html", "/%73ecret/html", "/files/../secret/html", "//secret%2fhtml", "/%"):
        assert ask(path)[0] == b"403", path
    assert (len(web.heads), server.connections) == (asked, connections)
    # What the first rule has no URL for, the other one asks for an image.
    assert ask("/other/html")[0] == b"403"
    assert ask("/other/png")[0] == b"200"
    # What has no body has no type.
    opened.sendall(get(server, "/files/empty"))
    assert client.exactly(opened, 23) == b"HTTP/1.1 204 No Content"
    opened.close()
    # A tunnel shows no URL, so that no rule about URLs or content allows it.
    tunnel = client.connect(firewall.address())
    tunnel.sendall(f"CONNECT {server.host}:{server.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert client.exactly(tunnel, 12) == b"HTTP/1.1 403"
    rows = firewall.wait_rows(8 + 6 + 1)
    told = [row["reason"] for row in rows if row["resultcode"] == FWX_E_POLICY_RULES_DENIED]
    assert (
        sum(reason.startswith("HTTP: the response is application/x-msdownload: no rule allows") for reason in told) == 1
    )
    assert sum(reason.startswith("HTTP: the response is of no clear type: no rule") for reason in told) == 3
    denied = [row for row in rows if row["Action"] == Action.Denied]
    assert [row["rule"] for row in denied] == ["no secrets"] * 6 + ["Default rule"]
    firewall.wait_base_line()
