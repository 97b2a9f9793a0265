"""The ways in: what happens between an accepted socket and the gateway."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from fwx.associate_entry import AssociateEntry
from fwx.bind_entry import BindEntry
from fwx.entrance import outcome_of
from fwx.http_forwarder import HttpForwarder
from fwx.impl.logrecord import Action
from fwx.impl.request import Request
from fwx.impl.transport import ERROR, HANGUP, INPUT
from fwx.interfaces import SocketAddress
from fwx.interfaces.enums import fwxSourceNAT, fwxSourceWSP
from fwx.interfaces.hresult import (
    FWX_E_NOT_AUTHENTICATED,
    HRESULT_FROM_WIN32,
    WSAECONNABORTED,
    WSAECONNRESET,
    WSAETIMEDOUT,
)
from fwx.proxy import AuthenticationError, HandshakeError, ProxyHandshake
from fwx.proxy.proxy_header import proxy_header
from fwx.resolve_entry import ResolveEntry

if TYPE_CHECKING:
    from fwx.entrance import Arrival, Entrance
    from fwx.impl.authentication import Checked
    from fwx.impl.tlsrole import Role
    from fwx.impl.user import FWXAuthenticatedUser

_BLOCK = 16 << 10


class PublishEntry:
    """A client of a published server: it is connected to the target at once."""

    __slots__ = ("_client",)

    def __init__(
        self,
        entrance: Entrance,
        arrival: Arrival,
        target: SocketAddress,
        announces: int = 0,
        to_tls: Callable[[], Role] | None = None,
    ) -> None:
        """*announces* is the version of the PROXY header that the server gets, 0 for none; *to_tls* has it get TLS."""
        self._client = arrival.client
        source, destination = arrival.address, arrival.destination
        entrance.gateway.open(
            Request(
                self,
                arrival.client,
                source,
                target,
                source=fwxSourceNAT,
                interface=entrance.name,
                early=arrival.early,
                announcement=proxy_header(announces, source, destination) if announces else b"",
                source_proxy=arrival.source_proxy,
                proxy_header=arrival.header,
                to_tls=to_tls,
                on_ended=partial(entrance.release, source),
            )
        )

    def connected(self, bound: SocketAddress) -> bool:  # noqa: ARG002  a published server's client is told nothing
        return True

    def refused(self, result: int) -> None:  # noqa: ARG002  nor why
        self._client.close(True)


class ProxyEntry:
    """A client of a proxy port: it says where it wants to go, in SOCKS or HTTP, before the deadline."""

    __slots__ = ("_address", "_arrival", "_cancel_check", "_client", "_deadline", "_entrance", "_handshake", "_user")

    def __init__(self, entrance: Entrance, arrival: Arrival) -> None:
        self._entrance = entrance
        self._arrival = arrival
        self._client = arrival.client
        self._address = arrival.address
        self._handshake = ProxyHandshake(entrance.demand)
        self._user: FWXAuthenticatedUser | None = None
        self._cancel_check: Callable[[], None] | None = None
        self._deadline = entrance.handshakes.add(self._timed_out)
        entrance.handshaking.add(self)
        arrival.client.watch(self._event)
        if arrival.early and self._take(arrival.early) and self._handshake.is_over:
            self._go_on()

    def connected(self, bound: SocketAddress) -> bool:
        return self._entrance.answer(self._client, self._handshake.succeeded(bound))

    def refused(self, result: int) -> None:
        self._entrance.say_farewell(self._client, self._handshake.refused(outcome_of(result)))

    def close(self) -> None:
        """The service stops."""
        self._failed("the service is stopping", b"")

    def _event(self, mask: int) -> None:
        if self._cancel_check is not None:
            if mask & (ERROR | HANGUP):
                self._failed("the client went away while its password was checked", b"", WSAECONNRESET)
            return
        if mask & INPUT:
            self._receive()

    def _receive(self) -> None:
        """Read and answer as far as the handshake goes."""
        while not self._handshake.is_over:
            try:
                data = self._client.recv(_BLOCK)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(f"the client went away during the handshake: {error.strerror}", b"", WSAECONNRESET)
                return
            if not self._take(data, ended=not data):
                return
        self._go_on()

    def _take(self, data: bytes, *, ended: bool = False) -> bool:
        """Give the handshake what has come; ``False`` when it has failed."""
        try:
            if ended:
                self._handshake.eof()
            return self._say(self._handshake.receive(data))
        except HandshakeError as error:
            self._refuse(error)
            return False

    def _say(self, reply: bytes) -> bool:
        if self._entrance.answer(self._client, reply):
            return True
        self._failed("the client does not read the handshake's replies", b"")
        return False

    def _go_on(self) -> None:
        """Do what the handshake has come to."""
        handshake = self._handshake
        if handshake.request is not None:
            self._open()
        elif handshake.credentials is not None:
            check = self._entrance.doorkeeper.check
            self._cancel_check = check(self._address.host, handshake.credentials, self._checked)
        elif handshake.forward is not None:
            self._entrance.handshaking.discard(self)
            HttpForwarder(self._entrance, self._arrival._replace(early=handshake.forward), self._deadline)

    def _checked(self, result: Checked) -> None:
        """The password was checked."""
        self._cancel_check = None
        credentials = self._handshake.credentials
        assert credentials is not None
        if result.user is None:
            reply = self._handshake.rejected()
            self._refuse(AuthenticationError(result.reason, reply, credentials.user))
            return
        self._user = result.user
        try:
            going_on = self._say(self._handshake.accepted())
        except HandshakeError as error:
            self._refuse(error)
            return
        if going_on:
            self._receive()

    def _open(self) -> None:
        request = self._handshake.request
        assert request is not None
        self._deadline.cancel()
        self._entrance.handshaking.discard(self)
        if request.command == "udp":
            AssociateEntry(self._entrance, self._arrival, request.target, self._handshake, self._user)
            return
        if request.command in ("resolve", "resolve-ptr"):
            ResolveEntry(self._entrance, self._arrival, self._handshake, self._user).start()
            return
        asked = Request(
            self,
            self._client,
            self._address,
            request.target,
            source=fwxSourceWSP,
            interface=self._entrance.name,
            agent=request.agent,
            early=request.early,
            user=self._user,
            claimed_user=request.claimed_user,
            source_proxy=self._arrival.source_proxy,
            proxy_header=self._arrival.header,
            on_ended=partial(self._entrance.release, self._address),
        )
        if request.command == "bind":
            BindEntry(self._entrance, self._handshake).open(asked)
        else:
            self._entrance.gateway.open(asked)

    def _timed_out(self) -> None:
        self._failed("the handshake was not complete before the deadline (handshake_seconds)", b"", WSAETIMEDOUT)

    def _refuse(self, error: HandshakeError) -> None:
        if isinstance(error, AuthenticationError):
            entrance = self._entrance
            entrance.log(self._address, Action.Denied, FWX_E_NOT_AUTHENTICATED, error.reason, error.claimed_user)
            self._leave(error.reply)
        else:
            self._failed(error.reason, error.reply)

    def _failed(self, reason: str, reply: bytes, code: int = WSAECONNABORTED) -> None:
        self._entrance.log(self._address, Action.Failed, HRESULT_FROM_WIN32(code), reason)
        self._leave(reply)

    def _leave(self, reply: bytes) -> None:
        """The client gets no connection: end all there is of it."""
        cancel, self._cancel_check = self._cancel_check, None
        if cancel is not None:
            cancel()
        self._deadline.cancel()
        self._entrance.handshaking.discard(self)
        self._entrance.release(self._address)
        self._entrance.say_farewell(self._client, reply)
