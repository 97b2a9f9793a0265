"""Files whose rules are not what decides, because there are none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fwx.config_problems import Problem

if TYPE_CHECKING:
    from fwx.config_model import Configuration


def policy_warnings(configuration: Configuration) -> Iterator[Problem]:
    """Yield what is to be known of a *configuration* without a ``[[rule]]``, where the embedded policy holds.

    An emptied or cut file is one. ``fwx check`` warns of it, and so does a change that puts one in force.
    """
    if configuration.rules:
        return
    source = configuration.source
    words = "there is no [[rule]], so the embedded policy holds: programs on this machine may connect to everything"
    yield Problem(source.file, 0, "rule", words)
    if configuration.network_rules and not configuration.all_rules:
        words = "is not used: the embedded policy asks no network rules; expected a [[rule]] or [[system_rule]]"
        yield source.problem(("network_rule", 0), words)
