"""Users of RADIUS servers: Access-Requests with PAP or CHAP, over UDP on the event loop (RFC 2865)."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from zope.interface import implementer

from fwx.directories import radius_packet as packet
from fwx.impl.authentication import WRONG, Checked, IPasswordAuthenticator
from fwx.interfaces.constants import AUTHENTICATED_RADIUS_USER_NAMESPACE

if TYPE_CHECKING:
    from fwx.directories.context import DirectoryContext
    from fwx.impl.engine import Resolver
    from fwx.interfaces import SocketAddress

Done = Callable[[Checked], None]

# More than an answer may have, so that one that is too long is seen to be.
_DATAGRAM: Final = packet.LONGEST_PACKET + 1
_MOST_AT_ONCE: Final = 64


class Readers(Protocol):
    """The part of an event loop that tells when a socket can be read."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object: ...

    def remove_reader(self, fd: int, /) -> object: ...


class RadiusSettings(NamedTuple):
    """How the servers are asked.

    :ivar tries: how often each server is sent the request. :ivar group_attribute: the attribute whose values are the
        user's groups. :ivar needs_signature: an answer without Message-Authenticator is dropped.
    """

    servers: tuple[SocketAddress, ...]
    secret: bytes
    nas_identifier: bytes
    method: Literal["pap", "chap"] = "pap"
    tries: int = 3
    group_attribute: int = packet.FILTER_ID
    needs_signature: bool = True


@implementer(IPasswordAuthenticator)
class RadiusUsers:
    """Asks one server after the other, beginning with the one that answered last, until one answers.

    Each request leaves from a socket of its own, connected to the server: another host's datagrams do not arrive, its
    port is as hard to guess as its authenticator is not to be, and a late or second answer finds nobody.
    """

    def __init__(self, settings: RadiusSettings, context: DirectoryContext, loop: Readers, resolver: Resolver) -> None:
        """The time of *context* is divided among the tries."""
        self.settings = settings
        self.context = context
        self.loop = loop
        self.resolver = resolver
        self.try_seconds = context.share(settings.tries * len(settings.servers))
        self._first = 0

    def check(self, name: str, password: bytes, done: Done) -> Callable[[], None]:
        """Check as :class:`~fwx.impl.authentication.IPasswordAuthenticator` says.

        A name or a password that no request can carry is wrong.
        """
        if len(name.encode()) > packet.LONGEST_VALUE or len(password) > packet.LONGEST_PASSWORD or b"\0" in password:
            self.context.post(done, WRONG)
            return lambda: None
        servers = self.settings.servers
        order = [(self._first + step) % len(servers) for step in range(len(servers))]
        search = _Search(self, name, password, order, done)
        search.next_server()
        return search.cancel

    def request(self, name: str, password: bytes, authenticator: bytes, identifier: int) -> bytes:
        """Return the Access-Request for a user."""
        settings = self.settings
        proof: tuple[packet.Attribute, ...]
        if settings.method == "chap":
            challenge = secrets.token_bytes(packet.AUTHENTICATOR_LENGTH)
            proof = (
                (packet.CHAP_PASSWORD, packet.chap_password(secrets.randbelow(256), password, challenge)),
                (packet.CHAP_CHALLENGE, challenge),
            )
        else:
            proof = ((packet.USER_PASSWORD, packet.hide_password(password, settings.secret, authenticator)),)
        attributes = (
            (packet.USER_NAME, name.encode()),
            *proof,
            (packet.NAS_IDENTIFIER, settings.nas_identifier),
            (packet.NAS_PORT_TYPE, packet.VIRTUAL),
        )
        return packet.access_request(identifier, authenticator, settings.secret, attributes)

    def result_of(self, index: int, name: str, response: packet.Response) -> Checked:
        """Return what *response* of the server at *index* says of the user *name*."""
        self._first = index
        if response.code != packet.ACCESS_ACCEPT:
            return WRONG  # whoever asks for more than a password, too
        # The server knows how the user is spelled; rules must not depend on what was typed (RFC 2865 section 5.1).
        spelled = response.values(packet.USER_NAME)
        try:
            true_name = spelled[0].decode() if spelled else name
            groups = [text for value in response.values(self.settings.group_attribute) for text in _groups(value)]
        except UnicodeDecodeError:
            true_name, groups = "", []
        if not true_name.isprintable() or not true_name.strip():
            return Checked(None, f"directory {self.context.name!r}: the server sent a name or a group that is no text")
        return Checked(self.context.user(true_name, groups, AUTHENTICATED_RADIUS_USER_NAMESPACE))


class _Search:
    """One check: the servers that are left, and what the ones before did instead of answering."""

    __slots__ = ("_cancel", "_done", "_faults", "_name", "_order", "_password", "_users")

    def __init__(self, users: RadiusUsers, name: str, password: bytes, order: list[int], done: Done) -> None:
        self._users = users
        self._name = name
        self._password = password
        self._order = order
        self._done: Done | None = done
        self._faults: list[str] = []
        self._cancel: Callable[[], None] = lambda: None

    def cancel(self) -> None:
        self._done = None
        self._cancel()

    def next_server(self) -> None:
        server = self._users.settings.servers[self._order[0]]
        if server.address is None:
            self._cancel = self._users.resolver.resolve(server, self._resolved)
        else:
            self._ask(server)

    def _resolved(self, addresses: Sequence[SocketAddress], code: int) -> None:
        if addresses:
            self._ask(addresses[0])
        else:
            self._failed(f"its name cannot be looked up (error {code})")

    def _ask(self, address: SocketAddress) -> None:
        exchange = _Exchange(self._users, self._name, self._password, self._answered, self._failed)
        self._cancel = exchange.close
        exchange.start(address)

    def _answered(self, response: packet.Response) -> None:
        self._end(self._users.result_of(self._order[0], self._name, response))

    def _failed(self, words: str) -> None:
        context, server = self._users.context, self._users.settings.servers[self._order.pop(0)]
        self._faults.append(f"{server}: {words}")
        context.warn(f"{context.name} {server}", f"directory {context.name!r}: {self._faults[-1]}")
        if self._order:
            self.next_server()
        else:
            self._end(Checked(None, f"directory {context.name!r}: {'; '.join(self._faults)}"))

    def _end(self, result: Checked) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)


class _Exchange:
    """One request to one server, sent again until it is answered."""

    __slots__ = (
        "_answered",
        "_authenticator",
        "_dropped",
        "_failed",
        "_identifier",
        "_last_drop",
        "_left",
        "_request",
        "_socket",
        "_timer",
        "_users",
    )

    def __init__(
        self,
        users: RadiusUsers,
        name: str,
        password: bytes,
        answered: Callable[[packet.Response], None],
        failed: Callable[[str], None],
    ) -> None:
        self._users = users
        self._answered = answered
        self._failed = failed
        self._identifier = secrets.randbelow(256)
        self._authenticator = secrets.token_bytes(packet.AUTHENTICATOR_LENGTH)
        self._request = users.request(name, password, self._authenticator, self._identifier)
        self._left = users.settings.tries
        # Who forges answers sends many: they are counted, the last one is told.
        self._dropped = 0
        self._last_drop = ""
        self._socket: socket.socket | None = None
        self._timer: Any = None

    def start(self, address: SocketAddress) -> None:
        """Send the request to *address*, a literal one. What fails is told later."""
        try:
            self._socket = socket.socket(address.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.connect((address.host, address.port))
        except OSError as error:
            self._users.context.post(self._fail, f"it cannot be reached: {error.strerror}")
            return
        self._users.loop.add_reader(self._socket.fileno(), self._readable)
        self._send()

    def close(self) -> None:
        """End the exchange; nothing is told any more. Twice does nothing."""
        self._left = -1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._users.loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _send(self) -> None:
        self._timer = None
        if self._left == 0:
            self._fail(self._silence())
            return
        assert self._socket is not None
        self._left -= 1
        try:
            self._socket.send(self._request)
        except BlockingIOError:
            pass  # as if the network had lost it
        except OSError as error:
            self._users.context.post(self._fail, f"it cannot be reached: {error.strerror}")
            return
        self._timer = self._users.context.call_later(self._users.try_seconds, self._send)

    def _silence(self) -> str:
        if self._dropped:
            return f"{self._dropped} answers were dropped, the last one because {self._last_drop}"
        return "it did not answer; it may not know this client, or have another secret for it"

    def _readable(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            if self._socket is None:
                return
            try:
                datagram = self._socket.recv(_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # the host says that nobody listens
                self._fail(f"it cannot be reached: {error.strerror}")
                return
            self._read(datagram)

    def _read(self, datagram: bytes) -> None:
        settings = self._users.settings
        try:
            response = packet.read_response(
                datagram,
                self._identifier,
                self._authenticator,
                settings.secret,
                needs_message_authenticator=settings.needs_signature,
            )
        except packet.RadiusError as error:
            self._dropped += 1
            self._last_drop = str(error)
            return
        self.close()
        self._answered(response)

    def _fail(self, words: str) -> None:
        if self._left >= 0:  # else it is closed
            self.close()
            self._failed(words)


def _groups(value: bytes) -> list[str]:
    """Read the groups in one attribute; some servers write several with semicolons between them."""
    return [text for part in value.decode().split(";") if (text := part.strip()) and text.isprintable()]
