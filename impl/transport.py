"""What the engine needs of the network: the host hands in an object with this shape (``fwx.network``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fwx.impl.machine import Machine

# Bits of the mask that a handler gets; the numbers of Linux's epoll, so that the poller passes them through.
READABLE = 0x001
WRITABLE = 0x004
ERROR = 0x008
HANGUP = 0x010
PEER_CLOSED = 0x2000
ENDING = ERROR | HANGUP | PEER_CLOSED
INPUT = READABLE | ENDING
OUTPUT = WRITABLE | ERROR | HANGUP

Handler = Callable[[int], None]


class LocalTransport(Protocol):
    """What streams and datagrams have in common. Readiness comes as edges: told once until the call would block."""

    fd: int

    def watch(self, handler: Handler) -> None:
        """Have *handler* called with a mask: soon with what is ready now, then at every edge of readiness.

        It replaces the handler there was.
        """

    def bind(self, sockaddr: tuple[Any, ...], *, alone: bool = False) -> None:
        """Take a local address. *alone*: no other socket has it or can get it, also while neither listens; what is left
        of connections that have ended counts as having it. Datagram sockets are always alone.
        """

    def getsockname(self) -> tuple[Any, ...]: ...

    def getpeername(self) -> tuple[Any, ...]: ...

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None: ...

    def getsockopt(self, level: int, option: int, length: int) -> bytes: ...

    def has_data(self) -> bool:
        """Tell whether a receive would find data, or the end, at once; nothing is taken."""

    def close(self, abortive: bool) -> None:
        """Give the descriptor back; *abortive* resets a connection. Closing twice does nothing."""


class Transport(LocalTransport, Protocol):
    """One non-blocking stream socket, or a layer over one.

    :ivar fault: why a layer over the socket fails, in words; empty for a socket, whose errors say it.
    """

    fault: str

    recv: Callable[[int], bytes]
    send: Callable[[Any], int]
    recv_into: Callable[[Any], int]

    def take_over(self, handler: Handler) -> None:
        """Have *handler* called in place of the one that :meth:`watch` has set, at every further edge.

        For whoever has been given the masks that the other one was told: they need not be told again.
        """

    def start_connect(self, sockaddr: tuple[Any, ...]) -> None:
        """Begin to connect; the watching handler is told when it has ended. :raises OSError: it failed at once."""

    def take_error(self) -> int:
        """Return and clear the pending socket error, an errno or 0."""

    def listen(self, backlog: int) -> None: ...

    def watch_accept(self, handler: Handler) -> None:
        """Have *handler* called while connections wait to be accepted."""

    def pause_accept(self) -> None:
        """Leave waiting connections in the backlog until :meth:`watch_accept` is called again."""

    def accept(self) -> tuple[Transport, tuple[Any, ...]]:
        """Take one connection. :raises BlockingIOError: there is none. :raises OSError: it failed."""

    def shutdown_write(self) -> None:
        """Send FIN. A connection that has gone already is left as it is."""


class DatagramTransport(LocalTransport, Protocol):
    """One non-blocking datagram socket."""

    def connect(self, sockaddr: tuple[Any, ...]) -> None:
        """Make *sockaddr* the only peer."""

    def receive(self) -> tuple[bytes, tuple[Any, ...]]:
        """Take one whole datagram and its source.

        :raises BlockingIOError: there is none. :raises InterruptedError: there may be more, but others get their turn
            first. :raises OSError: an error.
        """

    def send(self, data: Any) -> None:
        """Send one datagram to the connected peer. :raises OSError: no room, too long, ..."""

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        """Send one datagram. :raises OSError: no room, too long, no route, ..."""

    def take_error(self) -> tuple[int, tuple[Any, ...] | None] | None:
        """Take one error that the network has reported (ICMP): its errno, and where the datagram was going if known."""


class Streams(Protocol):
    """Makes streams."""

    def stream(self, family: int) -> Transport:
        """Make an unconnected TCP socket of *family*. :raises OSError: out of descriptors or unknown family."""


class Network(Streams, Protocol):
    """Makes transports."""

    def datagram(self, family: int) -> DatagramTransport:
        """Make an unbound UDP socket of *family*. :raises OSError: out of descriptors or unknown family."""

    def machine(self, changed: Callable[[], None]) -> Machine:
        """Follow the adapters, addresses and routes of the machine.

        :param changed: called on the loop thread, never inside this call, when something about them may be different.
        :raises OSError: the process may not, or out of descriptors.
        """
