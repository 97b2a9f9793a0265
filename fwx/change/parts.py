"""What a configuration is made into before anything of it is in force: all that is read, compiled and can fail."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwx.alerts.definitions import definitions_of
from fwx.composition import filter_host, options_fit, policy_of, users_of
from fwx.config_directories import LdapDirectory, RadiusDirectory
from fwx.config_problems import ConfigurationError
from fwx.filter_loader import load_filter_class
from fwx.impl.networks import LocalAddresses
from fwx.impl.route import routes
from fwx.listener_tls import listeners_tls
from fwx.policy_warnings import policy_warnings
from fwx.secret_file import is_closed
from fwx.upstreams import accounts_of, upstreams_of
from fwx.user_directories import read_directories

if TYPE_CHECKING:
    from fwx.config import Configuration
    from fwx.impl.alert import EventDefinition
    from fwx.impl.alertdefinition import AlertDefinition
    from fwx.impl.fault import FaultReporter
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.policy import Policy
    from fwx.impl.route import Route
    from fwx.listener_tls import ListenerTls
    from fwx.local_users import LocalUser
    from fwx.proxy.upstream import Account
    from fwx.user_directories import MakeAuthenticator


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one configuration that are made of its text and of the files that it names.

    :ivar local: this host's own addresses, which the policy keeps up to date. :ivar tls: by listener.
    :ivar accounts: by upstream. :ivar fingerprint: of everything that says who users are; the same where nothing of it
        has changed. :ivar notes: what could not be read any more and stays, and that rules are missing, in words.
    :ivar filters: by name, those that are new; they are not started.
    """

    configuration: Configuration
    local: LocalAddresses
    policy: Policy
    routes: Mapping[str, Route]
    tls: Mapping[str, ListenerTls]
    accounts: Mapping[str, Account | None]
    users: tuple[LocalUser, ...]
    directories: tuple[MakeAuthenticator, ...]
    fingerprint: bytes
    alerts: tuple[AlertDefinition, ...]
    notes: tuple[str, ...] = ()
    filters: Mapping[str, FilterHost] = field(default_factory=dict)


def read_parts(
    configuration: Configuration,
    faults: FaultReporter,
    upstream_failure: EventDefinition,
    before: Parts | None = None,
) -> Parts:
    """Make the parts of *configuration*; it may take a while, and may be done on any thread.

    :param before: what runs. Filters with the same table go on. What a table names that is the same, and that this
        account may not read any more, stays as it was read.
    :raises ConfigurationError: something cannot be used; named with its key. :raises FilterLoadError: a filter's class
        cannot be loaded.
    """
    old = None if before is None else before.configuration
    # What fails for one listener, upstream or directory is told for all of its kind.
    known_tls = {} if before is None else _kept(configuration, before)
    tls = listeners_tls(configuration, known_tls)
    known = {} if before is None else _kept_accounts(configuration, before)
    accounts = accounts_of(configuration, known)
    users = users_of(configuration)
    directories, fingerprint, are_kept = _directories(configuration, before)
    notes = [f"listener {name!r}: its TLS" for name in known_tls]
    notes += [f"upstream {name!r}: its password" for name in known]
    notes += ["the directories: what their tables name"] * are_kept
    unchanged = {} if old is None else {table.name: table for table in old.filters}
    filters = {
        table.name: _new_filter(configuration, index, faults)
        for index, table in enumerate(configuration.filters)
        if unchanged.get(table.name) != table
    }
    local = LocalAddresses()
    return Parts(
        configuration,
        local,
        policy_of(configuration, local),
        routes(upstreams_of(configuration, upstream_failure, accounts)),
        tls,
        accounts,
        users,
        directories,
        fingerprint,
        definitions_of(configuration, () if before is None else before.alerts),
        (
            *(f"{what} stays as it was read before; a file is closed to the service now" for what in notes),
            *map(str, policy_warnings(configuration)),
        ),
        filters,
    )


def _new_filter(configuration: Configuration, index: int, faults: FaultReporter) -> FilterHost:
    filter_class = load_filter_class(configuration.filters[index].use)
    problems = options_fit(configuration, index, filter_class)
    if problems:
        raise ConfigurationError(problems)
    return filter_host(configuration, index, filter_class, faults)


def _kept(configuration: Configuration, before: Parts) -> dict[str, ListenerTls]:
    """Return the TLS of listeners that name the same files as before, of which one can be read no more."""
    kept = {}
    old: dict[str, Any] = {table.name: table for table in before.configuration.listeners}
    for table in configuration.listeners:
        files, known = _tls_files(configuration, table), old.get(table.name)
        same = known is not None and _tls_files(before.configuration, known) == files and _tls(known) == _tls(table)
        if same and any(map(is_closed, files)):
            kept[table.name] = before.tls[table.name]
    return kept


def _tls(table: Any) -> object:
    """Return all of *table* that its TLS depends on."""
    return getattr(table, "tls", None), getattr(table, "to_tls", None), getattr(table, "to", None)


def _tls_files(configuration: Configuration, table: Any) -> list[Path]:
    named = []
    if (tls := getattr(table, "tls", None)) is not None:
        named += [tls.certificate, tls.key, tls.ca]
    if (to_tls := getattr(table, "to_tls", None)) is not None:
        named.append(to_tls.ca)
    return [configuration.beside(name) for name in named if name is not None]


def _kept_accounts(configuration: Configuration, before: Parts) -> dict[str, Account | None]:
    kept = {}
    old = {table.name: table for table in before.configuration.upstreams}
    for table in configuration.upstreams:
        known = old.get(table.name)
        if known is None or table.password_file is None or known.password_file is None or known.user != table.user:
            continue
        file = configuration.beside(table.password_file)
        if before.configuration.beside(known.password_file) == file and is_closed(file):
            kept[table.name] = before.accounts[table.name]
    return kept


def _directories(
    configuration: Configuration, before: Parts | None
) -> tuple[tuple[MakeAuthenticator, ...], bytes, bool]:
    """Return what makes the directories, the fingerprint, and whether they stay as they were read before."""
    files = [configuration.beside(name) for table in configuration.directories for name in _directory_files(table)]
    if before is not None and any(map(is_closed, files)):
        old = before.configuration
        if old.directories == configuration.directories and files == [
            old.beside(name) for table in old.directories for name in _directory_files(table)
        ]:
            same_users = old.users == configuration.users
            return before.directories, before.fingerprint if same_users else before.fingerprint + b"+", True
    makers = read_directories(configuration)
    digest = hashlib.sha256(repr((configuration.users, configuration.directories)).encode())
    for file in files:
        digest.update(file.read_bytes())
    return makers, digest.digest(), False


def _directory_files(table: Any) -> list[str]:
    match table:
        case LdapDirectory():
            return [name for name in (table.ca, table.password_file) if name is not None]
        case RadiusDirectory():
            return [table.secret_file]
    return []
