"""EmulateClientBind: a client that has bound nothing gets connections that a filter makes (B6.27)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fwx.impl.admission import admit_arrival
from fwx.impl.announcement import check_client, check_guid, check_protocol
from fwx.impl.boundforclient import dial_client
from fwx.impl.course import proceed
from fwx.impl.datafilterfactory import asker
from fwx.impl.emulateddatagrams import FWXEmulatedDatagrams
from fwx.impl.emulation import Emulation
from fwx.impl.listeningconnection import FWXListeningConnection, refusal
from fwx.impl.logrecord import Action
from fwx.impl.loopthread import on_loop
from fwx.impl.permissions import TRANSPORTS
from fwx.impl.sockets import check_address
from fwx.interfaces.constants import FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION, FWX_PROTOCOL_TCP
from fwx.interfaces.hresult import E_INVALIDARG, COMError

if TYPE_CHECKING:
    from uuid import UUID

    from fwx.impl.acceptedconnection import FWXAcceptedConnection
    from fwx.impl.dial import Dialled
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.interfaces import SocketAddress


class FWXEmulatedForClient(FWXListeningConnection):
    """A bind that there is not: whoever comes for the client comes from the filter, by ``EmulateConnection``.

    It lives until a filter kills it, its session ends or the service stops.
    """

    __slots__ = ("_flags",)

    waits = True
    # It is a connection, which says by itself whose it is.
    host: FilterHost | None = None

    def __init__(self, session: FWXSession, client: SocketAddress, place: SocketAddress, flags: int) -> None:
        """*client* is where each connection is dialled to, *place* where others are said to connect to."""
        gateway = session.engine.gateway
        super().__init__(
            session,
            client,
            self,
            lambda peer, local: admit_arrival(session.engine, peer, local, session.who),
            gateway.hosts_of,
            interface="emulated for client",
            on_ended=self._gone,
            on_accepted_ended=gateway.connection_ended,
        )
        self._flags = flags
        self.emulation = Emulation(asker(session, "EmulateClientBind"))
        self.emulation.name = self.bound = place

    async def show(self, verdict: Verdict) -> bool:
        """Do :meth:`bind`."""
        return await self.bind(verdict)

    def join(self, connection: FWXAcceptedConnection, done: Callable[[Dialled], None]) -> Callable[[], None]:
        """Bring the client's end (:class:`fwx.impl.acceptedconnection.ClientSide`)."""
        return dial_client(self.session, self.client_address, done)

    def GetConnectionFlags(self) -> int:
        """Return ``FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION`` if the filter has said so, else 0."""
        return self._flags

    def _gone(self, connection: Any) -> None:
        self.session.secondary.forget(self)
        self.engine.gateway.connection_ended(connection)


Emulated = FWXEmulatedForClient | FWXEmulatedDatagrams


def emulate_client_bind(
    session: FWXSession,
    client: tuple[Any, Any],
    place: tuple[Any, Any],
    protocol: Any,
    guid: Any,
    translates: Any,
) -> Emulated:
    """Do :meth:`fwx.impl.session.FWXSession.EmulateClientBind`; *client* and *place* are addresses with their lengths.

    :raises COMError: as that.
    """
    engine = session.engine
    protocol = check_protocol(protocol)
    address = check_client(*client, session, 0, protocol)
    check_address(*place)
    if place[0].address is None or not place[0].port:
        raise COMError(E_INVALIDARG, f"{place[0]} is no literal address with a port")
    named: UUID = check_guid(engine, guid)
    flags = FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION if translates else 0
    return on_loop(engine.queue, _bind, session, address, place[0], protocol, named, flags)


def _bind(
    session: FWXSession, client: SocketAddress, place: SocketAddress, protocol: int, guid: UUID, flags: int
) -> Emulated:
    session.secondary.require_room()
    policy = session.engine.policy
    verdict = policy.judge_waiting(place, session.who, TRANSPORTS[protocol])
    connection: Emulated
    if protocol == FWX_PROTOCOL_TCP:
        connection = FWXEmulatedForClient(session, client, place, flags)
    else:
        by = asker(session, "EmulateClientBind")
        connection = FWXEmulatedDatagrams(session, client, place, flags, by)
    if not verdict.allowed:
        connection.verdict = verdict
        connection.refuse(verdict.hresult, verdict.reason, Action.Denied)
        raise COMError(verdict.hresult, verdict.reason)
    name = policy.protocol_name(guid)
    if name is not None:
        verdict = replace(verdict, protocol=name, protocol_guid=guid)
    session.secondary.keep(connection)
    course = proceed(_show(connection, verdict), connection.engine.strands.unheard)
    if course.has_ended:
        course.result()
    return connection


async def _show(connection: FWXEmulatedForClient | FWXEmulatedDatagrams, verdict: Verdict) -> None:
    """Raise the bind event. :raises COMError: a filter refuses it."""
    if not await connection.show(verdict):
        connection.refuse(*connection.result, Action.Denied)
        raise refusal(connection)
