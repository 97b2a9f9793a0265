"""A listening socket of the service, and what stands at its door: limits, the state of the log, descriptors."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fwx.crowd import Crowd
from fwx.impl.accepting import PAUSE_SECONDS, SHORTAGES
from fwx.impl.logrecord import Action, LogRecord
from fwx.impl.networks import normalise
from fwx.impl.transport import INPUT
from fwx.interfaces import FWX_PROTOCOL_TCP, SocketAddress
from fwx.network import SocketNetwork, SocketTransport
from fwx.open_port import ClosedPort, OpenPort
from fwx.transparent.kernel import make_transparent

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.impl.networks import LocalAddresses
    from fwx.limits import AddressLimits

logger = logging.getLogger("fwx.listener")

_BACKLOG = 1024
# Connections taken per event, so that a flood of them leaves the others their turn.
_TAKEN_AT_ONCE = 64

Entry = Callable[[SocketTransport, SocketAddress], object]


class ListenError(Exception):
    """A listener could not be opened; names it, its address and the reason."""


class Listener:
    """Accepts clients for one entry.

    :ivar name: for the log; it may change, as may :attr:`limits`. :ivar address: where it listens. :ivar port: its port
        in the packet filter, closed with the listener.
    :ivar only_destination: the address that every client has connected to; ``None`` where that may differ.
    """

    def __init__(
        self,
        name: str,
        bind: SocketAddress,
        network: SocketNetwork,
        limits: AddressLimits | None,
        engine: Engine,
        accepting: Callable[[], bool],
        call_later: Callable[[float, Callable[[], None]], Any],
        diversion: str = "",
        crowd: Crowd | None = None,
    ) -> None:
        """Bind and listen; clients wait until :meth:`start`.

        :param bind: a literal address, port 0 for a free one. :param limits: what counts the peers; ``None``: nobody.
        :param accepting: whether the log can take records. :param diversion: ``tproxy`` or ``redirect`` for a listener
            that takes what is diverted to it, whose port nobody may address. :param crowd: counts all peers together.
        :raises ListenError: the address cannot be bound.
        """
        self.name = name
        self.limits = limits
        self._engine = engine
        self._accepting = accepting
        self._crowd = crowd or Crowd()
        self._call_later = call_later
        self._resume: Any = None
        self._is_short = False
        self._entry: Entry | None = None

        transport: SocketTransport | None = None
        try:
            transport = network.stream(bind.family)
            if bind.family == socket.AF_INET6:
                transport.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if diversion == "tproxy":
                make_transparent(transport, bind.family)
            transport.bind(bind.sockaddr)
            transport.listen(_BACKLOG)
        except OSError as error:
            if transport is not None:
                transport.close(False)
            raise ListenError(f"listener {name!r}: cannot listen on {bind}: {error.strerror}") from error
        self._transport = transport
        self.address = SocketAddress.from_sockaddr(transport.getsockname())
        self._is_ipv6 = bind.family == socket.AF_INET6
        # Where each of its clients has come to, if that is always the same.
        self.only_destination = None if diversion or _is_unspecified(self.address) else self.address
        self.port = ClosedPort(self.address) if diversion else OpenPort(engine, FWX_PROTOCOL_TCP, self.address)

    def start(self, entry: Entry) -> None:
        """Hand clients to *entry* from now on."""
        self.hand_to(entry)
        self._transport.watch_accept(self._ready)

    def hand_to(self, entry: Entry) -> None:
        """Hand the next clients to *entry*."""
        self._entry = entry

    def close(self) -> None:
        """Give the port back; clients in the backlog are reset by the kernel."""
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        self._transport.close(False)
        self.port.close()

    def is_reached_by(self, address: SocketAddress, local: LocalAddresses) -> bool:
        """Tell whether a connect to the literal *address* ends here; *local* are this host's own addresses."""
        if address.port != self.address.port:
            return False
        own, target = normalise(self.address.host), normalise(address.host)
        if own.version != target.version:
            return False
        # Connecting to the unspecified address reaches this host; listening on it is listening on every own address.
        return own == target or target.is_unspecified or (own.is_unspecified and target in local)

    def _ready(self, _mask: int) -> None:
        accept, accepting = self._transport.accept, None
        for _ in range(_TAKEN_AT_ONCE):
            try:
                transport, sockaddr = accept()
            except BlockingIOError:
                if self._is_short:
                    self._has_enough()  # the kernel reserves the descriptor before it looks for a client
                return
            except OSError as error:
                self._accept_failed(error)
                return
            if self._is_short:
                self._has_enough()
            if accepting is None:  # once for all that wait: each of them is asked about again where it is judged
                accepting = self._accepting()
            if accepting:
                self._admit(transport, SocketAddress.of_stream(sockaddr))
            else:
                # Fails closed (B9.18). There is nowhere to log it to; the log's failure has raised its alert.
                transport.close(True)

    def _admit(self, transport: SocketTransport, address: SocketAddress) -> None:
        assert self._entry is not None
        if self._is_ipv6 and address.host.startswith("::ffff:"):
            address = SocketAddress(normalise(address.host), address.port)
        crowd = self._crowd
        refused = None
        if len(crowd.handshakes) >= crowd.most_handshakes:
            refused = crowd.refuse_client()
        elif self.limits is not None:
            refused = self.limits.admit(address.host)
        if refused is None:
            self._entry(transport, address)
            return
        transport.close(True)
        if self.limits is None or self.limits.logs:
            self._log(address, *refused)

    def _log(self, address: SocketAddress, result: int, reason: str) -> None:
        engine = self._engine
        engine.write_record(
            LogRecord(
                time=engine.wall_clock(),
                action=Action.Denied,
                servername=engine.server_name,
                source_ip=address.host,
                source_port=address.port,
                resultcode=int(result),
                interface=self.name,
                reason=reason,
            )
        )

    def _accept_failed(self, error: OSError) -> None:
        """Out of descriptors or memory: leave clients in the backlog for a moment. Else one client went away early."""
        if error.errno not in SHORTAGES:
            logger.debug("listener %r: %s", self.name, error)
            return
        self._is_short = True
        self._engine.recoverer.ran_short(self)
        if self._resume is None:
            logger.warning("listener %r takes no clients for a moment: %s", self.name, error.strerror)
            self._transport.pause_accept()
            self._resume = self._call_later(PAUSE_SECONDS, self._take_again)

    def _take_again(self) -> None:
        self._resume = None
        self._transport.watch_accept(self._ready)
        self._ready(INPUT)  # whoever waited may have gone, and then nothing would tell that there is enough

    def _has_enough(self) -> None:
        self._is_short = False
        self._engine.recoverer.has_enough(self)


def _is_unspecified(address: SocketAddress) -> bool:
    return normalise(address.host).is_unspecified
