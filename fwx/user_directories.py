"""From the ``[[directory]]`` tables to what checks the passwords of their users, with secrets and plugins read."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from secrets import token_hex
from typing import TYPE_CHECKING, NamedTuple

from fwx.config_directories import LdapDirectory, PluginDirectory, RadiusDirectory
from fwx.config_problems import ConfigurationError, KeyPath, Problem
from fwx.directories.context import DirectoryContext
from fwx.directories.directory import Directory
from fwx.directories.plugin import load_authenticator
from fwx.directories.radius import RadiusSettings, RadiusUsers
from fwx.directories.radius_packet import CLASS, FILTER_ID
from fwx.filter_loader import option_problems, read_options
from fwx.resolver import SystemResolver
from fwx.secret_file import read_secret
from fwx.workers import WorkerPool

if TYPE_CHECKING:
    from fwx.config import Configuration
    from fwx.impl.authentication import Checked, IPasswordAuthenticator
    from fwx.impl.engine import Resolver

logger = logging.getLogger("fwx.directories")

THREADS = 4
"""Threads of a directory that needs some: so many of its passwords are checked at a time."""

PROBE_SECONDS = 5.0
"""How long ``fwx check --deep`` waits for threads that have been called off."""

_GROUP_ATTRIBUTES = {"Filter-Id": FILTER_ID, "Class": CLASS}


class DirectorySurroundings(NamedTuple):
    """What directories get from the service that they are part of.

    :ivar post: calls a function on the loop thread, later, from any thread. :ivar failure: told of a server that fails,
        by words and the server, from any thread.
    """

    loop: asyncio.AbstractEventLoop
    post: Callable[..., None]
    resolver: Resolver
    failure: Callable[..., object]
    clock: Callable[[], float] = time.monotonic


MakeAuthenticator = Callable[[DirectoryContext, DirectorySurroundings], "IPasswordAuthenticator"]


def read_directories(configuration: Configuration) -> tuple[MakeAuthenticator, ...]:
    """Read the secrets, certificates and plugins that the ``[[directory]]`` tables name.

    :raises ConfigurationError: one cannot be used; every one is named.
    """
    made, problems = [], []
    for index in range(len(configuration.directories)):
        try:
            made.append(_Reader(configuration, index).factory())
        except _UnusableError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return tuple(made)


class UserDirectories:
    """The directories of a service, in the file's order, and their threads.

    :ivar by_name: what the registry gets. :ivar radius: the names of those that are RADIUS servers.
    :ivar longest_seconds: the longest time that one may take to answer.
    """

    def __init__(
        self, configuration: Configuration, makers: tuple[MakeAuthenticator, ...], around: DirectorySurroundings
    ) -> None:
        """Make them by *makers*, which :func:`read_directories` has returned; nobody is asked yet."""
        self.by_name: dict[str, IPasswordAuthenticator] = {}
        self.radius = tuple(table.name for table in configuration.directories if isinstance(table, RadiusDirectory))
        self.longest_seconds = max((table.timeout_seconds for table in configuration.directories), default=0.0)
        self.pools: list[WorkerPool] = []
        self._directories: list[Directory] = []
        local_names = frozenset(user.name for user in configuration.users)
        for table, make in zip(configuration.directories, makers, strict=True):
            pool = WorkerPool(THREADS, THREADS)
            self.pools.append(pool)
            context = DirectoryContext(
                name=table.name,
                seconds=table.timeout_seconds,
                post=around.post,
                submit=pool.submit,
                call_later=around.loop.call_later,
                warn=lambda key, words: around.failure(words, key=key),
                local_names=local_names,
            )
            directory = Directory(make(context, around), context, around.clock, table.cache_seconds)
            self._directories.append(directory)
            self.by_name[table.name] = directory

    def close(self) -> None:
        """Give up what is under way; the threads in :attr:`pools` are the caller's to end."""
        for directory in self._directories:
            directory.close()


async def directory_faults(
    configuration: Configuration, makers: tuple[MakeAuthenticator, ...]
) -> list[tuple[int, str]]:
    """Ask every directory, at one time, about a user that nobody is; return the index of each that does not say no, and
    why. For ``fwx check --deep``.
    """
    loop = asyncio.get_running_loop()
    resolver = SystemResolver(loop)

    def post(function: Callable[..., object], *args: object) -> None:
        loop.call_soon_threadsafe(function, *args)

    def ignore(words: str, key: str) -> None:
        logger.debug("%s: %s", key, words)  # the result says it as well

    around = DirectorySurroundings(loop, post, resolver, ignore)
    directories = UserDirectories(configuration, makers, around)
    answers: list[asyncio.Future[Checked]] = []
    for directory in directories.by_name.values():
        answers.append(loop.create_future())
        directory.check(f"fwx-check-{token_hex(8)}", token_hex(16).encode(), answers[-1].set_result)
    results = await asyncio.gather(*answers)
    directories.close()
    for pool in directories.pools:
        pool.close()
        await asyncio.to_thread(pool.join, PROBE_SECONDS)
    resolver.close()
    return [
        (index, result.reason or "it lets in a user that nobody is")
        for index, result in enumerate(results)
        if result.user is not None or not result.counts
    ]


class _UnusableError(Exception):
    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems


class _Reader:
    """Reads what one table names; what cannot be read is a problem at its key."""

    def __init__(self, configuration: Configuration, index: int) -> None:
        self._configuration = configuration
        self._path: KeyPath = ("directory", index)
        self._table = configuration.directories[index]

    def factory(self) -> MakeAuthenticator:
        """:raises _UnusableError: something cannot be read."""
        match self._table:
            case LdapDirectory() as ldap:
                return self._ldap(ldap)
            case RadiusDirectory() as radius:
                return self._radius(radius)
            case PluginDirectory() as plugin:
                return self._plugin(plugin)

    def _ldap(self, table: LdapDirectory) -> MakeAuthenticator:
        # It takes its time to import, and few need it.
        from fwx.directories.ldap import LdapSettings, LdapUsers

        settings = LdapSettings(
            servers=table.servers,
            start_tls=table.start_tls,
            tls=self._tls(table) if table.speaks_tls else None,
            bind_dn=table.bind_dn or "",
            password="" if table.password_file is None else self._secret("password_file", table.password_file),
            base=table.base,
            user_filter=table.user_filter,
            user_attribute=table.user_attribute,
            group_base=table.group_base or table.base,
            group_filter=table.group_filter,
            group_attribute=table.group_attribute,
        )
        return lambda context, _: LdapUsers(settings, context)

    def _radius(self, table: RadiusDirectory) -> MakeAuthenticator:
        settings = RadiusSettings(
            servers=table.servers,
            secret=self._secret("secret_file", table.secret_file).encode(),
            nas_identifier=(table.nas_identifier or self._configuration.service.name).encode()[:253],
            method=table.method,
            tries=table.tries,
            group_attribute=_GROUP_ATTRIBUTES[table.group_attribute],
            needs_signature=table.require_message_authenticator,
        )
        return lambda context, around: RadiusUsers(settings, context, around.loop, around.resolver)

    def _plugin(self, table: PluginDirectory) -> MakeAuthenticator:
        try:
            loaded = load_authenticator(table.use)
        except ValueError as error:
            raise self._unusable("use", str(error)) from None
        source = self._configuration.source
        problems = option_problems(loaded, table.options, source, (*self._path, "options"))
        if problems:
            raise _UnusableError(problems)
        options = read_options(loaded, table.options)
        return lambda context, _: loaded(context) if options is None else loaded(context, options)

    def _tls(self, table: LdapDirectory) -> ssl.SSLContext:
        file = None if table.ca is None else self._configuration.beside(table.ca)
        try:
            return ssl.create_default_context(cafile=file)
        except OSError as error:  # ssl.SSLError is one
            raise self._unusable("ca", f"{file} holds no certificates in PEM that can be read: {error}") from None

    def _secret(self, key: str, file: str) -> str:
        try:
            return read_secret(self._configuration.beside(file))
        except ValueError as error:
            raise self._unusable(key, str(error)) from None

    def _unusable(self, key: str, message: str) -> _UnusableError:
        return _UnusableError([self._configuration.source.problem((*self._path, key), message)])
