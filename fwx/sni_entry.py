"""Published servers on one port, told apart by the host name in the ClientHello (SNI); nothing is decrypted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from fwx.impl.clienthello import Greeting, read_greeting
from fwx.impl.domainset import normalise_name
from fwx.impl.logrecord import Action
from fwx.impl.transport import INPUT
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAECONNABORTED, WSAECONNRESET, WSAETIMEDOUT
from fwx.proxy.request import printable

if TYPE_CHECKING:
    from fwx.entrance import Arrival, Entrance
    from fwx.interfaces import SocketAddress

UNRECOGNIZED_NAME: Final = b"\x15\x03\x03\x00\x02\x02\x70"
"""The fatal alert for a host name that is not served (RFC 6066 section 3)."""

_BLOCK = 16 << 10


class SniRoutes:
    """The servers by the names that clients ask for; exact ones first, then the longest ``*.`` that holds the name."""

    def __init__(self, routes: Mapping[str, SocketAddress], default: SocketAddress | None) -> None:
        """*routes* maps names, and ``*.`` with all that is below a name, to servers."""
        exact = {name: target for name, target in routes.items() if not name.startswith("*.")}
        parents = {name[2:]: target for name, target in routes.items() if name.startswith("*.")}
        self._exact = {normalise_name(name): target for name, target in exact.items()}
        self._parents = {normalise_name(name): target for name, target in parents.items()}
        self._default = default

    def target(self, name: str | None) -> SocketAddress | None:
        """Return the server for the host *name*, or for who asks for none; ``None``: there is none."""
        if name is None:
            return self._default
        name = name.lower()
        found = self._exact.get(name)
        parent = name
        while found is None and (parent := parent.partition(".")[2]):
            found = self._parents.get(parent)
        return found or self._default


class SniEntry:
    """Reads a client's ClientHello before a deadline, then hands the client on to the server that it asks for.

    Every byte goes to the server as it came. Who asks for what is not served gets the alert of TLS, who speaks no TLS
    goes to the default or is reset.
    """

    __slots__ = ("_arrival", "_data", "_deadline", "_entrance", "_next", "_routes")

    def __init__(
        self,
        entrance: Entrance,
        arrival: Arrival,
        routes: SniRoutes,
        then: Callable[[Arrival, SocketAddress], object],
    ) -> None:
        """*then* gets the client with what it has sent, and the server."""
        self._entrance = entrance
        self._arrival = arrival
        self._routes = routes
        self._next = then
        self._data = arrival.early
        self._deadline = entrance.handshakes.add(self._timed_out)
        entrance.handshaking.add(self)
        arrival.client.watch(self._event)

    def close(self) -> None:
        """The service stops."""
        self._refuse(WSAECONNABORTED, "the service is stopping")

    def _event(self, mask: int) -> None:
        if not mask & INPUT and not self._data:
            return
        try:
            while not (greeting := read_greeting(self._data)).complete:
                data = self._arrival.client.recv(_BLOCK)
                if not data:
                    self._refuse(WSAECONNABORTED, "the client ended before its ClientHello was complete")
                    return
                self._data += data
        except BlockingIOError:
            return
        except OSError as error:
            self._refuse(WSAECONNRESET, f"the client went away before its ClientHello was complete: {error.strerror}")
            return
        self._route(greeting)

    def _route(self, greeting: Greeting) -> None:
        target = self._routes.target(greeting.name)
        if target is not None:
            self._settle()
            self._next(self._arrival._replace(early=self._data), target)
        elif greeting.fault:
            self._refuse(WSAECONNABORTED, f"{greeting.fault}, and there is no default server (to)")
        elif greeting.name is None:
            reason = "the client asks for no host name (SNI), and there is no default server (to)"
            self._refuse(WSAECONNABORTED, reason, UNRECOGNIZED_NAME)
        else:
            reason = f"the client asks for the host name {printable(greeting.name)!r}, which is not served (sni)"
            self._refuse(WSAECONNABORTED, reason, UNRECOGNIZED_NAME)

    def _timed_out(self) -> None:
        self._refuse(WSAETIMEDOUT, "the ClientHello was not complete before the deadline (handshake_seconds)")

    def _refuse(self, code: int, reason: str, alert: bytes = b"") -> None:
        self._settle()
        entrance, client = self._entrance, self._arrival.client
        entrance.release(self._arrival.address)
        entrance.log(self._arrival.address, Action.Failed, HRESULT_FROM_WIN32(code), reason)
        if alert:
            entrance.say_farewell(client, alert)
        else:
            client.close(True)

    def _settle(self) -> None:
        self._deadline.cancel()
        self._entrance.handshaking.discard(self)
