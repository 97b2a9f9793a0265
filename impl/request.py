"""What a client asks an entry for, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from fwx.impl.user import NOBODY
from fwx.interfaces import SocketAddress

if TYPE_CHECKING:
    from fwx.impl.connection import FWXConnection
    from fwx.impl.departure import Departure
    from fwx.impl.permission import Permission
    from fwx.impl.session import FWXSession
    from fwx.impl.tlsrole import Role
    from fwx.impl.transport import Transport
    from fwx.impl.user import SessionUser, Who
    from fwx.impl.webrequest import WebRequest
    from fwx.interfaces import FwxFirewallEventSource
    from fwx.interfaces.hresult import HRESULT


class Entry(Protocol):
    """The way in that a request came by; it speaks the client's protocol."""

    def connected(self, bound: SocketAddress) -> bool:
        """Tell the client that its connection leaves from *bound*; ``False`` when it is gone."""

    def refused(self, result: int) -> None:
        """Tell the client that there is none, because of the HRESULT *result*, and close its transport.

        ``FWX_E_NOT_AUTHENTICATED`` stands for what policy denies to a client without a user, and allows some users.
        """


class OpeningLimits(Protocol):
    """Bounds how many connections of one client address are being opened (B11's table: half-open ones).

    :ivar logs: what is refused has a record.
    """

    logs: bool

    def begin_opening(self, address: str) -> tuple[HRESULT, str] | None:
        """Count one; or say why it is one too many."""

    def end_opening(self, address: str) -> None:
        """It is open, or is not to be."""


class Request:
    """What a client asks for, and how to answer it."""

    __slots__ = (
        "agent",
        "announcement",
        "claimed_user",
        "client",
        "client_address",
        "connection",
        "departure",
        "diverted",
        "early",
        "entry",
        "interface",
        "on_ended",
        "permission",
        "proxy_header",
        "session",
        "source",
        "source_proxy",
        "target",
        "to_tls",
        "user",
        "web",
    )

    def __init__(
        self,
        entry: Entry,
        client: Transport,
        client_address: SocketAddress,
        target: SocketAddress,
        *,
        source: FwxFirewallEventSource,
        interface: str,
        agent: str = "",
        early: bytes = b"",
        user: SessionUser | None = None,
        claimed_user: str = "",
        on_ended: Callable[[], None] | None = None,
        announcement: bytes = b"",
        source_proxy: SocketAddress | None = None,
        proxy_header: object = None,
        session: FWXSession | None = None,
        permission: Permission | None = None,
        diverted: bool = False,
        departure: Departure | None = None,
        to_tls: Callable[[], Role] | None = None,
        web: WebRequest | None = None,
    ) -> None:
        """:param source: the event source that the entry stands for. :param interface: the listener's name.

        :param agent: the client program. :param early: what the client sent behind its request.
        :param user: whom the entry has authenticated. :param claimed_user: whom the client says that it is, for the
            log. :param on_ended: called when the connection that is made for the request is gone.
        :param announcement: what the server is told first, which no filter sees: a PROXY header.
        :param source_proxy: who spoke for the client, by the PROXY header that came from it, which is *proxy_header*.
        :param session: whose connection it is, where the entry knows; else it is found by client, source and user.
        :param permission: what lets the client reach the target, where the entry knows that.
        :param diverted: the client asked for nothing, its packets were taken: only what a defined protocol begins with,
            or a filter has announced, is let on (B2.13).
        :param departure: where the connection leaves from when it goes straight out, in the place of anywhere.
        :param to_tls: makes the client's part of a TLS handshake with the server; filters see the plain bytes.
        :param web: the request in plain HTTP that is forwarded over the connection.
        """
        self.entry = entry
        self.client = client
        self.client_address = client_address
        self.target = target
        self.source = source
        self.interface = interface
        self.agent = agent
        self.early = early
        self.user = user
        self.claimed_user = claimed_user
        self.on_ended = on_ended
        self.announcement = announcement
        self.source_proxy = source_proxy
        self.proxy_header = proxy_header
        self.session = session
        self.permission = permission
        self.diverted = diverted
        self.departure = departure
        self.to_tls = to_tls
        self.web = web
        # What is made for it; none before that.
        self.connection: FWXConnection | None = None

    @property
    def who(self) -> Who:
        """By which names the rules know the client."""
        return NOBODY if self.user is None else self.user.who
