"""Names of hosts as the policy compares them, and sets of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from fwx.interfaces.address import parse_ip

# What IDNA leaves as it is, but for the case.
_PLAIN: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE | re.ASCII)
# What is normalised already, and no address: those end with a digit, or have a colon.
_NORMAL: Final = re.compile(r"(?!.{254})(?:[a-z0-9_-]{1,63}\.)*+[a-z0-9_-]{1,63}+(?<=[a-z])", re.ASCII)
_NONE: Final[frozenset[str]] = frozenset()


def normalise_name(name: str) -> str:
    """Return the DNS *name* as policy compares it: lower-case A-labels without the final dot.

    :raises ValueError: *name* cannot be a DNS name.
    """
    if len(name) > 253 + name.endswith("."):
        raise ValueError(f"{name[:40]!r}... is longer than a DNS name can be")
    if _PLAIN.fullmatch(name):
        return name.lower().removesuffix(".")
    try:
        text = name.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError as error:
        raise ValueError(f"{name!r} is no DNS name: {error}") from None
    if not text:
        raise ValueError("a DNS name is not empty")
    return text


@dataclass(frozen=True, slots=True)
class DomainSet:
    """A named set of DNS *names*, each exact or ``*.example.org``, which is every name below it but not itself.

    :raises ValueError: a name is none; names the set and the name.
    """

    name: str
    names: tuple[str, ...]
    _exact: frozenset[str] = field(init=False, repr=False, compare=False)
    _parents: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        exact = frozenset(self._checked(name) for name in self.names if not name.startswith("*."))
        parents = frozenset(self._checked(name) for name in self.names if name.startswith("*."))
        object.__setattr__(self, "_exact", exact)
        object.__setattr__(self, "_parents", parents)

    @property
    def exact(self) -> frozenset[str]:
        """The names that are in the set as they are, normalised."""
        return self._exact

    @property
    def parents(self) -> frozenset[str]:
        """The names below which all are in the set, normalised."""
        return self._parents

    def _checked(self, name: str) -> str:
        bare = name.removeprefix("*.")
        if _NORMAL.fullmatch(bare):
            return bare
        try:
            if "*" in bare or is_address(bare):
                raise ValueError("expected a DNS name or *.name; addresses belong in a network")
            text = normalise_name(bare)
            return bare if bare == text else text  # one string where two would be the same
        except ValueError as error:
            raise ValueError(f"domain set {self.name!r}, {name!r}: {error}") from None

    def matches(self, name: str) -> bool:
        """Tell whether *name*, in its normalised form, is in the set."""
        if name in self._exact:
            return True
        parent = name
        while parent := parent.partition(".")[2]:
            if parent in self._parents:
                return True
        return False


class DomainSets:
    """Finds the sets that hold a name, however many there are, by one look-up for each label."""

    __slots__ = ("_below", "_exact")

    def __init__(self, domain_sets: Iterable[DomainSet]) -> None:
        """Know *domain_sets*, of which nothing else is kept."""
        self._exact: dict[str, frozenset[str]] = {}
        self._below: dict[str, frozenset[str]] = {}
        shared: dict[frozenset[str], frozenset[str]] = {}
        for domains in domain_sets:
            alone = frozenset((domains.name,))
            for names, index in ((domains.exact, self._exact), (domains.parents, self._below)):
                for name in names:
                    before = index.get(name)
                    sets = alone if before is None else before | alone
                    index[name] = shared.setdefault(sets, sets)

    def of(self, name: str) -> frozenset[str]:
        """Return the names of the sets that hold *name*, which is in its normalised form."""
        found = self._exact.get(name, _NONE)
        if self._below:
            parent = name
            while parent := parent.partition(".")[2]:
                if sets := self._below.get(parent):
                    found = found | sets if found else sets
        return found


def is_address(text: str) -> bool:
    """Tell whether *text* is a literal address."""
    if text[-1:].isalpha() and ":" not in text:
        return False  # most names end here, without the cost of an exception
    try:
        parse_ip(text)
    except ValueError:
        return False
    return True
