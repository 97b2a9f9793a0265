"""Plain HTTP through the proxy port (RFC 9112 section 3.2.2): the client's side and the server's, without I/O.

A client sends requests in absolute form, any number on one connection; each goes to the server that it names, in origin
form. Messages are read and written by h11, one :class:`h11.Connection` for each, so that nothing of one can be taken
for a part of the next; what two readers could read differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import h11

from fwx.interfaces.address import SocketAddress
from fwx.proxy.http_answer import Answer
from fwx.proxy.http_head import HeadBuffer, HeadError, basic_credentials, field, parse_authority, without_data
from fwx.proxy.request import LONGEST_HANDSHAKE, Credentials, printable, quoted

_PORT: Final = 80
_ABSOLUTE: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)")
_END_OF_CHUNKS: Final = b"\r\n\r\n"
# What holds for one connection only (RFC 9110 section 7.6.1), beside what Connection names and what begins with proxy-.
_HOP_BY_HOP: Final = frozenset({b"connection", b"keep-alive", b"te", b"trailer", b"upgrade"})
_FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})
# Of the fields that begin with proxy-, this one is about the whole way (RFC 9209 section 2).
_END_TO_END: Final = frozenset({b"proxy-status"})
# What may be asked a second time where the first time was not answered (RFC 9110 section 9.2.2), and has no body.
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

Fields = list[tuple[bytes, bytes]]


class ForwardError(Exception):
    """A message that is refused. ``reason`` is for the log and quotes no field; ``answer`` is for the client."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.reason = f"HTTP: {reason}"
        self.answer = Answer(status, reason)


@dataclass(frozen=True, slots=True)
class ForwardRequest:
    """One request of a client, fit to be sent on.

    ``target`` is whom it is for, with the name as the client spelled it. ``message`` is the request in origin form,
    without what concerned the proxy alone. ``is_repeatable`` says that it may be sent again where no answer came.
    """

    target: SocketAddress
    credentials: Credentials | None
    agent: str
    message: h11.Request
    is_repeatable: bool


class ClientSide:
    """The client's connection: requests come out one after the other, responses go in.

    What was received is read by :meth:`next_request`, then by :meth:`read_body` until :attr:`request_ended`. The
    response is written meanwhile; :meth:`next_cycle` makes ready for the next request. A request that came early waits.
    """

    __slots__ = ("_head", "_is_chunked", "_last", "_message", "_method", "request_ended")

    def __init__(self, data: bytes = b"") -> None:
        """*data* has been received already."""
        self._head = HeadBuffer()
        self._head.add(data)
        self._message: h11.Connection | None = None
        self._method = b""
        self._is_chunked = False
        self._last = b""
        self.request_ended = False

    @property
    def has_begun(self) -> bool:
        """A part of a request has come, or a request is under way."""
        return self._message is not None or len(self._head) > 0

    @property
    def is_answered(self) -> bool:
        """The response is complete."""
        return self._message is not None and self._message.our_state in (h11.DONE, h11.MUST_CLOSE)

    @property
    def can_continue(self) -> bool:
        """Request and response are complete, and both sides want to go on."""
        message = self._message
        return message is not None and message.our_state is h11.DONE and message.their_state is h11.DONE

    @property
    def response_begun(self) -> bool:
        return self._message is not None and self._message.our_state in (h11.SEND_BODY, h11.DONE, h11.MUST_CLOSE)

    def receive(self, data: bytes) -> None:
        """Take *data* from the client."""
        if self._message is None or self.request_ended:
            self._head.add(data)
        else:
            self._feed(data)

    def next_request(self) -> ForwardRequest | None:
        """Return the next request once its head is complete; its body follows.

        :raises ForwardError: it is malformed, unsupported, or nothing that a proxy takes.
        """
        try:
            head = self._head.take()
        except HeadError as error:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if error.too_long else HTTPStatus.BAD_REQUEST
            raise ForwardError(status, error.reason) from None
        if head is None:
            return None
        self._message = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HANDSHAKE)
        self.request_ended = False
        self._last = b""
        self._message.receive_data(head)
        event = self._next_event()
        assert isinstance(event, h11.Request)
        self._method = event.method
        self._is_chunked = bool(field(event, b"transfer-encoding"))
        request = _forwarded(event)
        self._feed(self._head.take_all())
        return request

    def read_body(self) -> bytes:
        """Return what has come of the body; empty when there is nothing now, or no more.

        :raises ForwardError: it is malformed.
        """
        parts = []
        while not self.request_ended:
            event = self._next_event()
            if isinstance(event, h11.Data):
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._end_request(event)
            else:
                break
        return b"".join(parts)

    def respond(self, response: h11.Response | h11.InformationalResponse) -> bytes:
        """Return the head of the server's *response* for the client; empty for an interim one that it cannot take.

        :raises ForwardError: it cannot be passed on.
        """
        assert self._message is not None
        interim = isinstance(response, h11.InformationalResponse)
        if interim and (self._message.their_http_version or b"") < b"1.1":
            return b""
        kind = h11.InformationalResponse if interim else h11.Response
        try:
            fields = [*_passed_on(response), (b"Via", response.http_version + b" fwx")]
        except ValueError as error:
            raise _bad_response(str(error)) from None
        return self._send(kind(status_code=response.status_code, reason=response.reason, headers=fields))

    def send_body(self, data: bytes) -> bytes:
        return self._send(h11.Data(data=data))

    def end_response(self) -> bytes:
        return self._send(h11.EndOfMessage())

    def answer(self, answer: Answer) -> bytes:
        """Return *answer* as the response, after which the connection goes on where :attr:`can_continue`."""
        message = self._message
        if message is None or message.our_state is not h11.SEND_RESPONSE or not self.request_ended:
            return self.last_words(answer)
        head = self._send(h11.Response(status_code=answer.status, reason=answer.status.phrase, headers=answer.fields))
        body = b"" if self._method == b"HEAD" else self._send(h11.Data(data=answer.content))
        return head + body + self.end_response()

    def last_words(self, answer: Answer) -> bytes:
        """Return *answer* as the last thing on this connection."""
        return answer.closing(body=self._method != b"HEAD")

    def next_cycle(self) -> None:
        """Make ready for the next request."""
        self._message = None
        self._method = b""
        self.request_ended = False

    def _send(self, event: h11.Event) -> bytes:
        assert self._message is not None
        try:
            return self._message.send(event) or b""
        except h11.LocalProtocolError as error:
            raise _bad_response(f"it cannot be passed on: {without_data(error)}") from None

    def _feed(self, data: bytes) -> None:
        assert self._message is not None
        if data:
            self._last = self._last[-len(_END_OF_CHUNKS) :] + data
            self._message.receive_data(data)

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        assert self._message is not None
        try:
            return self._message.next_event()
        except h11.RemoteProtocolError as error:
            raise ForwardError(HTTPStatus(error.error_status_hint), without_data(error)) from None

    def _end_request(self, event: h11.EndOfMessage) -> None:
        assert self._message is not None
        self.request_ended = True
        following = bytes(self._message.trailing_data[0])
        if self._is_chunked:
            # h11 would take a bare LF for the end, and trailers cannot be checked to the letter any more.
            consumed = self._last[: len(self._last) - len(following)]
            if event.headers or not consumed.endswith(_END_OF_CHUNKS):
                raise ForwardError(HTTPStatus.BAD_REQUEST, "the last chunk is not followed by one empty line")
        self._head.add(following)


class ServerSide:
    """The connection to one server: requests go in, one at a time, and responses come out."""

    __slots__ = ("_ended", "_head", "_message", "answered")

    def __init__(self) -> None:
        self._head = HeadBuffer()
        self._message: h11.Connection | None = None
        self._ended = False
        #: Something of the response has come.
        self.answered = False

    @property
    def is_reusable(self) -> bool:
        """Another request may be sent: the last one and its response are complete, and nothing came behind it."""
        message = self._message
        complete = message is None or (message.our_state is h11.DONE and message.their_state is h11.DONE)
        return complete and not len(self._head) and not self._ended

    def begin(self, request: ForwardRequest) -> bytes:
        """Return the head of *request* for the server; the body follows by :meth:`send_body` and :meth:`end_body`."""
        self._message = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HANDSHAKE)
        self.answered = False
        return self._message.send(request.message) or b""

    def send_body(self, data: bytes) -> bytes:
        assert self._message is not None
        return self._message.send(h11.Data(data=data)) or b""

    def end_body(self) -> bytes:
        assert self._message is not None
        return self._message.send(h11.EndOfMessage()) or b""

    def receive(self, data: bytes) -> None:
        """Take *data* from the server."""
        message = self._message
        self.answered = True
        if message is None or message.their_state is not h11.SEND_BODY:
            self._head.add(data)
        else:
            message.receive_data(data)

    def end(self) -> None:
        """The server sends no more."""
        self._ended = True
        if self._message is not None and self._message.their_state is h11.SEND_BODY:
            self._message.receive_data(b"")

    def next(self) -> h11.Event | None:
        """Return the next part of the response: interim head, head, ``Data`` or ``EndOfMessage``; ``None`` for now.

        :raises ForwardError: it is malformed, incomplete at the end, or nothing that a server may answer.
        """
        message = self._message
        if message is None or message.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED):
            return None
        if message.their_state is h11.SEND_BODY:
            return self._next_event(message)
        try:
            head = self._head.take()
        except HeadError as error:
            raise _bad_response(error.reason) from None
        if head is None:
            if self._ended:
                raise _bad_response("it closed before its response head was complete")
            return None
        message.receive_data(head)
        event = self._next_event(message)
        assert isinstance(event, h11.Response | h11.InformationalResponse)
        _check_response(event)
        if message.their_state is h11.SEND_BODY:
            # No data would be the end for h11.
            if following := self._head.take_all():
                message.receive_data(following)
            if self._ended:
                message.receive_data(b"")
        return event

    def _next_event(self, message: h11.Connection) -> h11.Event | None:
        try:
            event = message.next_event()
        except h11.RemoteProtocolError as error:
            raise _bad_response(without_data(error)) from None
        if isinstance(event, h11.EndOfMessage):
            self._head.add(bytes(message.trailing_data[0]))
        return event if isinstance(event, h11.Event) else None


def _bad_response(reason: str) -> ForwardError:
    return ForwardError(HTTPStatus.BAD_GATEWAY, f"the server's response: {reason}")


def _check_response(response: h11.Response | h11.InformationalResponse) -> None:
    """:raises ForwardError: it is not HTTP/1, framed in two ways, or only a proxy may answer so."""
    if not response.http_version.startswith(b"1."):
        raise _bad_response("it is not HTTP/1")
    if field(response, b"transfer-encoding") and field(response, b"content-length"):
        raise _bad_response("it has both Content-Length and Transfer-Encoding")
    if response.status_code in (HTTPStatus.SWITCHING_PROTOCOLS, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
        raise _bad_response(f"status {response.status_code} is no answer to a forwarded request")


def _forwarded(request: h11.Request) -> ForwardRequest:
    """Return what is sent on for *request*.

    :raises ForwardError: it is nothing that a proxy forwards.
    """
    version, method = request.http_version.decode("ascii"), request.method.decode("ascii")
    if not version.startswith("1."):
        raise ForwardError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, f"HTTP/{version} is not supported, only HTTP/1")
    if method == "CONNECT":
        raise ForwardError(HTTPStatus.BAD_REQUEST, "CONNECT has to be the first request of its connection")
    if method == "TRACE":
        raise ForwardError(HTTPStatus.NOT_IMPLEMENTED, "TRACE is not supported")
    _check_framing(request)
    target, authority, path = split_target(request.target.decode("ascii"), method)
    try:
        credentials = basic_credentials(request)
    except ValueError as error:
        raise ForwardError(HTTPStatus.BAD_REQUEST, str(error)) from None
    try:
        fields: Fields = [(b"Host", authority), *_one_hop_less(_passed_on(request), method)]
    except ValueError as error:
        raise ForwardError(HTTPStatus.BAD_REQUEST, str(error)) from None
    message = h11.Request(
        method=request.method, target=path, headers=[*fields, (b"Via", request.http_version + b" fwx")]
    )
    agent = printable(field(request, b"user-agent").decode("latin-1"))
    has_body = field(request, b"content-length") not in (b"", b"0") or bool(field(request, b"transfer-encoding"))
    return ForwardRequest(target, credentials, agent, message, method in _REPEATABLE and not has_body)


def _check_framing(request: h11.Request) -> None:
    """:raises ForwardError: two readers could find two ends of the body."""
    if field(request, b"transfer-encoding"):
        if field(request, b"content-length"):
            raise ForwardError(HTTPStatus.BAD_REQUEST, "both Content-Length and Transfer-Encoding")
        if request.http_version < b"1.1":
            raise ForwardError(HTTPStatus.BAD_REQUEST, "Transfer-Encoding in HTTP/1.0")
    expected = field(request, b"expect").lower()
    if expected not in (b"", b"100-continue"):
        raise ForwardError(HTTPStatus.EXPECTATION_FAILED, "an expectation that is not 100-continue")


def split_target(text: str, method: str) -> tuple[SocketAddress, bytes, bytes]:
    """Return of a target in absolute form the server's address, its authority as written, and the origin form.

    :raises ForwardError: it has another form or scheme, user information, or an authority that is none.
    """
    found = _ABSOLUTE.fullmatch(text)
    if found is None:
        raise ForwardError(HTTPStatus.BAD_REQUEST, f"target {quoted(text)} is not in absolute form, as for a proxy")
    scheme, authority, path = found.groups()
    if scheme.lower() != "http":
        raise ForwardError(HTTPStatus.NOT_IMPLEMENTED, f"scheme {quoted(scheme)} is not supported, only http")
    if "@" in authority:
        raise ForwardError(HTTPStatus.BAD_REQUEST, "the target holds user information")
    try:
        target = parse_authority(authority, _PORT)
    except ValueError as error:
        raise ForwardError(HTTPStatus.BAD_REQUEST, f"target: {error}") from None
    if not path.startswith("/"):
        # RFC 9112 section 3.2.4: OPTIONS without a path asks the server itself.
        path = "*" if method == "OPTIONS" and not path else f"/{path}"
    return target, authority.encode("ascii"), path.encode("ascii")


def _passed_on(message: h11.Request | h11.Response | h11.InformationalResponse) -> Fields:
    """Return the fields of *message* that are not for this hop alone; ``Host`` is left to the caller.

    :raises ValueError: ``Connection`` names a field that frames or addresses the message.
    """
    named = _named(message)
    if named & _FRAMING:
        raise ValueError("Connection names Host, Content-Length or Transfer-Encoding")
    dropped = named | _HOP_BY_HOP
    return [
        (spelled, value)
        for spelled, value in message.headers.raw_items()
        if (name := spelled.lower()) not in dropped
        and name != b"host"
        and (not name.startswith(b"proxy-") or name in _END_TO_END)
    ]


def content_types(response: h11.Response) -> list[str]:
    """Return what the ``Content-Type`` fields of *response* say that are passed on.

    There are none where ``Connection`` names them: the client does not get them, and would have to guess.
    """
    if b"content-type" in _named(response):
        return []
    return [value.decode("latin-1") for value in _values(response, b"content-type")]


def _named(message: h11.Request | h11.Response | h11.InformationalResponse) -> set[bytes]:
    """Return the names of the fields that ``Connection`` takes away."""
    return {name for value in _values(message, b"connection") for name in _listed(value)}


def _one_hop_less(fields: Iterable[tuple[bytes, bytes]], method: str) -> Iterator[tuple[bytes, bytes]]:
    """Give *fields* with ``Max-Forwards`` of an OPTIONS request lowered by one (RFC 9110 section 7.6.2).

    :raises ForwardError: the request may not be forwarded any more.
    """
    for name, value in fields:
        if method == "OPTIONS" and name.lower() == b"max-forwards" and value.isdigit():
            if int(value[:9]) == 0:
                raise ForwardError(HTTPStatus.NOT_IMPLEMENTED, "Max-Forwards is 0, and this proxy has no options")
            value = b"%d" % (int(value[:9]) - 1)
        yield name, value


def _values(message: h11.Request | h11.Response | h11.InformationalResponse, name: bytes) -> Iterator[bytes]:
    return (value for key, value in message.headers if key == name)


def _listed(value: bytes) -> Iterator[bytes]:
    return (name.strip().lower() for name in value.split(b",") if name.strip())
