"""Authenticators that other distributions offer, by entry point or by module."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any, Final

from fwx.config_problems import did_you_mean
from fwx.impl.authentication import IPasswordAuthenticator

GROUP: Final = "fwx.authenticators"
"""The entry point group in which a distribution offers its authenticators."""

AuthenticatorClass = Callable[..., Any]


def load_authenticator(use: str) -> type:
    """Import the class *use*: the name of an entry point, or ``module:Class``.

    The class implements :class:`~fwx.impl.authentication.IPasswordAuthenticator`; it is called with a
    :class:`~fwx.directories.context.DirectoryContext` and, where it has a class ``Options``, the table's options.

    :raises ValueError: it cannot be had, or is no such class; in words.
    """
    if ":" in use:
        entry_point = metadata.EntryPoint(name=use, value=use, group=GROUP)
    else:
        group = metadata.entry_points(group=GROUP)
        found = list(group.select(name=use))
        if not found:
            hint = did_you_mean(use, group.names) or "; expected an entry point, or module:Class"
            raise ValueError(f"no distribution offers {use!r} in the entry point group {GROUP}{hint}")
        if len(found) > 1:
            offers = " and ".join(sorted(each.value for each in found))
            raise ValueError(f"{use!r} is offered twice: {offers}; write module:Class instead")
        entry_point = found[0]
    try:
        loaded = entry_point.load()
    except (Exception, SystemExit) as error:
        raise ValueError(f"importing {entry_point.value} raised {type(error).__name__}: {error}") from error
    if not isinstance(loaded, type) or not IPasswordAuthenticator.implementedBy(loaded):
        raise ValueError(f"{entry_point.value} is no class that implements IPasswordAuthenticator")
    return loaded
