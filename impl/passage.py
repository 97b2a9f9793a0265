"""A connection through upstreams: connected to the first, and carried on by one handshake inside the other."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fwx.impl.dial import Dial, Dialled, interleaved
from fwx.impl.transport import INPUT
from fwx.impl.winsock import winsock_code, winsock_name
from fwx.interfaces.hresult import (
    WSAEACCES,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAEHOSTUNREACH,
    WSAETIMEDOUT,
    WSAHOST_NOT_FOUND,
    WSANO_DATA,
    WSANO_RECOVERY,
    WSATRY_AGAIN,
)

if TYPE_CHECKING:
    from fwx.impl.alert import EventDefinition
    from fwx.impl.departure import Departure
    from fwx.impl.engine import Engine
    from fwx.impl.transport import Transport
    from fwx.interfaces import SocketAddress

MOST_TARGETS = 4
"""Addresses of one target that an upstream is asked for, one after the other."""

_BLOCK = 16 << 10
# What says of an upstream that it cannot be reached; a client would take it for a word about its target.
_OF_THE_UPSTREAM = frozenset(
    {WSAECONNREFUSED, WSAECONNRESET, WSAHOST_NOT_FOUND, WSANO_DATA, WSANO_RECOVERY, WSATRY_AGAIN}
)


class Handshake(Protocol):
    """The client's side of an upstream's protocol, without I/O; the host hands it in.

    :ivar established: the upstream carries on what is sent from now on.
    :ivar on_target: what goes wrong now may be the target's fault; else it is the upstream's own, or its account's.
    :ivar early: what came behind the upstream's last reply.
    """

    @property
    def established(self) -> bool: ...

    @property
    def on_target(self) -> bool: ...

    @property
    def early(self) -> bytes: ...

    def start(self) -> bytes:
        """Return what to send first. :raises OSError: the target cannot be asked for; ``strerror`` is for the log."""

    def receive(self, data: bytes) -> bytes:
        """Take *data* from the upstream and return what to send to it now, often nothing.

        :raises OSError: the upstream refuses, or what it says makes no sense; ``errno`` is what the kernel would have
            said of a straight connection, ``strerror`` is for the log and holds no secret.
        """


class Hop(NamedTuple):
    """One upstream of a chain. *connect* makes the handshake that asks it for an address or a name."""

    name: str
    address: SocketAddress
    connect: Callable[[SocketAddress], Handshake]


class Passage:
    """One attempt to connect through upstreams. *done* is called once with how it ended; one deadline holds for all.

    The first upstream's own name is resolved here, the next one's by the one before it. Where a target has several
    addresses, the next one is asked for, over a new connection, when the last upstream has refused one.
    """

    __slots__ = (
        "_addresses",
        "_cancel",
        "_deadline",
        "_departure",
        "_done",
        "_engine",
        "_failure",
        "_handshake",
        "_hops",
        "_index",
        "_peer",
        "_pending",
        "_target",
        "_targets",
        "_transport",
    )

    def __init__(
        self,
        engine: Engine,
        departure: Departure,
        hops: Sequence[Hop],
        targets: list[SocketAddress],
        failure: EventDefinition,
        done: Callable[[Dialled], None],
    ) -> None:
        """*targets* are the addresses to be reached, the preferred one first, or the name alone."""
        self._engine = engine
        self._departure = departure
        self._hops = hops
        self._failure = failure
        self._done: Callable[[Dialled], None] | None = done
        self._targets = deque(list(interleaved(targets))[:MOST_TARGETS])
        self._target: SocketAddress | None = None
        self._addresses: list[SocketAddress] = []
        self._cancel: Callable[[], None] | None = None
        self._transport: Transport | None = None
        self._peer: SocketAddress | None = None
        self._handshake: Handshake | None = None
        self._index = 0
        self._pending = b""
        self._deadline = engine.connect_deadlines.add(self._timed_out)

    def start(self) -> None:
        """Begin by finding the first upstream."""
        address = self._hops[0].address
        if address.address is not None:
            self._found([address], 0)
            return
        cancel = self._engine.resolver.resolve(address, self._found)
        if self._done is not None and not self._addresses:  # it has not answered yet
            self._cancel = cancel

    def cancel(self) -> None:
        """Give up; *done* is not called."""
        self._done = None
        self._end()

    @property
    def _hop(self) -> Hop:
        return self._hops[self._index]

    # To the first upstream.

    def _found(self, addresses: list[SocketAddress], code: int) -> None:
        if self._done is None:
            return
        self._cancel = None
        self._addresses = [each for each in addresses if not self._engine.is_own_listener(each, "TCP")]
        if not addresses:
            self._fail(code, f"its name could not be resolved: {winsock_name(code)}")
        elif not self._addresses:
            self._fail(WSAEACCES, f"{addresses[0]} is a listener of this service")
        else:
            self._connect()

    def _connect(self) -> None:
        self._target = self._targets.popleft()
        self._handshake = None
        self._index = 0
        dial = Dial(self._engine, self._departure, self._addresses, self._dialled)
        self._cancel = dial.cancel
        dial.start()

    def _dialled(self, dialled: Dialled) -> None:
        self._cancel = None
        if dialled.transport is None:
            self._fail(dialled.code, f"it cannot be reached: {winsock_name(dialled.code)}")
            return
        self._transport, self._peer = dialled.transport, dialled.peer
        try:
            self._begin(b"")
        except OSError as error:
            self._refused(error)
            return
        self._transport.watch(self._event)

    # The handshakes.

    def _begin(self, data: bytes) -> None:
        """Start the handshake with the next upstream; *data* came from it already."""
        assert self._target is not None
        following = self._hops[self._index + 1 :]
        self._handshake = self._hop.connect(following[0].address if following else self._target)
        self._pending += self._handshake.start()
        if data:
            self._take(data)

    def _event(self, mask: int) -> None:
        transport = self._transport
        if transport is None:
            return
        try:
            self._flush(transport)
            if mask & INPUT:
                self._converse(transport)
        except BlockingIOError:
            return
        except OSError as error:
            self._refused(error)
            return
        if self._is_established():
            self._reached()

    def _converse(self, transport: Transport) -> None:
        """Read and answer until the last upstream has replied. :raises OSError: no more is there, or no more comes."""
        while not self._is_established():
            data = transport.recv(_BLOCK)
            if not data:
                raise OSError(errno.ECONNRESET, "it closed the connection before its reply was complete")
            self._take(data)
            self._flush(transport)

    def _take(self, data: bytes) -> None:
        handshake = self._handshake
        assert handshake is not None
        self._pending += handshake.receive(data)
        if not handshake.established:
            return
        if self._pending:
            raise OSError(errno.EPROTO, "it replied before it was asked")
        if self._index + 1 < len(self._hops):
            self._index += 1
            self._begin(handshake.early)

    def _is_established(self) -> bool:
        return self._index + 1 == len(self._hops) and self._handshake is not None and self._handshake.established

    def _flush(self, transport: Transport) -> None:
        """Send what is to be sent; what finds no room waits for the next edge."""
        while self._pending:
            try:
                sent = transport.send(self._pending)
            except BlockingIOError:
                return
            self._pending = self._pending[sent:]

    # The ends.

    def _reached(self) -> None:
        transport, self._transport = self._transport, None
        target, handshake = self._target, self._handshake
        assert target is not None
        assert handshake is not None
        literal = target if target.address is not None else None
        self._finish(Dialled(transport, address=literal, peer=self._peer, early=handshake.early))

    def _refused(self, error: OSError) -> None:
        """The upstream has refused the target, or failed: the next address is asked for, or this is the end."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close(True)
        self._pending = b""
        if self._targets and self._is_on_target() and self._departure.reachable(self._addresses):
            self._connect()
        else:
            code = winsock_code(error)
            self._fail(code, error.strerror or winsock_name(code))

    def _is_on_target(self) -> bool:
        """Tell whether a failure now may be the target's fault, and not an upstream's."""
        last = self._index + 1 == len(self._hops)
        return last and self._handshake is not None and self._handshake.on_target

    def _timed_out(self) -> None:
        self._fail(WSAETIMEDOUT, "it did not answer in time")

    def _fail(self, code: int, words: str) -> None:
        """End with *code*; what is not the target's fault is an operator's matter too."""
        hop = self._hop
        following = self._hops[self._index + 1 :]
        for_whom = f", asked for upstream {following[0].name!r}" if following and self._handshake is not None else ""
        reason = f"upstream {hop.name!r} ({hop.address}{for_whom}): {words}"
        if not self._is_on_target():
            self._failure.signal(reason, key=hop.name)
            code = WSAEHOSTUNREACH if code in _OF_THE_UPSTREAM else code
        self._finish(Dialled(None, code, reason))

    def _finish(self, dialled: Dialled) -> None:
        self._end()
        done, self._done = self._done, None
        if done is not None:
            done(dialled)

    def _end(self) -> None:
        """Close what is under way, and leave nothing that could call."""
        self._deadline.cancel()
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close(True)
        self._targets.clear()
        self._departure.close()
