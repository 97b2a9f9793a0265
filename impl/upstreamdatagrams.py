"""Datagrams through an upstream: its UDP association, which is a datagram transport to whoever uses it."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fwx.impl.datagramendpoint import REPORTED
from fwx.impl.departure import Departure
from fwx.impl.networks import share_network
from fwx.impl.packetfilter import Claim, Opening
from fwx.impl.passage import Handshake, Passage
from fwx.impl.transport import ENDING, ERROR, INPUT, READABLE, WRITABLE
from fwx.impl.winsock import winsock_code, winsock_name
from fwx.interfaces import SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_UDP
from fwx.interfaces.hresult import WSAEACCES, WSAECONNRESET, WSAEINVAL

if TYPE_CHECKING:
    from fwx.impl.dial import Dialled
    from fwx.impl.engine import Engine
    from fwx.impl.route import Upstream
    from fwx.impl.transport import DatagramTransport, Handler, Transport

logger = logging.getLogger("fwx.upstreamdatagrams")

# Where no control connection says what it wants: a client that does not know from where it will send (RFC 1928).
_NOWHERE = SocketAddress("0.0.0.0", 0)  # noqa: S104
_BLOCK = 4096
# Datagrams that are thrown away at one call, so that a flood of them leaves the others their turn.
_DROPPED_AT_ONCE = 256


class AssociationHandshake(Handshake, Protocol):
    """The handshake of a control connection. *bound* is the relay's address once it is established."""

    @property
    def bound(self) -> SocketAddress | None: ...


class DatagramCodec(Protocol):
    """Takes the upstream's headers off datagrams, and makes them. End points are as :mod:`socket` writes them."""

    def split(self, datagram: bytes) -> tuple[bytes, tuple[Any, ...]]:
        """Return the payload and its source. :raises ValueError: the datagram is malformed."""

    def header(self, sockaddr: tuple[Any, ...]) -> bytes:
        """Return the header for a datagram to *sockaddr*. :raises ValueError: it cannot be named."""


class Relaying(NamedTuple):
    """How an upstream relays datagrams. *ask* makes the handshake for a control connection, *codec* a codec."""

    ask: Callable[[], AssociationHandshake]
    codec: Callable[[], DatagramCodec]


class UpstreamDatagrams:
    """One association with an upstream, for one UDP socket (:class:`fwx.impl.transport.DatagramTransport`).

    The control connection goes the way of every connection to the upstream. Datagrams go straight to the relay of the
    first upstream of a chain; within them travel those for the next one's relay, each in a header of its own.

    It opens when it is watched. The handler gets ``WRITABLE`` when it is open; ``ERROR`` when it has failed, which is
    for good: see :attr:`code`.

    :ivar is_open: datagrams can be sent. :ivar code: the Windows error when it has failed, else 0, with *reason*.
    """

    def __init__(self, engine: Engine, upstream: Upstream) -> None:
        """*upstream* carries datagrams, and so do those that it is reached through."""
        assert upstream.relaying is not None
        self.fd = -1
        self.upstream = upstream
        self.is_open = False
        self.code = 0
        self.reason = ""
        self._engine = engine
        self._codec = upstream.relaying.codec()
        self._ask = upstream.relaying.ask
        self._handler: Handler | None = None
        self._handshake: AssociationHandshake | None = None
        self._cancel: Callable[[], None] | None = None
        self._control: Transport | None = None
        self._server: DatagramTransport | None = None
        self._claim: Claim | None = None
        self._relay: tuple[Any, ...] | None = None
        self._is_closed = False
        self._carrier = UpstreamDatagrams(engine, upstream.via) if upstream.via is not None else None

    # As a datagram transport.

    def watch(self, handler: Handler) -> None:
        starts = self._handler is None
        self._handler = handler
        if starts and not self._is_closed:
            self._start()

    def receive(self) -> tuple[bytes, tuple[Any, ...]]:
        """Take one datagram: its payload and its source.

        :raises BlockingIOError: there is none now. :raises InterruptedError: many were dropped, there may be more.
        :raises OSError: an error, of which the association goes on.
        """
        server, carrier = self._server, self._carrier
        for _ in range(_DROPPED_AT_ONCE):
            if carrier is not None:
                datagram, source = carrier.receive()
                if self._relay is None or source[:2] != self._relay[:2]:
                    logger.debug("upstream %r: a datagram of %s is none of its relay", self.upstream.name, source)
                    continue
            elif server is not None:
                datagram, _ = server.receive()
            else:
                break
            try:
                return self._codec.split(datagram)
            except ValueError as error:
                logger.debug("upstream %r: a datagram is dropped: %s", self.upstream.name, error)
        else:
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        """Send one datagram to *sockaddr*, an address or a name.

        :raises BlockingIOError: it is not open yet. :raises OSError: no room, too long, or it has failed.
        """
        if not self.is_open:
            number = errno.EHOSTUNREACH if self.code or self._is_closed else errno.EAGAIN
            raise OSError(number, os.strerror(number))
        try:
            packet = self._codec.header(sockaddr) + data
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from error
        if self._carrier is not None:
            assert self._relay is not None
            self._carrier.send_to(packet, self._relay)
        else:
            assert self._server is not None
            try:
                self._server.send(packet)
            except OSError as error:
                if error.errno not in REPORTED:
                    raise
                self.take_error()  # of an earlier one
                self._server.send(packet)

    def take_error(self) -> tuple[int, tuple[Any, ...] | None] | None:
        """What the network says of the upstream's relay is nobody's who sends through it."""
        while self._server is not None and self._server.take_error() is not None:
            """Its control connection tells whether the upstream is there."""
        return None

    def has_data(self) -> bool:
        if self._carrier is not None:
            return self._carrier.has_data()
        return self._server is not None and self._server.has_data()

    def getsockname(self) -> tuple[Any, ...]:
        """Return the local address that datagrams leave from. :raises OSError: there is none yet."""
        if self._carrier is not None:
            return self._carrier.getsockname()
        if self._server is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self._server.getsockname()

    def close(self, abortive: bool) -> None:
        """Let the upstream go: it ends the association with its control connection."""
        self._is_closed = True
        self.is_open = False
        self._handler = None
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()
        control, self._control = self._control, None
        if control is not None:
            control.close(False)
        claim, self._claim = self._claim, None
        if claim is not None and not claim.withdrawn:
            self._engine.packet_filter.close(claim)
        for carrier in (self._server, self._carrier):
            if carrier is not None:
                carrier.close(abortive)

    # Opening.

    def _start(self) -> None:
        upstream = self.upstream
        last = upstream.hops[-1]
        hops = (*upstream.hops[:-1], last._replace(connect=self._shake_hands))
        departure = Departure(self._engine.network)
        passage = Passage(self._engine, departure, hops, [_NOWHERE], upstream.failure, self._dialled)
        self._cancel = passage.cancel
        passage.start()
        if self._carrier is not None and not self.code and not self._is_closed:
            self._carrier.watch(self._carrier_event)

    def _shake_hands(self, _target: SocketAddress) -> AssociationHandshake:
        self._handshake = self._ask()
        return self._handshake

    def _dialled(self, dialled: Dialled) -> None:
        self._cancel = None
        if dialled.transport is None:
            self._fail(dialled.code, dialled.reason)
            return
        self._control = dialled.transport
        relay = self._relay_of(dialled)
        if relay is None:
            self._fail(WSAEINVAL, self._says("its reply names no address that datagrams could go to"))
            return
        if self._carrier is None and not self._may_be_relay(relay, dialled.peer):
            reason = self._says(f"its reply names {relay}, which is in another network than itself, as its relay")
            self.upstream.failure.signal(reason, key=self.upstream.name)
            self._fail(WSAEACCES, reason)
            return
        self._relay = relay.sockaddr
        if self._carrier is None:
            try:
                self._reach(relay)
            except OSError as error:
                self._fail(winsock_code(error), self._says(f"its relay {relay}: {error.strerror or error}"))
                return
        else:
            self._open_if_ready()
        if not self.code and not self._is_closed:
            self._control.watch(self._control_event)

    def _relay_of(self, dialled: Dialled) -> SocketAddress | None:
        """Return where the relay is: at the upstream's own address where the reply says "here"."""
        bound = None if self._handshake is None else self._handshake.bound
        if bound is None or not bound.port:
            return None
        literal = bound.address
        if literal is None or not literal.is_unspecified:
            return bound
        upstream = dialled.peer if self.upstream.via is None else self.upstream.hops[-1].address
        return None if upstream is None else SocketAddress(upstream.host, bound.port, upstream.scope_id)

    def _may_be_relay(self, relay: SocketAddress, upstream: SocketAddress | None) -> bool:
        """Tell whether it is the upstream's to say *relay*: no rule lets datagrams through to anywhere but itself."""
        literal = relay.address
        if upstream is None or literal is None or literal.is_multicast or self._engine.is_own_listener(relay, "UDP"):
            return False
        networks = self._engine.policy.networks_of
        return share_network(networks(upstream.host), networks(relay.host))

    def _reach(self, relay: SocketAddress) -> None:
        """Make the socket for the relay, which alone it hears, and open the way. :raises OSError: it cannot be."""
        server = self._server = self._engine.network.datagram(relay.family)
        server.connect(relay.sockaddr)
        local = SocketAddress.from_sockaddr(server.getsockname())
        claim = self._claim = Claim(Opening(FWX_PROTOCOL_UDP, local, relay), partial(self._way_answered, relay))
        try:
            self._engine.packet_filter.open(claim)
        except OSError:
            self._claim = None
            raise

    def _way_answered(self, relay: SocketAddress, code: int) -> None:
        if code:
            self._fail(code, self._says(f"the packet filter did not open the way to its relay {relay}"))
            return
        assert self._server is not None
        self.is_open = True
        self._server.watch(self._server_event)
        self._tell(WRITABLE | READABLE)

    def _open_if_ready(self) -> None:
        """Open when the relay is known and what carries datagrams to it is open."""
        if self._carrier is not None and self._carrier.is_open and self._relay is not None and not self.is_open:
            self.is_open = True
            self._tell(WRITABLE | READABLE)

    # Events.

    def _server_event(self, mask: int) -> None:
        if mask & ENDING:
            self.take_error()
        if mask & INPUT:
            self._tell(READABLE)

    def _carrier_event(self, mask: int) -> None:
        assert self._carrier is not None
        if self._carrier.code:
            self._fail(self._carrier.code, self._carrier.reason)
            return
        if not self.is_open:
            self._open_if_ready()  # which tells of what there is to read, too
        elif mask & READABLE:
            self._tell(READABLE)

    def _control_event(self, mask: int) -> None:
        """Nothing is expected but the end."""
        if not mask & INPUT or self._control is None:
            return
        try:
            while self._control.recv(_BLOCK):
                """What an upstream says behind its reply has no meaning."""
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(winsock_code(error))
            return
        self._lost(WSAECONNRESET)

    def _lost(self, code: int) -> None:
        reason = self._says(f"it ended the association: {winsock_name(code)}")
        self.upstream.failure.signal(reason, key=self.upstream.name)
        self._fail(code, reason)

    def _fail(self, code: int, reason: str) -> None:
        if self.code or self._is_closed:
            return
        self.code, self.reason = code or WSAEACCES, reason
        handler = self._handler
        self.close(True)
        if handler is not None:
            handler(ERROR)

    def _tell(self, mask: int) -> None:
        if self._handler is not None:
            self._handler(mask)

    def _says(self, words: str) -> str:
        hop = self.upstream.hops[-1]
        return f"upstream {hop.name!r} ({hop.address}): {words}"
