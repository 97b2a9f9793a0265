"""FWXBoundForClient: a port on the outside that a filter has bound for a client (B6.12 to B6.17)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fwx.impl.admission import admit_arrival
from fwx.impl.announcement import check_client
from fwx.impl.departure import Departure
from fwx.impl.dial import Dial, Dialled
from fwx.impl.listeningconnection import FWXListeningConnection
from fwx.impl.loopthread import on_loop
from fwx.impl.portrun import bind_to
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    FWX_E_IS_BUSY,
    FWX_E_TERMINATING,
    S_OK,
    WIN32_FROM_HRESULT,
    WSAETIMEDOUT,
    COMError,
)

if TYPE_CHECKING:
    from fwx.impl.acceptedconnection import FWXAcceptedConnection
    from fwx.impl.deadline import Deadline
    from fwx.impl.permission import Permission
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.interfaces import IFWXIpFilter, SocketAddress

Done = Callable[[Dialled], None]

MOST_AT_ONCE = 64
"""Connections of one port at a time: whoever is outside may make them, and no limit of a client's counts those."""


class FWXBoundForClient(FWXListeningConnection):
    """A port where a client waits that has bound none itself; each arrival is dialled to where the client listens.

    It takes one connection, or several, as its permission says, and ends with that. Who may come is the IP filter's to
    say, for the rule of the primary connection allows the secondary one too; without a primary connection the rules are
    asked.
    """

    __slots__ = ("_dialler", "_flags", "_has_primary", "_there", "permission")

    waits = True

    def __init__(
        self,
        session: FWXSession,
        permission: Permission,
        flags: int,
        has_primary: bool,
        ip_filter: IFWXIpFilter | None = None,
    ) -> None:
        """*permission* is for the client's address, which is all zeros where it is not known yet (B6.16).

        :param flags: which addresses ``SetClientAddress`` may give. :param has_primary: whether a primary connection's
            rule stands behind it.
        """
        gateway = session.engine.gateway
        self.permission = permission
        self._flags = flags
        self._has_primary = has_primary
        self._there: set[FWXAcceptedConnection] = set()
        self._dialler = Dialler(session, permission)
        super().__init__(
            session,
            permission.target,
            self._dialler,
            self._judge_arrival,
            gateway.hosts_of,
            ip_filter=ip_filter,
            is_secondary=True,
            interface="bound for client",
            on_ended=self._gone,
            on_accepted_ended=self._accepted_gone,
        )
        permission.on_ended = self._permission_ended

    async def show(self, verdict: Verdict) -> bool:
        """Do :meth:`bind`."""
        return await self.bind(verdict)

    def SetClientAddress(self, ClientAddress: SocketAddress, ClientAddressLength: int | None = None) -> None:
        """Say where the client listens (B6.16): who has come already is connected now. From any thread.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` no literal address with a port, or the client's is known
            already; ``FWX_E_ADDRESS_NOT_ALLOWED`` one that the flags of ``BindForClient`` do not allow;
            ``FWX_E_TERMINATING``.
        """
        address = check_client(ClientAddress, ClientAddressLength, self.session, self._flags)
        on_loop(self.engine.queue, self._set_client_address, address)

    def _set_client_address(self, address: SocketAddress) -> None:
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        known = self.client_address
        if known.address is None or not known.address.is_unspecified:
            raise COMError(E_INVALIDARG, f"the client's address is known, {known}")
        self.client_address = address
        self._dialler.set_address(address)

    def places_bound(self, protocol: int) -> tuple[SocketAddress, ...]:
        """The client has bound nothing: the filter has."""
        return ()

    def _judge_arrival(self, peer: SocketAddress, local: SocketAddress) -> Verdict:
        verdict, engine = self.permission.verdict, self.engine
        if not self._has_primary:
            judged = admit_arrival(engine, peer, local, self.session.who)
            if not judged.allowed:
                return judged
            verdict = replace(judged, protocol=verdict.protocol, protocol_guid=verdict.protocol_guid)
        networks = engine.policy.networks_of
        source, destination = networks(peer.host)[0], networks(local.host)[0]
        verdict = replace(verdict, source_network=source, destination_network=destination)
        if not self.permission.is_open:
            reason = "another connection to the port is being made, and it is for one"
        elif len(self._there) >= MOST_AT_ONCE:
            reason = f"the port has {MOST_AT_ONCE} connections"
        else:
            return verdict
        return replace(verdict, allowed=False, hresult=FWX_E_IS_BUSY, reason=reason)

    def _permission_ended(self) -> None:
        """It was used up, has lapsed, or has ended with the session."""
        self._dialler.close()
        self.end(S_OK, "the port is not needed any more")

    async def _show(self, connection: FWXAcceptedConnection) -> None:
        self._there.add(connection)
        self.permission.take()  # before a filter is asked, which may take a while
        await super()._show(connection)

    def _accepted_gone(self, connection: FWXAcceptedConnection) -> None:
        self._there.discard(connection)
        self.permission.give_back()
        self.engine.gateway.connection_ended(connection)

    def _gone(self, connection: Any) -> None:
        self.permission.end()
        self.session.secondary.forget(self.permission)
        self.engine.gateway.connection_ended(connection)


class Dialler:
    """Brings the client's end by connecting to it (:class:`fwx.impl.acceptedconnection.ClientSide`).

    As long as nobody knows where the client listens, who has come waits, but not for ever.
    """

    __slots__ = ("_address", "_permission", "_session", "_waiting")

    def __init__(self, session: FWXSession, permission: Permission) -> None:
        self._session = session
        self._permission = permission
        known = permission.target.address is not None and not permission.target.address.is_unspecified
        self._address: SocketAddress | None = permission.target if known else None
        self._waiting: dict[FWXAcceptedConnection, tuple[Done, Deadline]] = {}

    def join(self, connection: FWXAcceptedConnection, done: Done) -> Callable[[], None]:
        told = partial(self._dialled, connection, done)
        if self._address is not None:
            return dial_client(self._session, self._address, told)
        deadline = self._session.engine.connect_deadlines.add(partial(self._too_late, connection))
        self._waiting[connection] = told, deadline
        return partial(self._forget, connection)

    def set_address(self, address: SocketAddress) -> None:
        """The client listens at *address*."""
        self._address = address
        waiting, self._waiting = self._waiting, {}
        for connection, (done, deadline) in waiting.items():
            deadline.cancel()
            # What ends the connection now would not find it waiting: it is dialled like one that has just come.
            connection.client_address = address
            connection.dial_again(dial_client(self._session, address, done))

    def close(self) -> None:
        """Nobody is expected any more: who waits for the client's address goes."""
        waiting, self._waiting = self._waiting, {}
        for done, deadline in waiting.values():
            deadline.cancel()
            done(Dialled(None, WSAETIMEDOUT, "the filter did not say where the client listens"))

    def _dialled(self, connection: FWXAcceptedConnection, done: Done, dialled: Dialled) -> None:
        done(dialled)
        if dialled.transport is not None and not connection.terminating:
            self._permission.use(connection, connection.target)

    def _too_late(self, connection: FWXAcceptedConnection) -> None:
        done, _ = self._waiting.pop(connection)
        done(Dialled(None, WSAETIMEDOUT, "the filter did not say in time where the client listens"))

    def _forget(self, connection: FWXAcceptedConnection) -> None:
        waiting = self._waiting.pop(connection, None)
        if waiting is not None:
            waiting[1].cancel()


def dial_client(session: FWXSession, address: SocketAddress, done: Done) -> Callable[[], None]:
    """Connect to *address*, where the client of *session* listens, from its inside address; return what cancels that.

    *done* is called once, with how it ended.
    """
    engine, inside = session.engine, session.inside_address
    try:
        bound = None if inside is None else bind_to(engine.network.stream, inside)
    except COMError as error:
        done(Dialled(None, WIN32_FROM_HRESULT(error.hresult), str(error)))
        return _nothing
    departure = Departure(engine.network, bound, 0 if inside is None else inside.family)
    dial = Dial(engine, departure, [address], done)
    dial.start()
    return dial.cancel


def _nothing() -> None:
    """There is nothing to cancel."""
