"""What the clients of one listener have in common, until they have a connection and when they are sent away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fwx.impl.logrecord import Action, LogRecord, unvouched
from fwx.impl.transport import INPUT
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import (
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_DNS_QUOTA_EXCEEDED,
    FWX_E_IS_BUSY,
    FWX_E_NETWORK_RULES_DENIED,
    FWX_E_NOT_AUTHENTICATED,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_RULE_QUOTA_EXCEEDED_DROPPED,
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAECONNREFUSED,
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
from fwx.proxy import Outcome
from fwx.proxy.request import printable

if TYPE_CHECKING:
    from fwx.associations import Associations
    from fwx.doorkeeper import Doorkeeper
    from fwx.impl.deadline import DeadlineQueue
    from fwx.impl.gateway import Gateway
    from fwx.impl.transport import Transport
    from fwx.interfaces.hresult import HRESULT
    from fwx.limits import AddressLimits
    from fwx.proxy import Demand
    from fwx.proxy.proxy_header import ProxyHeader

logger = logging.getLogger("fwx.entrance")

_BLOCK = 16 << 10
# What a refused client may still send while it reads the refusal.
_FAREWELL_BYTES = 1 << 20

_OUTCOMES = {
    int(FWX_E_POLICY_RULES_DENIED): Outcome.DENIED,
    int(FWX_E_NETWORK_RULES_DENIED): Outcome.DENIED,
    int(FWX_E_ADDRESS_NOT_ALLOWED): Outcome.DENIED,
    int(FWX_E_NOT_AUTHENTICATED): Outcome.UNAUTHENTICATED,
    int(HRESULT_FROM_WIN32(WSAEACCES)): Outcome.DENIED,
    int(FWX_E_IS_BUSY): Outcome.BUSY,
    int(FWX_E_DNS_QUOTA_EXCEEDED): Outcome.BUSY,
    int(FWX_E_RULE_QUOTA_EXCEEDED_DROPPED): Outcome.BUSY,
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


def outcome_of(result: int) -> Outcome:
    """Return what a client is told of the HRESULT *result*."""
    return _OUTCOMES.get(int(result), Outcome.FAILED)


class Arrival(NamedTuple):
    """A client as an entry gets it.

    :ivar address: the client's own. :ivar destination: the address that it connected to. :ivar early: bytes of it that
        have been read already. :ivar source_proxy: who connected for it. :ivar header: the PROXY header that said so.
    """

    client: Transport
    address: SocketAddress
    destination: SocketAddress
    early: bytes = b""
    source_proxy: SocketAddress | None = None
    header: ProxyHeader | None = None


class Pending(Protocol):
    """A client that is to be closed when the service stops."""

    def close(self) -> None: ...


class Entrance:
    """What the entries of one listener share.

    :ivar handshaking: the clients of all listeners that have not said yet what they want. :ivar pending: those that
        have and have not got it yet, or have been sent away.
    :ivar forwarders: clients that speak plain HTTP.
    """

    def __init__(
        self,
        name: str,
        gateway: Gateway,
        limits: AddressLimits,
        doorkeeper: Doorkeeper,
        demand: Demand,
        deadlines: Mapping[str, DeadlineQueue],
        associations: Associations,
        on_left: Callable[[], None] = lambda: None,
    ) -> None:
        """:param limits: where each client has a place until it is gone. :param demand: whether clients authenticate.

        :param deadlines: ``handshake``, ``keep_alive`` for a client between two requests, ``bind`` for one that waits
            for a connection from outside, ``farewell``.
        :param associations: the UDP associations of all proxy ports.
        :param on_left: called when a client has given its place back.
        """
        self.name = name
        self.gateway = gateway
        self.limits = limits
        self.doorkeeper = doorkeeper
        self.demand: Demand = demand
        self.handshakes = deadlines["handshake"]
        self.keep_alives = deadlines["keep_alive"]
        self.arrivals = deadlines["bind"]
        self.farewells = deadlines["farewell"]
        self.associations = associations
        self.handshaking: set[Pending] = limits.crowd.handshakes
        self.pending: set[Pending] = set()
        self.forwarders: set[Pending] = set()
        self._on_left = on_left

    def close(self) -> None:
        """The service stops: called first, and again when the connections have ended."""
        for entry in [*self.handshaking, *self.pending, *self.forwarders]:
            entry.close()

    def release(self, address: SocketAddress) -> None:
        """Give the client's place in the limits back."""
        self.limits.release(address.host)
        self._on_left()

    def log(self, client: SocketAddress, action: Action, result: HRESULT, reason: str, claimed_user: str = "") -> None:
        """Write a record of a *client* that got no connection. *claimed_user* is whom it said that it is."""
        engine = self.gateway.engine
        engine.write_record(
            LogRecord(
                time=engine.wall_clock(),
                action=action,
                servername=engine.server_name,
                source_ip=client.host,
                source_port=client.port,
                resultcode=int(result),
                username=unvouched(printable(claimed_user)),
                interface=self.name,
                reason=reason,
            )
        )

    def say_farewell(self, client: Transport, reply: bytes) -> None:
        """Send *reply* and close; nothing is sent where *reply* is empty."""
        if reply and self.answer(client, reply):
            Farewell(self, client)
        else:
            client.close(False)

    def answer(self, client: Transport, reply: bytes) -> bool:
        """Send a *reply*; it is small and the socket's buffer is empty, so it goes whole or not at all."""
        if not reply:
            return True
        try:
            return client.send(reply) == len(reply)
        except OSError as error:
            logger.debug("listener %r: a reply could not be sent: %s", self.name, error)
            return False


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
