"""What is wrong with the networks of a configuration and the rules about them: overlaps, and what says nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fwx.config_problems import KeyPath, Problem
from fwx.config_source import Source
from fwx.impl.networks import AddressRange

_LOCALHOST = "localhost"


class _Written(NamedTuple):
    """A range of a network, as it stands in the file."""

    range: AddressRange
    network: str
    path: KeyPath
    text: str


def network_problems(source: Source) -> Iterator[Problem]:
    """Yield what is wrong beside the form of *source* and the names in it, in no order."""
    yield from _overlaps(source)
    yield from _network_rules(source)
    for path, rule in source.tables("system_rule"):
        if [_LOCALHOST] not in (rule.get("from"), rule.get("to")):
            message = f"is not about the firewall itself: expected from = ['{_LOCALHOST}'] or to = ['{_LOCALHOST}']"
            yield source.problem((*path, "to"), message)


def _overlaps(source: Source) -> Iterator[Problem]:
    """Find the networks that hold an address together; each pair is told once, where the later one is written."""
    written = sorted(_ranges(source), key=lambda each: (each.range.version, each.range.first, each.range.last))
    told: set[frozenset[str]] = set()
    farthest: _Written | None = None
    for each in written:
        is_behind = farthest is None or farthest.range.version != each.range.version
        if farthest is None or is_behind or farthest.range.last < each.range.first:
            farthest = each
            continue
        pair = frozenset((farthest.network, each.network))
        if len(pair) == 2 and pair not in told:
            told.add(pair)
            yield _overlap(source, *sorted((farthest, each), key=lambda one: one.path))
        if each.range.last > farthest.range.last:
            farthest = each


def _overlap(source: Source, earlier: _Written, later: _Written) -> Problem:
    where = f"network {earlier.network!r} in line {source.lines.line(earlier.path)}"
    message = (
        f"{later.text!r} of network {later.network!r} overlaps {earlier.text!r} of {where}; an address is in one "
        "network, expected other ranges or a [[computers]] table"
    )
    return source.problem(later.path, message)


def _ranges(source: Source) -> Iterator[_Written]:
    for path, network in source.tables("network"):
        name, ranges = network.get("name"), network.get("ranges")
        for index, text in enumerate(ranges if isinstance(ranges, list) and isinstance(name, str) else ()):
            try:
                yield _Written(AddressRange.parse(text), str(name), (*path, "ranges", index), text)
            except (ValueError, AttributeError, TypeError):
                continue  # reported as a fault of form


def _network_rules(source: Source) -> Iterator[Problem]:
    """Find network rules about what is related anyway, or what an earlier one relates already."""
    related: dict[frozenset[str], KeyPath] = {}
    for path, rule in source.tables("network_rule"):
        pairs: dict[frozenset[str], str] = {}
        for key in ("from", "to"):
            if _LOCALHOST in _names(rule, key):
                message = f"{_LOCALHOST!r} is related with every network by a route; expected other networks"
                yield source.problem((*path, key), message)
        for one in _names(rule, "from"):
            for other in _names(rule, "to"):
                if one == other and one != "any":
                    yield source.problem((*path, "to"), f"{one!r} is related with itself; expected another network")
                else:
                    pairs[frozenset((one, other))] = f"{one!r} and {other!r}"
        for pair, words in pairs.items():
            if pair in related:
                earlier = f"the [[network_rule]] in line {source.lines.line(related[pair])}"
                yield source.problem((*path, "to"), f"relates {words}, which {earlier} does already")
            related.setdefault(pair, path)


def _names(rule: Mapping[str, Any], key: str) -> list[str]:
    names = rule.get(key)
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
