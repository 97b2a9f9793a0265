"""An onward connection of a client that speaks plain HTTP, seen from its client's side."""

from __future__ import annotations

import logging
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from fwx.impl.contenttype import sent_type
from fwx.impl.rejudgement import judge_request
from fwx.impl.request import Request
from fwx.impl.transport import INPUT
from fwx.impl.urlset import Url
from fwx.impl.webrequest import WebRequest
from fwx.interfaces import SocketAddress
from fwx.interfaces.enums import fwxSourceWSP
from fwx.pipe import pipe
from fwx.proxy.http_forward import ForwardRequest, ServerSide, content_types

if TYPE_CHECKING:
    import h11

    from fwx.entrance import Arrival, Entrance
    from fwx.impl.connection import FWXConnection
    from fwx.impl.deadline import Deadline
    from fwx.impl.policy import Verdict
    from fwx.impl.user import FWXAuthenticatedUser

logger = logging.getLogger("fwx.onward")

_BLOCK = 64 << 10
_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


def web_request(request: ForwardRequest) -> WebRequest:
    """Return what the rules are to hear of *request*."""
    return WebRequest(Url.of(request.target, request.message.target.decode("ascii")))


def content_of(request: ForwardRequest, response: h11.Response) -> str | None:
    """Return the content type of a *response*, as its client gets it and rules compare it (B7.7); ``None`` where no
    body can follow."""
    if request.message.method == b"HEAD" or response.status_code in _WITHOUT_BODY:
        return None
    if [value for name, value in response.headers if name == b"content-length"] == [b"0"]:
        return None
    return sent_type(content_types(response))


def content_words(request: ForwardRequest, response: h11.Response) -> str:
    """Say for the log what the *response* holds; its type is a token, so no field can forge a record."""
    return f"the response is {content_of(request, response) or 'of no clear type'}"


class Forwarder(Protocol):
    """Whom an onward connection belongs to (:class:`fwx.http_forwarder.HttpForwarder`)."""

    entrance: Entrance
    arrival: Arrival
    request: ForwardRequest | None
    user: FWXAuthenticatedUser | None

    def connected(self, onward: Onward) -> bool: ...

    def refused(self, onward: Onward, result: int) -> None: ...

    def onward_event(self, onward: Onward) -> None: ...

    def onward_gone(self, onward: Onward) -> None: ...


class Onward:
    """One onward connection; the gateway's entry for it."""

    __slots__ = (
        "_deadline",
        "_far",
        "_forwarder",
        "_request",
        "body_ended",
        "exchanges",
        "is_leaving",
        "near",
        "pending",
        "readable",
        "side",
        "target",
        "user",
    )

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        arrival = forwarder.arrival
        assert forwarder.request is not None
        self.target = forwarder.request.target
        self.user = forwarder.user
        queue = forwarder.entrance.gateway.engine.queue
        self.near, self._far = pipe(queue, arrival.address.sockaddr, arrival.destination.sockaddr)
        self.side = ServerSide()
        self.pending: Any = b""
        self.readable = False
        self.body_ended = False
        self.exchanges = 0
        self.is_leaving = False
        self._deadline: Deadline | None = None
        # What the gateway was asked for, while the connection is there.
        self._request: Request | None = None
        self.near.watch(self._event)

    @property
    def can_be_used(self) -> bool:
        """Another request may go to the server."""
        return not (self.pending or self.is_leaving or self.near.has_data()) and self.side.is_reusable

    def open(self, request: ForwardRequest) -> None:
        """Ask the gateway for the connection, for *request* first."""
        entrance, arrival = self._forwarder.entrance, self._forwarder.arrival
        self._request = Request(
            self,
            self._far,
            arrival.address,
            self.target,
            source=fwxSourceWSP,
            interface=entrance.name,
            agent=request.agent,
            user=self.user,
            source_proxy=arrival.source_proxy,
            proxy_header=arrival.header,
            web=web_request(request),
        )
        entrance.gateway.open(self._request)

    def allows(self, request: ForwardRequest) -> bool:
        """Tell whether *request* may go over this connection: what is no first request is judged here.

        Where another rule decides, it may have other filters and another way out, so it needs a connection of its own.
        """
        connection = self._connection
        if connection is None or not connection.engine.policy.judges_requests:
            return True  # the target and the user are all that there is to judge
        if connection.is_secondary:
            return False
        verdict = judge_request(connection, web_request(request))
        return verdict.allowed and verdict.rule == connection.verdict.rule

    def complaint(self, request: ForwardRequest, response: h11.Response) -> Verdict | None:
        """Return what the rules say against the *response* to *request*, of which the head alone has come (B7.7)."""
        connection = self._connection
        if connection is None or connection.is_secondary or not connection.engine.policy.judges_content:
            return None
        content = content_of(request, response)
        if content is None:
            return None
        connection.web = replace(web_request(request), content=content)
        verdict = judge_request(connection, connection.web)
        return None if verdict.allowed else verdict

    def deny(self, verdict: Verdict, reason: str) -> None:
        """End the connection, whose response the rules do not allow; the log has the *reason*."""
        connection = self._connection
        self.is_leaving = True
        if connection is not None:
            connection.end(verdict.hresult, reason)
        self.abort()

    @property
    def _connection(self) -> FWXConnection | None:
        return None if self._request is None else self._request.connection

    def begin(self, request: ForwardRequest) -> None:
        """Send a request's head; its body follows."""
        if self._connection is not None:
            self._connection.web = web_request(request)
        self.pending = self.side.begin(request)
        self.body_ended = False
        self.exchanges += 1

    def flush(self) -> bool:
        """Send what is pending; tell whether something went. :raises OSError: the connection is gone."""
        if not self.pending:
            return False
        try:
            count = self.near.send(self.pending)
        except BlockingIOError:
            return False
        self.pending = memoryview(self.pending)[count:] if count < len(self.pending) else b""
        return True

    def receive(self) -> bool:
        """Read once; tell whether there was something. :raises OSError: the connection was reset."""
        if not self.readable:
            return False
        try:
            data = self.near.recv(_BLOCK)
        except BlockingIOError:
            self.readable = False
            return False
        if data:
            self.side.receive(data)
        else:
            self.readable = False
            self.side.end()
        return True

    def leave(self) -> None:
        """End the connection: the server gets FIN and is waited for, for a short while."""
        if not self.is_leaving:
            self.is_leaving = True
            self._deadline = self._forwarder.entrance.farewells.add(self.abort)
            self.near.shutdown_write()
            self._drain()

    def abort(self) -> None:
        """Reset the connection."""
        self._close(True)

    # The gateway's side.

    def connected(self, bound: SocketAddress) -> bool:  # noqa: ARG002  HTTP does not tell the local address
        return self._forwarder.connected(self)

    def refused(self, result: int) -> None:
        self._request = None
        self._far.close(False)
        self.near.close(False)
        self._forwarder.refused(self, result)

    def _event(self, mask: int) -> None:
        if mask & INPUT:
            self.readable = True
        if self.is_leaving:
            self._drain()
        else:
            self._forwarder.onward_event(self)

    def _drain(self) -> None:
        try:
            while self.near.recv(_BLOCK):
                pass
        except BlockingIOError:
            return
        except OSError as error:
            logger.debug("the connection to %s did not end well: %s", self.target, error)
        self._close(False)

    def _close(self, abortive: bool) -> None:
        if self.near.closed:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self.is_leaving = True
        self._request = None
        self.near.close(abortive)
        self._forwarder.onward_gone(self)
