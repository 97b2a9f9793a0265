"""Names of hosts as the policy compares them, and sets of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from fwx.interfaces.address import parse_ip


def normalise_name(name: str) -> str:
    """Return the DNS *name* as policy compares it: lower-case A-labels without the final dot.

    :raises ValueError: *name* cannot be a DNS name.
    """
    if len(name) > 253 + name.endswith("."):
        raise ValueError(f"{name[:40]!r}... is longer than a DNS name can be")
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

    def _checked(self, name: str) -> str:
        bare = name.removeprefix("*.")
        try:
            if "*" in bare or is_address(bare):
                raise ValueError("expected a DNS name or *.name; addresses belong in a network")
            return normalise_name(bare)
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


def is_address(text: str) -> bool:
    """Tell whether *text* is a literal address."""
    try:
        parse_ip(text)
    except ValueError:
        return False
    return True
