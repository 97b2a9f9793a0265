"""Giving up root after everything that needs it has been done."""

from __future__ import annotations

import encodings.idna
import os
import pwd
import resource
import stringprep
from pathlib import Path

from fwx.packetfilter.confinement import drop_capabilities

# The resolver's thread imports these when it first meets a name; without root the files may be closed to us.
_NEEDED_LATER = (encodings.idna, stringprep)

DEFAULT_USERS = ("fwx", "nobody")


class PrivilegeError(Exception):
    """Root cannot be given up as configured."""


def service_account(name: str | None) -> pwd.struct_passwd | None:
    """Return the account to run as when this process is root: *name*, else ``fwx``, else ``nobody``.

    ``None`` means that the process is not root, and stays what it is.

    :raises PrivilegeError: the named account does not exist, or is root.
    """
    return account_without_privileges(name) if os.geteuid() == 0 else None


def account_without_privileges(name: str | None) -> pwd.struct_passwd:
    """Return the account *name*, else ``fwx``, else ``nobody``, whoever asks.

    :raises PrivilegeError: the named account does not exist, or is root.
    """
    for candidate in (name,) if name else DEFAULT_USERS:
        try:
            account = pwd.getpwnam(candidate)
        except KeyError:
            continue
        if account.pw_uid == 0:
            raise PrivilegeError(f"service.user {candidate!r} is root; name an account without privileges")
        return account
    raise PrivilegeError(f"no account {name or ' or '.join(DEFAULT_USERS)!r}; create it or set service.user")


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one, as a proxy needs two for each connection; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def give_to(account: pwd.struct_passwd | None, *paths: Path) -> None:
    """Make *account* the owner of *paths* that exist."""
    if account is not None:
        for path in paths:
            if path.exists():
                os.chown(path, account.pw_uid, account.pw_gid)


def drop_root(account: pwd.struct_passwd | None) -> None:
    """Become *account* for good: its user, its group, its supplementary groups, no way back.

    :param account: ``None`` where this process is not root; then it gives up the capabilities that it was started with.
    :raises PrivilegeError: the kernel refused, or root could be had back.
    """
    if account is None:
        try:
            drop_capabilities()
        except OSError as error:
            raise PrivilegeError(f"cannot give up capabilities: {error}") from error
        return
    try:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    except OSError as error:
        raise PrivilegeError(f"cannot become {account.pw_name}: {error}") from error
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise PrivilegeError(f"became {account.pw_name}, yet root could be had back")
