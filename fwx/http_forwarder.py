"""A client of a proxy port that speaks plain HTTP: its requests go out over connections of the engine.

Each onward connection is one like any other: asked of the gateway, judged, shown to filters, pumped, counted, logged.
What the engine takes for its client is one end of a pipe; the other end is here, between the codecs of the client's and
of the server's HTTP. So filters see what the server gets and what the server sends, and nothing of the proxy's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11

from fwx.entrance import Farewell, outcome_of
from fwx.impl.logrecord import Action
from fwx.impl.transport import ERROR, HANGUP, INPUT
from fwx.interfaces.hresult import (
    FWX_E_NOT_AUTHENTICATED,
    HRESULT,
    HRESULT_FROM_WIN32,
    WSAECONNABORTED,
    WSAECONNRESET,
    WSAETIMEDOUT,
)
from fwx.onward import Onward, content_words
from fwx.proxy import Outcome
from fwx.proxy.http_answer import Answer
from fwx.proxy.http_forward import ClientSide, ForwardError, ForwardRequest

if TYPE_CHECKING:
    from fwx.crowd import Refusal
    from fwx.entrance import Arrival, Entrance
    from fwx.impl.authentication import Checked
    from fwx.impl.deadline import Deadline
    from fwx.impl.user import FWXAuthenticatedUser

logger = logging.getLogger("fwx.http_forwarder")

_BLOCK = 64 << 10
# Steps for one client before the others get their turn.
_ROUNDS = 32


class _State(Enum):
    """What the client's connection waits for."""

    HEAD = auto()
    PASSWORD = auto()
    ROOM = auto()  # the end of the last onward connection
    CONNECTION = auto()
    EXCHANGE = auto()
    END = auto()


class HttpForwarder:
    """One client's connection, from its first request to its end.

    :ivar request: the request that is under way. :ivar user: whom its client is known as.
    """

    def __init__(self, entrance: Entrance, arrival: Arrival, deadline: Deadline) -> None:
        """Take over the client; what it sent so far is ``arrival.early``. *deadline* is that of the first head."""
        self.entrance = entrance
        self.arrival = arrival
        self.request: ForwardRequest | None = None
        self.user: FWXAuthenticatedUser | None = None
        self._client = arrival.client
        self._side = ClientSide(arrival.early)
        self._state = _State.HEAD
        self._onward: Onward | None = None
        self._leaving: set[Onward] = set()
        self._pending: Any = b""
        self._readable = False
        self._client_ended = False
        self._opened = 0
        self._repeated = False
        self._answered = 0
        self._stops = False
        self._closed = False
        self._is_advancing = False
        self._cancel_check: Callable[[], None] | None = None
        self._deadline: Deadline = deadline
        deadline.callback = self._timed_out
        entrance.forwarders.add(self)
        self._client.watch(self._event)
        self._advance()

    def close(self) -> None:
        """The service stops: an exchange that is under way may end; at the second call it has had its time."""
        if self._closed:
            return
        if self._stops or self._state is _State.PASSWORD:
            self._abort("the service is stopping")
            return
        self._stops = True
        if self._state is _State.HEAD:
            if self._is_idle:
                self._end(b"")
            else:
                self._abort("the service is stopping")

    # What the onward connections tell.

    def connected(self, onward: Onward) -> bool:
        """*onward* is there; the request may be sent."""
        if self._closed or onward is not self._onward:
            return False
        self._begin_exchange(onward)
        self._advance()
        return True

    def refused(self, onward: Onward, result: int) -> None:
        """There is no *onward*, because of the HRESULT *result*; the log knows."""
        if self._closed or onward is not self._onward:
            return
        self._onward = None
        if self._side.response_begun:
            self._end(b"", abortive=True)
            return
        self._answer(Answer.to(outcome_of(result), self.entrance.demand))
        self._advance()

    def onward_event(self, onward: Onward) -> None:
        """Something came from *onward*, or it has room."""
        if onward is not self._onward:
            return
        if self._state is _State.EXCHANGE:
            self._advance()
        elif onward.near.has_data() and self._state in (_State.HEAD, _State.PASSWORD):
            # Between two requests a server has nothing to say but that it has closed.
            self._leave(onward)

    def onward_gone(self, onward: Onward) -> None:
        """*onward* has ended."""
        self._leaving.discard(onward)
        if self._onward is onward:
            self._onward = None
        if self._state is _State.ROOM and not self._leaving and not self._closed:
            self._open()
            self._advance()

    # Going on.

    def _event(self, mask: int) -> None:
        if self._closed:
            return
        if mask & (ERROR | HANGUP):
            self._abort("the client went away", WSAECONNRESET)
            return
        if mask & INPUT:
            self._readable = True
        self._advance()

    def _advance(self) -> None:
        """Go on as far as the client and the onward connection let."""
        if self._is_advancing:
            return
        self._is_advancing = True
        try:
            for _ in range(_ROUNDS):
                if self._closed or not self._step():
                    return
            self.entrance.gateway.engine.queue.defer(self._advance)
        except ForwardError as error:
            self._refuse(error)
        finally:
            self._is_advancing = False

    def _step(self) -> bool:
        """Do what can be done now, once in each direction; tell whether anything could."""
        moved = self._flush()
        if self._closed:
            return False
        if self._state is _State.HEAD:
            return self._next_request() or moved
        onward = self._onward
        if self._state is not _State.EXCHANGE or onward is None:
            return moved
        try:
            moved = self._move_response(onward) or moved
            if self._state is _State.EXCHANGE and onward is self._onward:
                moved = self._move_request(onward) or moved
        except OSError:
            self._lost(onward, "it was reset")
            return True
        return moved

    def _flush(self) -> bool:
        """Send to the client what is pending; tell whether something went."""
        if not self._pending:
            return False
        try:
            count = self._client.send(self._pending)
        except BlockingIOError:
            return False
        except OSError:
            self._abort("the client went away", WSAECONNRESET)
            return False
        self._pending = memoryview(self._pending)[count:] if count < len(self._pending) else b""
        if not self._pending and self._state is _State.END:
            self._end(b"")
        return True

    def _receive(self) -> bool:
        """Read from the client once; tell whether something came, its end included."""
        if self._client_ended or not self._readable:
            return False
        try:
            data = self._client.recv(_BLOCK)
        except BlockingIOError:
            self._readable = False
            return False
        except OSError:
            self._abort("the client went away", WSAECONNRESET)
            return False
        if data:
            self._side.receive(data)
        else:
            self._client_ended = True
        return True

    def _next_request(self) -> bool:
        """Take the next request, where nothing is left to be told about the last one."""
        if self._pending:
            return False
        request = self._side.next_request()
        if request is not None:
            self._take(request)
            return True
        if self._receive():
            return True
        if self._client_ended:
            if self._is_idle:
                self._end(b"")
            else:
                self._failed("the client closed before its HTTP request head was complete")
        return False

    def _move_response(self, onward: Onward) -> bool:
        """Move a part of the response to where it is pending for the client."""
        if self._pending:
            return False
        try:
            event = onward.side.next()
            if event is None:
                return onward.receive()
            if isinstance(event, h11.Response) and self._denies(onward, event):
                return True
            if isinstance(event, h11.Response | h11.InformationalResponse):
                self._pending = self._side.respond(event)
            elif isinstance(event, h11.Data):
                self._pending = self._side.send_body(bytes(event.data))
            else:
                self._pending = self._side.end_response()
                self._end_exchange(onward)
        except ForwardError as error:
            self._lost(onward, error.reason, error)
        return True

    def _move_request(self, onward: Onward) -> bool:
        """Move a part of the request's body towards the server."""
        if onward.pending or onward.body_ended:
            return onward.flush()
        data = self._side.read_body()
        if data:
            onward.pending = onward.side.send_body(data)
        elif self._side.request_ended:
            onward.pending = onward.side.end_body()
            onward.body_ended = True
        elif not self._receive():
            if self._client_ended:
                self._failed("the client closed before its request was complete")
            return False
        return True

    # One request.

    @property
    def _is_idle(self) -> bool:
        """The client is between two requests."""
        return self._state is _State.HEAD and self._answered > 0 and not self._side.has_begun

    def _take(self, request: ForwardRequest) -> None:
        """A request has come: find out whose it is."""
        self._deadline.cancel()
        self.request, self._repeated = request, False
        refused = self.entrance.limits.request(self.arrival.address.host)
        if refused is not None:
            self._turn_away(refused)
            return
        credentials, demand = request.credentials, self.entrance.demand
        if demand != "off" and credentials is not None:
            self._state = _State.PASSWORD
            self._cancel_check = self.entrance.doorkeeper.check(self.arrival.address.host, credentials, self._checked)
        elif demand == "required":
            reason = "authentication is required"
            self.entrance.log(self.arrival.address, Action.Denied, FWX_E_NOT_AUTHENTICATED, f"HTTP: {reason}")
            self._answer(Answer(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, reason))
        else:
            self.user = None
            self._route()

    def _checked(self, result: Checked) -> None:
        """The password was checked."""
        self._cancel_check = None
        assert self.request is not None
        if result.user is None:
            credentials = self.request.credentials
            claimed = "" if credentials is None else credentials.user
            self.entrance.log(self.arrival.address, Action.Denied, FWX_E_NOT_AUTHENTICATED, result.reason, claimed)
            self._answer(Answer(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, "user or password is wrong"))
        else:
            self.user = result.user
            self._route()
        self._advance()

    def _route(self) -> None:
        """Send the request on: over the connection there is, or over a new one once that has ended."""
        onward, request = self._onward, self.request
        assert request is not None
        if onward is not None:
            same = (onward.target, onward.user) == (request.target, self.user)
            if onward.can_be_used and same and onward.allows(request):
                self._begin_exchange(onward)
                return
            self._leave(onward)
        if self._leaving:
            self._state = _State.ROOM
        else:
            self._open()

    def _open(self) -> None:
        """Begin a new onward connection; the first one is counted with the client's own."""
        if self._opened:
            refused = self.entrance.limits.begin(self.arrival.address.host)
            if refused is not None:
                self._turn_away(refused)
                return
        self._opened += 1
        self._state = _State.CONNECTION
        self._onward = Onward(self)
        assert self.request is not None
        self._onward.open(self.request)

    def _turn_away(self, refused: Refusal) -> None:
        """A limit of the client is exceeded."""
        if self.entrance.limits.logs:
            self.entrance.log(self.arrival.address, Action.Denied, *refused)
        self._answer(Answer.to(Outcome.BUSY, self.entrance.demand))

    def _begin_exchange(self, onward: Onward) -> None:
        assert self.request is not None
        self._state = _State.EXCHANGE
        onward.begin(self.request)

    def _end_exchange(self, onward: Onward) -> None:
        """The response is complete."""
        self._answered += 1
        if not self._side.can_continue or not onward.can_be_used or self._stops:
            self._leave(onward, abortive=not self._side.request_ended or bool(onward.pending))
        self._next_cycle()

    def _denies(self, onward: Onward, response: h11.Response) -> bool:
        """Refuse a response that the rules do not allow, before any of it has gone out; tell whether that is so."""
        assert self.request is not None
        verdict = onward.complaint(self.request, response)
        if verdict is None:
            return False
        told = FWX_E_NOT_AUTHENTICATED if verdict.needs_user else verdict.hresult
        self._leaving.add(onward)
        self._onward = None
        onward.deny(verdict, f"HTTP: {content_words(self.request, response)}: {verdict.reason}")
        self._answer(Answer.to(outcome_of(told), self.entrance.demand))
        return True

    def _lost(self, onward: Onward, reason: str, error: ForwardError | None = None) -> None:
        """The server is gone, or its response is none."""
        request = self.request
        assert request is not None
        # A kept connection may end just when a request is sent (RFC 9112 section 9.3.1).
        repeats = onward.exchanges > 1 and not onward.side.answered and request.is_repeatable and not self._repeated
        self._leave(onward, abortive=True)
        if repeats:
            self._repeated = True
            self._route()
            return
        error = error or ForwardError(HTTPStatus.BAD_GATEWAY, f"the server's response: {reason}")
        self.entrance.log(self.arrival.address, Action.Failed, HRESULT_FROM_WIN32(WSAECONNABORTED), error.reason)
        if self._side.response_begun:
            self._end(b"", abortive=True)
        else:
            self._answer(error.answer)

    def _answer(self, answer: Answer) -> None:
        """Answer the request ourselves; the connection goes on where the request has no body that is still to come."""
        self._answered += 1
        try:
            self._side.read_body()
        except ForwardError as error:
            logger.debug("%s: after it was answered: %s", self.arrival.address, error.reason)
        self._pending = b"".join((self._pending, self._side.answer(answer)))
        self._next_cycle()

    def _next_cycle(self) -> None:
        self.request = None
        if not self._side.can_continue or self._stops:
            self._state = _State.END
            if not self._pending:
                self._end(b"")
            return
        self._side.next_cycle()
        self._state = _State.HEAD
        self._deadline = self.entrance.keep_alives.add(self._timed_out)

    # The end.

    def _leave(self, onward: Onward, *, abortive: bool = False) -> None:
        self._leaving.add(onward)
        self._onward = None
        if abortive:
            onward.abort()
        else:
            onward.leave()

    def _timed_out(self) -> None:
        if self._is_idle:
            self._end(b"")
        else:
            seconds = "handshake_seconds" if not self._answered else "fwx.service.KEEP_ALIVE_SECONDS"
            self._failed(f"the handshake was not complete before the deadline ({seconds})", WSAETIMEDOUT)

    def _refuse(self, error: ForwardError) -> None:
        """The request is malformed, or none that is forwarded."""
        self.entrance.log(self.arrival.address, Action.Failed, HRESULT_FROM_WIN32(WSAECONNABORTED), error.reason)
        if self._side.response_begun or self._pending:
            self._end(b"", abortive=True)
        else:
            self._end(self._side.last_words(error.answer))

    def _failed(self, reason: str, code: int = WSAECONNABORTED) -> None:
        """The client did not finish its request."""
        self.entrance.log(self.arrival.address, Action.Failed, HRESULT_FROM_WIN32(code), reason)
        self._end(b"", abortive=self._side.response_begun)

    def _abort(self, reason: str, code: int = WSAECONNABORTED) -> None:
        """The client is gone, or has to go. An onward connection has a record of its own."""
        if self._state in (_State.HEAD, _State.PASSWORD) and not self._is_idle:
            result: HRESULT = HRESULT_FROM_WIN32(code)
            self.entrance.log(self.arrival.address, Action.Failed, result, f"{reason} during the handshake")
        self._end(b"", abortive=True)

    def _end(self, reply: bytes, *, abortive: bool = False) -> None:
        """End all there is; *reply* is sent first."""
        if self._closed:
            return
        self._closed = True
        self._deadline.cancel()
        cancel, self._cancel_check = self._cancel_check, None
        if cancel is not None:
            cancel()
        if self._onward is not None:
            self._leave(self._onward, abortive=abortive or self._state is not _State.HEAD)
        self.entrance.forwarders.discard(self)
        self.entrance.release(self.arrival.address)
        if abortive:
            self._client.close(True)
        elif reply:
            self.entrance.say_farewell(self._client, reply)
        elif self._state is _State.END:
            Farewell(self.entrance, self._client)
        else:
            self._client.close(False)
