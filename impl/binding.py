"""A client's BIND: judged, resolved, shown to the filters, and waited for, until the one peer is there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from fwx.impl.accepting import Accepted
from fwx.impl.admission import admit_arrival
from fwx.impl.clientlookup import ClientLookUp, Found
from fwx.impl.course import take_step
from fwx.impl.dial import Dialled
from fwx.impl.listeningconnection import FWXListeningConnection
from fwx.impl.logrecord import Action
from fwx.impl.networks import normalise
from fwx.impl.ownaddress import address_towards, address_towards_the_world, unspecified
from fwx.impl.route import Upstream
from fwx.impl.transport import ERROR, HANGUP, PEER_CLOSED
from fwx.impl.upstreambind import UpstreamBind
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import (
    E_UNEXPECTED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_POLICY_RULES_DENIED,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEAFNOSUPPORT,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAECONNRESET,
    COMError,
)

if TYPE_CHECKING:
    from fwx.impl.acceptedconnection import FWXAcceptedConnection
    from fwx.impl.gateway import Gateway
    from fwx.impl.policy import Verdict
    from fwx.impl.request import Request
    from fwx.impl.transport import Transport

logger = logging.getLogger("fwx.binding")

# The kernel keeps so many peers while one is being looked at; strangers may come first.
_BACKLOG = 5


class Waiter(Protocol):
    """The way in that a request to bind came by; it speaks the client's protocol."""

    def listening(self, bound: SocketAddress) -> bool:
        """Tell the client that it may have others connect to *bound*; ``False`` when it is gone."""

    def connected(self, bound: SocketAddress) -> bool:
        """Tell the client that the peer *bound* is there; ``False`` when it is gone."""

    def refused(self, result: int) -> None:
        """Tell the client that nobody will come, because of the HRESULT *result*, and close its transport."""


class Binding:
    """One request to bind, on its way; the client's side of its one connection is the client's own transport.

    The request's ``target`` is whom the client waits for: an address or a name, or the unspecified address for whoever
    policy lets in. Its port means nothing: clients cannot know it (RFC 1928 section 4).
    """

    __slots__ = (
        "_cancel",
        "_expected",
        "_families",
        "_gateway",
        "_joined",
        "_listening",
        "_own",
        "_peer",
        "_request",
        "_told",
        "_upstream",
        "_waiter",
    )

    def __init__(self, gateway: Gateway, request: Request, waiter: Waiter, families: tuple[int, ...]) -> None:
        """:param families: the address families that the client's protocol can name, in the order of preference."""
        self._gateway = gateway
        self._request = request
        self._waiter = waiter
        self._families = families
        self._cancel: Callable[[], None] | None = None
        # Who may come, as normalised addresses; empty for whoever policy lets in.
        self._expected: frozenset[Any] = frozenset()
        # Whom an upstream is told that the client waits for; what rules speak of; what the client was told.
        self._peer: SocketAddress | None = None
        self._own: SocketAddress | None = None
        self._told: SocketAddress | None = None
        self._upstream: UpstreamBind | None = None
        self._joined: FWXAcceptedConnection | None = None
        session = gateway.sessions.of(request.client_address, request.source, request.user)
        self._listening = FWXListeningConnection(
            session,
            request.client_address,
            self,
            self._judge,
            gateway.hosts_of,
            interface=request.interface,
            agent=request.agent,
            on_ended=self._listening_ended,
            on_accepted_ended=self._accepted_ended,
        )
        self._listening.claimed_user = request.claimed_user
        self._listening.source_proxy = request.source_proxy
        self._listening.proxy_header = request.proxy_header

    # The gateway's side.

    def step(self, function: Callable[..., Coroutine[Any, Any, None] | None], *args: Any) -> None:
        """Go one step, which may wait; a fault of ours on the way refuses the client: a firewall fails closed."""
        take_step(self._failed, function, *args)

    def _failed(self, error: Exception) -> None:
        logger.error("binding for %s failed", self._request.client_address, exc_info=error)
        self.give_up(E_UNEXPECTED, f"internal failure: {type(error).__name__}: {error}")

    def start(self) -> None:
        """Begin; the waiter hears the outcome, the log too."""
        request = self._request
        target = request.target
        request.client.watch(self._client_event)
        if target.address is None:
            self._resolve()
        elif target.address.is_unspecified:
            self.step(self._wait_for, [])
        else:
            self.step(self._wait_for, [target])

    def give_up(self, result: int, reason: str, action: Action = Action.Failed) -> None:
        """Refuse the client, or end its waiting."""
        if self not in self._gateway.opening:
            return
        self._gateway.opening.discard(self)
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()
        words = f"waiting for {self._request.target.host}: {reason}"
        if self._told is None:
            self._listening.refuse(result, words, action)
        else:
            self._listening.end(result, words)
        self._waiter.refused(result)

    # Whom the client waits for.

    def _resolve(self) -> None:
        engine, request = self._gateway.engine, self._request
        host, target = request.client_address.host, request.target
        verdict = engine.policy.judge_look_up(host, target.host, self._listening.session.who)
        if not verdict.allowed:
            self._deny(verdict)
            return
        hosts = self._gateway.hosts_of(verdict)
        look_up = ClientLookUp(self._listening.session, hosts, target, partial(self.step, self._found))
        self._cancel = look_up.cancel
        look_up.start()

    def _found(self, found: Found) -> None:
        if self not in self._gateway.opening:
            return
        self._cancel = None
        if found.addresses:
            self.step(self._wait_for, found.addresses)
        else:
            self.give_up(found.result, found.reason, found.action)

    async def _wait_for(self, peers: list[SocketAddress]) -> None:
        """Take a port; policy and filters say whether the client may wait there for *peers*, or for anybody."""
        local = self._local_address(peers)
        if local is None:
            self.give_up(HRESULT_FROM_WIN32(WSAEAFNOSUPPORT), "the client's protocol has no such addresses")
            return
        try:
            bound = self._listening.take(local)
        except COMError as error:
            self.give_up(error.hresult, str(error))
            return
        told = self._own = self._usable(bound)
        verdict = self._judge_waiting(told, peers)
        if not verdict.allowed:
            self._deny(verdict)
            return
        passes = await self._listening.bind(verdict)
        if self not in self._gateway.opening:  # the client went away meanwhile
            return
        if not passes:
            self.give_up(*self._listening.result, Action.Denied)
            return
        if self._listening.emulation is not None:
            # A filter has said where others connect to.
            told = self._listening.bound or told
        elif verdict.upstream:
            self._ask_upstream(verdict)
            return
        self._listening.listen(_BACKLOG, partial(self.step, self._begin, told))

    def _local_address(self, peers: list[SocketAddress]) -> SocketAddress | None:
        """Return the address to bind, port 0: the one towards the peers, the unspecified one where no route leads."""
        network = self._gateway.engine.network
        if not peers:
            literal = self._request.target.address
            assert literal is not None
            family = SocketAddress(literal).family
            return unspecified(family) if family in self._families else None
        for family in self._families:
            for peer in peers:
                if peer.family == family:
                    return address_towards(network, peer) or unspecified(family)
        return None

    def _usable(self, bound: SocketAddress) -> SocketAddress:
        """Return *bound* as others can use it: an unspecified address stands for the one towards the world."""
        assert bound.address is not None
        if not bound.address.is_unspecified:
            return bound
        towards = address_towards_the_world(self._gateway.engine.network, bound.family)
        if towards is None:
            reached = SocketAddress.from_sockaddr(self._request.client.getsockname())
            towards = reached if reached.family == bound.family else bound
        return towards.with_port(bound.port)

    def _judge_waiting(self, local: SocketAddress, peers: list[SocketAddress]) -> Verdict:
        """Return the verdict on the peers that may come, of the first one that may; note them."""
        engine, who = self._gateway.engine, self._listening.session.who
        if not peers:
            return engine.policy.judge_waiting(local, who)
        verdicts = [(peer, admit_arrival(engine, peer, local, who)) for peer in peers if peer.family == local.family]
        allowed = [(peer, verdict) for peer, verdict in verdicts if verdict.allowed]
        self._expected = frozenset(normalise(peer.host) for peer, _ in allowed)
        self._peer = allowed[0][0] if allowed else None
        return (allowed or verdicts)[0][1]

    def _begin(self, told: SocketAddress) -> None:
        """Others may connect: the client is told where."""
        if self not in self._gateway.opening:
            return
        self._told = told
        if not self._waiter.listening(told):
            self._client_gone()

    # At an upstream.

    def _ask_upstream(self, verdict: Verdict) -> None:
        """Have the upstream of the rule bind; to do it here would be another way than the rule's."""
        gateway = self._gateway
        upstream = gateway.engine.routes[verdict.upstream]
        if not isinstance(upstream, Upstream) or upstream.binding is None:
            reason = f"{verdict.reason}, through upstream {verdict.upstream!r}, whose protocol has no BIND"
            self.give_up(FWX_E_POLICY_RULES_DENIED, reason, Action.Denied)
            return
        self._upstream = UpstreamBind(self, verdict.upstream)
        self._cancel = self._upstream.cancel
        peer = self._request.target if self._peer is None else self._peer
        self._upstream.start(gateway.engine, gateway.departure, upstream, peer)

    def upstream_listens(self, bound: SocketAddress) -> None:
        self.step(self._listens_elsewhere, bound)

    async def _listens_elsewhere(self, bound: SocketAddress) -> None:
        if bound.family not in self._families:
            reason = f"the upstream listens at {bound}, which the client's protocol cannot say"
            self.give_up(HRESULT_FROM_WIN32(WSAEAFNOSUPPORT), reason)
        elif await self._listening.listen_elsewhere(bound):
            self._begin(bound)

    def upstream_accepted(self, peer: SocketAddress, transport: Transport, early: bytes) -> None:
        self._cancel = None
        bound = self._told
        if bound is None or self._listening.terminating:
            transport.close(True)
        else:
            self.step(self._arrived_elsewhere, Accepted(transport, bound, peer, early=early))

    async def _arrived_elsewhere(self, accepted: Accepted) -> None:
        """Nobody else will come there: who is turned away here leaves the client without a connection."""
        peer = accepted.remote
        await self._listening.arrive(accepted)
        if self._joined is None:
            self.give_up(HRESULT_FROM_WIN32(WSAECONNREFUSED), f"{peer} has come, and was turned away")

    def upstream_failed(self, code: int, reason: str) -> None:
        self._cancel = None
        self.give_up(HRESULT_FROM_WIN32(code), reason)

    def _deny(self, verdict: Verdict) -> None:
        self._listening.verdict = verdict
        self.give_up(int(verdict.hresult), verdict.reason, Action.Denied)

    # Arrivals.

    def _judge(self, peer: SocketAddress, local: SocketAddress) -> Verdict:
        """Judge a peer: it has to be the one that the client waits for, and the policy has to let it in."""
        # The rules speak of the firewall's own address, also where an upstream has lent its own.
        own = local if self._upstream is None or self._own is None else self._own
        verdict = admit_arrival(self._gateway.engine, peer, own, self._listening.session.who)
        if self._expected and normalise(peer.host) not in self._expected:
            reason = f"{peer} is not {self._request.target.host}, for which the client waits"
            return replace(verdict, allowed=False, hresult=FWX_E_ADDRESS_NOT_ALLOWED, reason=reason)
        if verdict.allowed and verdict.upstream != self._listening.verdict.upstream:
            # It came another way than its rule's.
            reason = f"{verdict.reason}, through upstream {verdict.upstream!r}"
            return replace(verdict, allowed=False, hresult=FWX_E_POLICY_RULES_DENIED, reason=reason)
        return verdict

    def join(self, connection: FWXAcceptedConnection, done: Callable[[Dialled], None]) -> Callable[[], None]:
        """The one peer is there (:class:`fwx.impl.acceptedconnection.ClientSide`): nobody else is let in.

        Several may have come while a blocking filter was asked, or the client may have gone.
        """
        if self not in self._gateway.opening:
            done(Dialled(None, WSAECONNREFUSED, "the client waits for nobody any more"))
            return lambda: None
        self._gateway.opening.discard(self)
        self._joined = connection
        self._listening.end(S_OK, f"{connection.target} has come")
        request = self._request
        if self._waiter.connected(connection.target):
            done(Dialled(request.client, early=request.early))
        else:
            request.client.close(True)
            done(Dialled(None, WSAECONNABORTED, "it went away as the peer came"))
        return lambda: None

    # The ends.

    def _client_event(self, mask: int) -> None:
        """A client that closes its side will not be there; what it sends early waits in the kernel."""
        if mask & (ERROR | HANGUP | PEER_CLOSED):
            self._client_gone()

    def _client_gone(self) -> None:
        self.give_up(HRESULT_FROM_WIN32(WSAECONNRESET), "the client went away")

    def _listening_ended(self, connection: FWXListeningConnection) -> None:
        """The port is closed: because the peer has come, or the client was refused, or by a filter or the service."""
        self.give_up(*connection.result)
        self._gateway.connection_ended(connection)
        if self._joined is None:
            self._leave()

    def _accepted_ended(self, connection: FWXAcceptedConnection) -> None:
        self._gateway.connection_ended(connection)
        if connection is self._joined:
            self._leave()

    def _leave(self) -> None:
        if self._request.on_ended is not None:
            self._request.on_ended()
