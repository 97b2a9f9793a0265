"""From the ``[[upstream]]`` tables to the routes of a service, with the passwords read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from fwx.config_model import Configuration, Upstream
from fwx.config_problems import ConfigurationError, Problem
from fwx.impl.alert import EventDefinition
from fwx.impl.passage import Handshake
from fwx.impl.route import Upstream as UpstreamRoute
from fwx.impl.upstreamdatagrams import Relaying
from fwx.interfaces import SocketAddress
from fwx.proxy.http_connect_client import HttpConnectClient
from fwx.proxy.socks5_client import Socks5Client
from fwx.proxy.socks5_codes import BIND, UDP_ASSOCIATE
from fwx.proxy.socks5_datagram import HeaderCodec
from fwx.proxy.upstream import Account
from fwx.secret_file import read_secret

_CLIENTS: dict[str, type[Socks5Client] | type[HttpConnectClient]] = {"socks5": Socks5Client, "http": HttpConnectClient}

# What a client says that does not know from where it will send datagrams (RFC 1928 section 4).
_NOWHERE = SocketAddress("0.0.0.0", 0)  # noqa: S104


def upstreams_of(
    configuration: Configuration, failure: EventDefinition, accounts: Mapping[str, Account | None] | None = None
) -> Iterator[UpstreamRoute]:
    """Make the routes of *configuration*; each upstream comes after the one that it is reached through.

    :param failure: signalled when an upstream fails or refuses its account. :param accounts: those of
        :func:`accounts_of`, which are read here without it.
    :raises ConfigurationError: a password cannot be read, or does not suit the protocol; every one is named.
    """
    if accounts is None:
        accounts = accounts_of(configuration)
    made: dict[str, UpstreamRoute] = {}
    waiting = list(configuration.upstreams)
    while waiting:
        # Names and loops have been checked when the file was read, so that each round makes at least one.
        ready = [table for table in waiting if table.via is None or table.via in made]
        for table in ready:
            connect: Callable[[SocketAddress], Handshake] = partial(_CLIENTS[table.kind], account=accounts[table.name])
            via = None if table.via is None else made[table.via]
            relaying = binding = None
            if table.kind == "socks5":
                relaying = socks5_relaying(accounts[table.name])
                binding = partial(Socks5Client, account=accounts[table.name], command=BIND)
            made[table.name] = UpstreamRoute(
                table.name, table.address, connect, failure, via, relaying, binding=binding
            )
        waiting = [table for table in waiting if table not in ready]
    yield from made.values()


def socks5_relaying(account: Account | None = None) -> Relaying:
    """Return how a SOCKS5 upstream relays datagrams for *account*."""
    return Relaying(partial(Socks5Client, _NOWHERE, account, UDP_ASSOCIATE), HeaderCodec)


def accounts_of(
    configuration: Configuration, known: Mapping[str, Account | None] | None = None
) -> dict[str, Account | None]:
    """Return the account at each upstream of *configuration*, its password read; those that are *known* are not.

    :raises ConfigurationError: a password cannot be read, or does not suit the protocol; every one is named.
    """
    known = known or {}
    problems: list[Problem] = []
    accounts: dict[str, Account | None] = {}
    for index, table in enumerate(configuration.upstreams):
        try:
            account = known[table.name] if table.name in known else _account(configuration, table)
            accounts[table.name] = account
        except ValueError as error:
            key = "password_file" if table.password_file is not None else "user"
            problems.append(configuration.source.problem(("upstream", index, key), str(error)))
    if problems:
        raise ConfigurationError(problems)
    return accounts


def _account(configuration: Configuration, table: Upstream) -> Account | None:
    """Return the account at an upstream, with its password. :raises ValueError: it cannot be used; says why."""
    if table.user is None:
        return None
    password = table.password or ""
    if table.password_file is not None:
        password = read_secret(configuration.beside(table.password_file))
    account = Account(table.user, password)
    _CLIENTS[table.kind](table.address, account)
    return account
