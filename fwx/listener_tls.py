"""From the ``tls`` and ``to_tls`` of ``[[listener]]`` tables to credentials, read before root is given up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from fwx.config_model import Configuration, Listener, PublishListener, Tls, ToTls, TransparentListener
from fwx.config_problems import ConfigurationError, KeyPath, Problem
from fwx.impl.tlscredentials import TlsCredentials
from fwx.impl.tlsrole import ClientRole, Role, ServerRole

# The fields of the credentials, which their errors begin with, and the keys of the file.
_KEYS: Mapping[str, str] = MappingProxyType(
    {"certificate": "certificate", "key": "key", "password": "key", "authorities": "ca"}
)


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """The TLS of one listener.

    :ivar from_client: makes the server's part of a handshake with a client; ``None`` where clients speak plain.
    :ivar to_server: makes the client's part of one with the published server; ``None`` where that speaks plain.
    """

    from_client: Callable[[], Role] | None = None
    to_server: Callable[[], Role] | None = None


def listeners_tls(
    configuration: Configuration, known: Mapping[str, ListenerTls] | None = None
) -> Mapping[str, ListenerTls]:
    """Return the TLS of every listener of *configuration*, by its name; that of those that are *known* is not read.

    :raises ConfigurationError: a file cannot be used; every one is named, with the line of its key.
    """
    made: dict[str, ListenerTls] = {}
    problems: list[Problem] = []
    for index, table in enumerate(configuration.listeners):
        try:
            found = None if known is None else known.get(table.name)
            made[table.name] = found or _of_listener(configuration, table, ("listener", index))
        except _UnusableError as error:
            problems.append(configuration.source.problem(error.path, error.words))
    if problems:
        raise ConfigurationError(problems)
    return made


class _UnusableError(Exception):
    def __init__(self, path: KeyPath, words: str) -> None:
        super().__init__(words)
        self.path = path
        self.words = words


def _of_listener(configuration: Configuration, table: Listener, path: KeyPath) -> ListenerTls:
    if isinstance(table, TransparentListener):
        return ListenerTls()
    from_client = to_server = None
    if table.tls is not None:
        from_client = _from_client(configuration, table.tls, (*path, "tls"))
    if isinstance(table, PublishListener) and table.to_tls is not None and table.to is not None:
        to_server = _to_server(configuration, table.to_tls, table.to.host, (*path, "to_tls"))
    return ListenerTls(from_client, to_server)


def _from_client(configuration: Configuration, table: Tls, path: KeyPath) -> Callable[[], Role]:
    credentials = _credentials(
        path,
        certificate=configuration.beside(table.certificate),
        key=configuration.beside(table.key),
        authorities=None if table.ca is None else configuration.beside(table.ca),
        require_client_certificate=table.ca is not None,
    )
    credentials.server_context(asks=table.ca is not None)
    return partial(ServerRole, credentials, asks=table.ca is not None, allows_tunnel=False)


def _to_server(configuration: Configuration, table: ToTls, host: str, path: KeyPath) -> Callable[[], Role]:
    credentials = _credentials(
        path,
        authorities=None if table.ca is None else configuration.beside(table.ca),
        verify=table.verify,
        check_host_name=table.verify,
    )
    credentials.client_context(anonymous=True)  # the authorities of the system are files too
    name = (table.server_name or host).removesuffix(".").encode("idna").decode("ascii").lower()
    return partial(ClientRole, credentials, name, anonymous=True)


def _credentials(path: KeyPath, *, authorities: Path | None, **fields: Path | bool) -> TlsCredentials:
    try:
        return TlsCredentials(authorities=authorities, **fields)  # type: ignore[arg-type]
    except ValueError as error:
        field, _, words = str(error).partition(": ")
        raise _UnusableError((*path, _KEYS.get(field, "certificate")), words) from error
