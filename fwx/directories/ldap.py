"""Users of LDAP servers: sought with the service's account, their passwords tried by a bind (RFC 4511, RFC 4513)."""

from __future__ import annotations

import logging
import math
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from zope.interface import implementer

from fwx.directories.ldap_names import escape, fill_filter
from fwx.impl.authentication import WRONG, Checked, IPasswordAuthenticator
from fwx.impl.user import LDAP_NAMESPACE
from fwx.proxy.request import printable

with warnings.catch_warnings():
    # ldap3 is from before these names of pyasn1 were.
    warnings.filterwarnings("ignore", "(tag|type)Map is deprecated", DeprecationWarning)
    import ldap3
    from ldap3.core.exceptions import LDAPException

if TYPE_CHECKING:
    from fwx.directories.context import DirectoryContext

logger = logging.getLogger("fwx.directories")

Done = Callable[[Checked], None]

MOST_GROUPS: Final = 1000
"""Groups of one user that are read; a user with more is not let in."""

# What is kept of a server's own words.
_LONGEST_FAULT: Final = 300

_SUCCESS: Final = 0
_SIZE_LIMIT_EXCEEDED: Final = 4
# What a server answers to a bind whose name or password it does not take: invalidCredentials, noSuchObject,
# invalidDNSyntax, inappropriateAuthentication, constraintViolation and unwillingToPerform (a locked account),
# insufficientAccessRights.
_REFUSED: Final = frozenset({49, 32, 34, 48, 19, 53, 50})


class LdapSettings(NamedTuple):
    """How the servers are asked.

    :ivar servers: URLs. :ivar start_tls: whether ``ldap://`` ones are made to speak TLS first. :ivar context: what
        judges their certificates. :ivar bind_dn: the account that searches, ``""`` for nobody's.
    :ivar user_filter: with ``{user}``. :ivar group_filter: with ``{user}`` or ``{dn}``; ``""`` for no groups.
    """

    servers: tuple[str, ...]
    start_tls: bool
    tls: ssl.SSLContext | None
    bind_dn: str
    password: str
    base: str
    user_filter: str
    user_attribute: str
    group_base: str
    group_filter: str
    group_attribute: str


class LdapError(Exception):
    """A server that did not do what it was asked; in words."""


class _Tls(ldap3.Tls):
    """TLS by a context of the standard library, which checks the server's name and address itself."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        """Called by ldap3 on a connected socket."""
        connection.socket = self._context.wrap_socket(
            connection.socket, server_hostname=connection.server.host, do_handshake_on_connect=do_handshake
        )


class _Job:
    """One check on a thread of the pool; the loop thread may call it off."""

    __slots__ = ("connection", "is_off")

    def __init__(self) -> None:
        self.is_off = False
        self.connection: Any = None

    def call_off(self) -> None:
        """End it: the thread's next or present operation on the connection fails."""
        self.is_off = True
        opened = getattr(self.connection, "socket", None)
        if opened is not None:
            try:
                opened.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is closed, or not connected yet


@implementer(IPasswordAuthenticator)
class LdapUsers:
    """Asks one server after the other, beginning with the one that answered last, until one answers.

    Every check has a connection of its own: it binds as the service's account, looks for the one entry of the user and
    for its groups, and binds as that entry with the user's password.
    """

    def __init__(self, settings: LdapSettings, context: DirectoryContext) -> None:
        self._settings = settings
        self._context = context
        self._first = 0

    def check(self, name: str, password: bytes, done: Done) -> Callable[[], None]:
        """Check as :class:`~fwx.impl.authentication.IPasswordAuthenticator` says, on a thread of the directory's pool.

        :raises COMError: there is no thread.
        """
        job = _Job()
        self._context.submit(partial(self._work, job, name, password, done))
        return job.call_off

    def _work(self, job: _Job, name: str, password: bytes, done: Done) -> None:
        faults: list[str] = []
        servers = self._settings.servers
        for step in range(len(servers)):
            index = (self._first + step) % len(servers)
            if job.is_off:
                return
            try:
                result = self._ask(job, servers[index], name, password)
            except Exception as error:  # the library raises anything where a server talks nonsense
                if job.is_off:
                    return
                known = isinstance(error, LDAPException | LdapError | OSError)
                logger.debug("directory %r: %s failed", self._context.name, servers[index], exc_info=not known)
                text = str(error) if known else f"{type(error).__name__}: {error}"
                faults.append(f"{servers[index]}: {printable(text)[:_LONGEST_FAULT]}")
                words = f"directory {self._context.name!r}: {faults[-1]}"
                self._context.warn(f"{self._context.name} {servers[index]}", words)
                continue
            self._first = index
            self._context.post(done, result)
            return
        self._context.post(done, Checked(None, f"directory {self._context.name!r}: {'; '.join(faults)}"))

    def _ask(self, job: _Job, url: str, name: str, password: bytes) -> Checked:
        connection = job.connection = self._open(url)
        try:
            self._bind_account(connection)
            entry = self._find(connection, name)
            if entry is None:
                # It takes as long as a wrong password, or nearly: the server has no hash to compare with.
                settings = self._settings
                _bind(connection, f"{settings.user_attribute}={escape(name)},{settings.base}", password)
                return WRONG
            dn, true_name = entry
            groups = tuple(self._groups(connection, dn, true_name))
            if not _bind(connection, dn, password):
                return WRONG
            return Checked(self._context.user(true_name, groups, LDAP_NAMESPACE))
        finally:
            job.connection = None
            _close(connection)

    def _open(self, url: str) -> Any:
        settings, parts = self._settings, urlsplit(url)
        seconds = self._context.share(len(settings.servers))
        is_tls = parts.scheme == "ldaps"
        tls = None if settings.tls is None else _Tls(settings.tls)
        server = ldap3.Server(
            parts.hostname or "",
            port=parts.port or (636 if is_tls else 389),
            use_ssl=is_tls,
            tls=tls,
            get_info=ldap3.NONE,
            connect_timeout=seconds,
        )
        connection = ldap3.Connection(
            server,
            receive_timeout=math.ceil(seconds),
            auto_referrals=False,
            check_names=False,
            auto_encode=False,
            raise_exceptions=False,
        )
        try:
            connection.open(read_server_info=False)
            if settings.start_tls and not is_tls and not connection.start_tls(read_server_info=False):
                raise LdapError(f"it does not start TLS: {connection.last_error or _words(connection)}")
        except BaseException:
            _close(connection)
            raise
        return connection

    def _bind_account(self, connection: Any) -> None:
        settings = self._settings
        if settings.bind_dn and not _bind(connection, settings.bind_dn, settings.password.encode()):
            raise LdapError(f"it refuses the account {settings.bind_dn!r}: {_words(connection)}")

    def _find(self, connection: Any, name: str) -> tuple[str, str] | None:
        """Return the distinguished name of the user *name*, and how the directory spells it."""
        settings = self._settings
        condition = fill_filter(settings.user_filter, {"user": name})
        found = list(
            self._search(connection, settings.base, condition, settings.user_attribute, most=2, allows_more=True)
        )
        if not found:
            return None
        if len(found) > 1:
            raise LdapError(f"it has more than one entry for the user {name!r}: {condition}")
        dn, values = found[0]
        spelled = values if len(values) == 1 else [value for value in values if value.casefold() == name.casefold()]
        if len(spelled) != 1 or not spelled[0].isprintable() or not spelled[0].strip():
            raise LdapError(f"the entry {dn!r} says by no {settings.user_attribute!r} what the user is called")
        return dn, spelled[0]

    def _groups(self, connection: Any, dn: str, name: str) -> Iterator[str]:
        settings = self._settings
        if not settings.group_filter:
            return
        condition = fill_filter(settings.group_filter, {"user": name, "dn": dn})
        found = self._search(connection, settings.group_base, condition, settings.group_attribute, most=MOST_GROUPS)
        for _, values in found:
            yield from (value for value in values if value.isprintable() and value.strip())

    def _search(
        self, connection: Any, base: str, condition: str, attribute: str, most: int, *, allows_more: bool = False
    ) -> Iterator[tuple[str, list[str]]]:
        """Yield the distinguished names of what *condition* holds for, with their values of *attribute*.

        :raises LdapError: it cannot be searched, or, unless *allows_more*, there is more: a user whose groups are half
            known is not let in.
        """
        connection.search(base, condition, attributes=[attribute], size_limit=most)
        code = connection.result["result"]
        if code != _SUCCESS and not (code == _SIZE_LIMIT_EXCEEDED and allows_more):
            raise LdapError(f"searching {base!r} for {condition} failed: {_words(connection)}")
        for entry in connection.response or ():
            if entry["type"] == "searchResEntry":
                raw: dict[str, list[bytes]] = entry["raw_attributes"]
                values = next((found for key, found in raw.items() if key.lower() == attribute.lower()), [])
                yield entry["dn"], [value.decode("utf-8", "replace") for value in values]


def _bind(connection: Any, dn: str, password: bytes) -> bool:
    """Bind as *dn*; return whether the server takes name and password.

    :raises LdapError: it says neither that it does nor that it does not.
    """
    connection.authentication, connection.user, connection.password = ldap3.SIMPLE, dn, password
    connection.bind(read_server_info=False)
    code = connection.result["result"]
    if code != _SUCCESS and code not in _REFUSED:
        raise LdapError(f"it did not check a password: {_words(connection)}")
    return bool(code == _SUCCESS)


def _words(connection: Any) -> str:
    result = connection.result
    message = result.get("message") or ""
    return f"{result['description']}{': ' if message else ''}{message}"


def _close(connection: Any) -> None:
    """Close without a farewell, which would wait for a server that is gone."""
    opened = connection.socket
    connection.socket = None
    if opened is not None:
        opened.close()
