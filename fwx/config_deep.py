"""``fwx check --deep``: whether the files, secrets, directories and users that a configuration names can be used."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import re
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

from fwx.alerts.deep import alert_faults
from fwx.config_model import Configuration, PublishListener, TransparentListener
from fwx.config_problems import ConfigurationError, KeyPath, Problem
from fwx.firewall_log_schema import FirewallLogError
from fwx.logs.sqldatabase import SqlDatabase
from fwx.secret_file import read_secret
from fwx.user_directories import directory_faults, read_directories

_ARGON2_HASH = re.compile(r"\$argon2id\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}")


def deep_problems(configuration: Configuration) -> list[Problem]:
    """Return what is wrong outside the file. Nothing is created or changed. Directories and mail
    servers are asked over the network.

    The answers hold for the user who asks: a folder that only root may write is a fault for others.
    """
    found = [
        *_service(configuration),
        *_certificates(configuration),
        *_secrets(configuration),
        *_log_paths(configuration),
        *alert_faults(configuration),
    ]
    problems = [configuration.source.problem(path, message) for path, message in found]
    return problems + directory_problems(configuration)


def _service(configuration: Configuration) -> Iterator[tuple[KeyPath, str]]:
    state_dir = configuration.state_dir
    key = ("service", "state_dir")
    message = _directory_fault(state_dir)
    if message:
        yield key, message
    elif state_dir.is_dir() and _mode(state_dir) & 0o077:
        yield key, f"{state_dir} has mode {_mode(state_dir):04o}, which lets other users in; expected 0700"
    user = configuration.service.user
    if user is not None and not _user_exists(user):
        yield ("service", "user"), f"there is no user {user!r} on this system; expected an existing one"


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _certificates(configuration: Configuration) -> Iterator[tuple[KeyPath, str]]:
    for index, listener in enumerate(configuration.listeners):
        if isinstance(listener, TransparentListener):
            continue
        if isinstance(listener, PublishListener) and listener.to_tls is not None and listener.to_tls.ca is not None:
            yield from _authority_faults(("listener", index, "to_tls", "ca"), configuration.beside(listener.to_tls.ca))
        if listener.tls is None:
            continue
        path = ("listener", index, "tls")
        certificate, key = (configuration.beside(text) for text in (listener.tls.certificate, listener.tls.key))
        unreadable = [
            ((*path, name), fault)
            for name, file in (("certificate", certificate), ("key", key))
            if (fault := _file_fault(file))
        ]
        yield from unreadable or _pair_faults(path, certificate, key)
        if listener.tls.ca is not None:
            yield from _authority_faults((*path, "ca"), configuration.beside(listener.tls.ca))


def _pair_faults(path: KeyPath, certificate: Path, key: Path) -> Iterator[tuple[KeyPath, str]]:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        yield (*path, "certificate"), f"{certificate} and {key} are no certificate with its key in PEM: {error}"
    yield from _secret_mode_faults((*path, "key"), key)


def _no_password() -> str:
    raise ValueError("the key is encrypted; expected one without a passphrase")


def _authority_faults(path: KeyPath, file: Path) -> Iterator[tuple[KeyPath, str]]:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
    except OSError as error:  # ssl.SSLError is one
        yield path, f"{file} holds no certificates in PEM that can be read: {error}"


def _secrets(configuration: Configuration) -> Iterator[tuple[KeyPath, str]]:
    for index, upstream in enumerate(configuration.upstreams):
        if upstream.password_file is None:
            continue
        try:
            read_secret(configuration.beside(upstream.password_file))
        except ValueError as error:
            yield ("upstream", index, "password_file"), str(error)
    for index, user in enumerate(configuration.users):
        if not _ARGON2_HASH.fullmatch(user.password):
            yield ("user", index, "password"), "is no complete Argon2id hash; expected what 'fwx user add' prints"


def directory_problems(configuration: Configuration) -> list[Problem]:
    """Ask each directory about a user that nobody is; one that says no is there, and takes secret or account.

    Not on a thread with a running event loop.
    """
    if not configuration.directories:
        return []
    try:
        makers = read_directories(configuration)
    except ConfigurationError as error:
        return error.problems
    faults = asyncio.run(directory_faults(configuration, makers))
    return [configuration.source.problem(("directory", index, "servers"), words) for index, words in faults]


def _secret_mode_faults(path: KeyPath, file: Path) -> Iterator[tuple[KeyPath, str]]:
    if _mode(file) & 0o077:
        yield path, f"{file} has mode {_mode(file):04o}, which lets other users in; expected 0600"


def _log_paths(configuration: Configuration) -> Iterator[tuple[KeyPath, str]]:
    database = configuration.log_database
    fault = _file_fault(database, write=True) if database.exists() else ""
    if not fault and database.parent != configuration.state_dir:
        fault = _directory_fault(database.parent)
    if fault:
        yield ("log", "sqlite"), fault
    for key, files in (("w3c", configuration.log.w3c), ("json", configuration.log.json_lines)):
        fault = "" if files is None else _directory_fault(configuration.state_dir / files.directory)
        if fault:
            yield ("log", key, "directory"), fault
    if configuration.log.sql is not None:
        try:
            with contextlib.closing(SqlDatabase(configuration.log.sql)) as elsewhere:
                elsewhere.ask()
        except FirewallLogError as error:
            yield ("log", "sql"), str(error)


def _file_fault(file: Path, *, write: bool = False) -> str:
    """Say why *file* cannot be opened, or ``""``."""
    if file.is_dir():
        return f"{file} is a directory; expected a file"
    try:
        with file.open("r+b" if write else "rb"):
            return ""
    except OSError as error:
        return f"{file} cannot be opened: {error.strerror}"


def _directory_fault(directory: Path) -> str:
    """Say why *directory* can be neither written nor made, or ``""``."""
    nearest = next(place for place in (directory, *directory.parents) if place.exists())
    if not nearest.is_dir():
        return f"{nearest} is a file; expected a directory"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f"{nearest} cannot be written by this user"
    return ""


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
