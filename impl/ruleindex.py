"""Which rules of a policy can match a connection, found without walking them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fwx.impl.rulematch import CompiledRule, Question

_MOST_FOUND: Final = 4096


class RuleIndex:
    """The rules of a policy, by the names that they have: under each name a number with one bit for each rule.

    So the rules that match are a few operations on long numbers, however many rules there are; and connections that
    protocols, networks and sets do not tell apart share what was found.
    """

    def __init__(self, rules: tuple[CompiledRule, ...]) -> None:
        self._rules = rules
        self._found: dict[tuple[object, ...], tuple[CompiledRule, ...]] = {}
        self._protocols = self._named(lambda rule: rule.protocols)
        self._sources = self._named(lambda rule: rule.source)
        self._networks = self._named(lambda rule: rule.networks)
        self._domains = self._named(lambda rule: rule.domains)
        self._urls = self._named(lambda rule: rule.urls if rule.rule.action == "allow" else ())
        self._maybe_urls = self._named(lambda rule: rule.urls if rule.rule.action != "allow" else ())
        self._everywhere = self._all(lambda rule: rule.is_everywhere)
        self._waiting = self._all(lambda rule: rule.waits_for_address)
        self._with_content = self._all(lambda rule: rule.content_types is not None)

    def fitting(self, question: Question) -> tuple[CompiledRule, ...]:
        """Return all rules but those that do not fit whatever the client's port, the content and the user are."""
        key = (
            question.traffic.names,
            question.client,
            question.target,
            question.domains,
            question.urls,
            question.maybe_urls,
            question.is_web,
        )
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            found = self._found[key] = tuple(self._of(self._matching(question)))
        return found

    def _matching(self, question: Question) -> int:
        """Return the bits of the rules that match; :meth:`CompiledRule.match` says the same of one rule."""
        places = (
            self._everywhere
            | _any(self._networks, question.target)
            | _any(self._domains, question.domains)
            | _any(self._urls, question.urls)
            | _any(self._maybe_urls, question.maybe_urls)
        )
        if not question.target:
            places |= self._waiting
        if not question.is_web:
            places &= ~self._with_content
        return places & _any(self._protocols, question.traffic.names) & _any(self._sources, question.client)

    def _of(self, bits: int) -> Iterator[CompiledRule]:
        """Give the rules of *bits*, in their order."""
        while bits:
            lowest = bits & -bits
            yield self._rules[lowest.bit_length() - 1]
            bits ^= lowest

    def _named(self, names_of: Callable[[CompiledRule], Iterable[str]]) -> dict[str, int]:
        found: dict[str, int] = {}
        for number, rule in enumerate(self._rules):
            for name in names_of(rule):
                found[name] = found.get(name, 0) | 1 << number
        return found

    def _all(self, holds: Callable[[CompiledRule], bool]) -> int:
        return sum(1 << number for number, rule in enumerate(self._rules) if holds(rule))


def _any(known: dict[str, int], names: Iterable[str]) -> int:
    """Return the bits that any of *names* has."""
    bits = 0
    for name in names:
        bits |= known.get(name, 0)
    return bits
