"""The ways in: what happens between an accepted socket and the gateway."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from fwx.impl.gateway import Request
from fwx.impl.logrecord import Action, LogRecord
from fwx.impl.transport import INPUT
from fwx.interfaces import SocketAddress
from fwx.interfaces.enums import fwxSourceNAT, fwxSourceWSP
from fwx.interfaces.hresult import (
    FWX_E_DNS_QUOTA_EXCEEDED,
    FWX_E_IS_BUSY,
    FWX_E_NETWORK_RULES_DENIED,
    FWX_E_POLICY_RULES_DENIED,
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAEHOSTDOWN,
    WSAEHOSTUNREACH,
    WSAENETDOWN,
    WSAENETUNREACH,
    WSAETIMEDOUT,
    WSAHOST_NOT_FOUND,
    WSANO_DATA,
    WSANO_RECOVERY,
    WSATRY_AGAIN,
)
from fwx.proxy import HandshakeError, Outcome, ProxyHandshake

if TYPE_CHECKING:
    from fwx.impl.deadline import DeadlineQueue
    from fwx.impl.gateway import Gateway
    from fwx.impl.transport import Transport

logger = logging.getLogger("fwx.entries")

_BLOCK = 16 << 10
# What a refused client may still send while it reads the refusal.
_FAREWELL_BYTES = 1 << 20

_OUTCOMES = {
    int(FWX_E_POLICY_RULES_DENIED): Outcome.DENIED,
    int(FWX_E_NETWORK_RULES_DENIED): Outcome.DENIED,
    int(HRESULT_FROM_WIN32(WSAEACCES)): Outcome.DENIED,
    int(FWX_E_IS_BUSY): Outcome.BUSY,
    int(FWX_E_DNS_QUOTA_EXCEEDED): Outcome.BUSY,
    int(HRESULT_FROM_WIN32(WSAECONNREFUSED)): Outcome.CONNECTION_REFUSED,
    int(HRESULT_FROM_WIN32(WSAENETUNREACH)): Outcome.NETWORK_UNREACHABLE,
    int(HRESULT_FROM_WIN32(WSAENETDOWN)): Outcome.NETWORK_UNREACHABLE,
    int(HRESULT_FROM_WIN32(WSAEHOSTUNREACH)): Outcome.HOST_UNREACHABLE,
    int(HRESULT_FROM_WIN32(WSAEHOSTDOWN)): Outcome.HOST_UNREACHABLE,
    int(HRESULT_FROM_WIN32(WSAETIMEDOUT)): Outcome.TIMED_OUT,
    int(HRESULT_FROM_WIN32(WSAHOST_NOT_FOUND)): Outcome.NAME_NOT_FOUND,
    int(HRESULT_FROM_WIN32(WSANO_DATA)): Outcome.NAME_NOT_FOUND,
    int(HRESULT_FROM_WIN32(WSATRY_AGAIN)): Outcome.NAME_NOT_FOUND,
    int(HRESULT_FROM_WIN32(WSANO_RECOVERY)): Outcome.NAME_NOT_FOUND,
}


class Entrance:
    """What the entries of one listener share.

    :ivar pending: clients that have not got a connection yet, nor been sent away; closed when the service stops.
    """

    def __init__(
        self,
        name: str,
        gateway: Gateway,
        handshakes: DeadlineQueue,
        farewells: DeadlineQueue,
        release: Callable[[str], None],
    ) -> None:
        """*release* gives a client address its place in the limits back, where no connection object will."""
        self.name = name
        self.gateway = gateway
        self.handshakes = handshakes
        self.farewells = farewells
        self.release = release
        self.pending: set[ProxyEntry | Farewell] = set()

    def close(self) -> None:
        for entry in list(self.pending):
            entry.close()


class PublishEntry:
    """A client of a published server: it is connected to the target at once."""

    __slots__ = ("_client",)

    def __init__(self, entrance: Entrance, client: Transport, address: SocketAddress, target: SocketAddress) -> None:
        self._client = client
        entrance.gateway.open(Request(self, client, address, target, source=fwxSourceNAT, interface=entrance.name))

    def connected(self, bound: SocketAddress) -> bool:  # noqa: ARG002  a published server's client is told nothing
        return True

    def refused(self, result: int) -> None:  # noqa: ARG002  nor why
        self._client.close(True)


class ProxyEntry:
    """A client of a proxy port: it says where it wants to go, in SOCKS5 or HTTP, before the deadline."""

    __slots__ = ("_address", "_client", "_deadline", "_entrance", "_handshake")

    def __init__(self, entrance: Entrance, client: Transport, address: SocketAddress) -> None:
        self._entrance = entrance
        self._client = client
        self._address = address
        self._handshake = ProxyHandshake()
        self._deadline = entrance.handshakes.add(self._timed_out)
        entrance.pending.add(self)
        client.watch(self._event)

    def connected(self, bound: SocketAddress) -> bool:
        return self._answer(self._handshake.succeeded(bound))

    def refused(self, result: int) -> None:
        outcome = _OUTCOMES.get(int(result), Outcome.FAILED)
        self._say_farewell(self._handshake.refused(outcome))

    def close(self) -> None:
        """The service stops."""
        self._failed("the service is stopping", b"")

    def _event(self, mask: int) -> None:
        if not mask & INPUT:
            return
        while self._handshake.request is None:
            try:
                data = self._client.recv(_BLOCK)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(f"the client went away during the handshake: {error.strerror}", b"", WSAECONNRESET)
                return
            try:
                if not data:
                    self._handshake.eof()
                if not self._answer(self._handshake.receive(data)):
                    self._failed("the client does not read the handshake's replies", b"")
                    return
            except HandshakeError as error:
                self._failed(error.reason, error.reply)
                return
        self._open()

    def _open(self) -> None:
        request = self._handshake.request
        assert request is not None
        self._deadline.cancel()
        self._entrance.pending.discard(self)
        self._entrance.gateway.open(
            Request(
                self,
                self._client,
                self._address,
                request.target,
                source=fwxSourceWSP,
                interface=self._entrance.name,
                agent=request.agent,
                early=request.early,
            )
        )

    def _answer(self, reply: bytes) -> bool:
        """Send a reply; it is small and the socket's buffer is empty, so it goes whole or not at all."""
        if not reply:
            return True
        try:
            return self._client.send(reply) == len(reply)
        except OSError as error:
            logger.debug("%s: %s", self._address, error)
            return False

    def _timed_out(self) -> None:
        self._failed("the handshake was not complete before the deadline (handshake_seconds)", b"", WSAETIMEDOUT)

    def _failed(self, reason: str, reply: bytes, code: int = WSAECONNABORTED) -> None:
        entrance = self._entrance
        self._deadline.cancel()
        entrance.pending.discard(self)
        engine = entrance.gateway.engine
        engine.write_record(
            LogRecord(
                time=engine.wall_clock(),
                action=Action.Failed,
                servername=engine.server_name,
                source_ip=self._address.host,
                source_port=self._address.port,
                resultcode=int(HRESULT_FROM_WIN32(code)),
                interface=entrance.name,
                reason=reason,
            )
        )
        entrance.release(self._address.host)
        self._say_farewell(reply)

    def _say_farewell(self, reply: bytes) -> None:
        if reply and self._answer(reply):
            Farewell(self._entrance, self._client)
        else:
            self._client.close(False)


class Farewell:
    """Lets a client read its refusal: closing with data unread would reset the connection and take the reply away."""

    __slots__ = ("_client", "_deadline", "_entrance", "_left")

    def __init__(self, entrance: Entrance, client: Transport) -> None:
        self._entrance = entrance
        self._client = client
        self._left = _FAREWELL_BYTES
        self._deadline = entrance.farewells.add(self.close)
        entrance.pending.add(self)
        client.shutdown_write()
        client.watch(self._event)
        self._event(INPUT)

    def close(self) -> None:
        self._deadline.cancel()
        self._entrance.pending.discard(self)
        self._client.close(False)

    def _event(self, _mask: int) -> None:
        while self._left > 0:
            try:
                data = self._client.recv(_BLOCK)
            except BlockingIOError:
                return
            except OSError:
                break
            if not data:
                break
            self._left -= len(data)
        self.close()
