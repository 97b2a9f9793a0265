"""Address sets: the configured networks, the firewall's own addresses, and the names that stand for either.

Predefined names: ``localhost`` is what reaches this host (its own addresses, loopback, unspecified, link-local),
``external`` what is in no configured network and not ``localhost``, ``any`` everything but ``localhost``.
"""

from __future__ import annotations

import logging
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network
from operator import attrgetter
from pathlib import Path
from typing import ClassVar, Final, Self, TypeAlias

from fwx.impl.rangeindex import RangeIndex
from fwx.interfaces.address import parse_ip, plain_prefix

logger = logging.getLogger("fwx.networks")

Address: TypeAlias = IPv4Address | IPv6Address

LOCALHOST: Final = "localhost"
EXTERNAL: Final = "external"
ANY: Final = "any"
PREDEFINED: Final = frozenset({LOCALHOST, EXTERNAL, ANY})

_REFRESH_SECONDS: Final = 1.0
_MEMO_ENTRIES: Final = 8192
# As AddressRange sorts, without a call of Python for each comparison.
_IN_ORDER: Final = attrgetter("version", "first", "last")


def normalise(address: str | Address) -> Address:
    """Return *address* without a scope, an IPv4-mapped IPv6 address as the IPv4 address that it is.

    :raises ValueError: *address* is text, but no address.
    """
    parsed = parse_ip(address) if isinstance(address, str) else address
    if isinstance(parsed, IPv4Address):
        return parsed
    return parsed.ipv4_mapped or (IPv6Address(int(parsed)) if parsed.scope_id else parsed)


def share_network(one: Iterable[str], other: Iterable[str]) -> bool:
    """Tell whether two addresses, of each all names (:meth:`Networks.of`), are in one network.

    The firewall's own addresses are so with each other alone, whatever network they are in beside that.
    """
    names, others = frozenset(one), frozenset(other)
    if LOCALHOST in names | others:
        return LOCALHOST in names & others
    return bool((names & others) - {ANY})


@dataclass(frozen=True, slots=True, order=True)
class AddressRange:
    """The addresses from *first* to *last*, both included, as numbers of IP *version* 4 or 6."""

    version: int
    first: int
    last: int

    @classmethod
    def between(cls, first: Address, last: Address) -> Self:
        """Make the range from *first* to *last*; two IPv4-mapped ends make an IPv4 range.

        :raises ValueError: the ends are of two versions, or *last* comes before *first*.
        """
        low, high = normalise(first), normalise(last)
        if low.version != high.version:
            if first.version != last.version:
                raise ValueError(f"{first} and {last} are not of one IP version")
            # A plain IPv6 range around the mapped block: no normalised address is in that block.
            low, high = first, last
        if int(high) < int(low):
            raise ValueError(f"{last} comes before {first}; write the lower address first")
        return cls(low.version, int(low), int(high))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``a.b.c.d/n``, ``first-last`` or a single address, IPv4 or IPv6.

        :raises ValueError: *text* is none of these; says what was expected.
        """
        try:
            if "/" in text:
                return cls._of_prefix(text)
            first, dash, last = text.partition("-")
            return cls.between(parse_ip(first.strip()), parse_ip((last if dash else first).strip()))
        except ValueError as error:
            raise ValueError(
                f"{text!r} is no address range ({error}); expected 10.1.0.0/16, 10.1.0.1-10.1.0.9 or 10.1.0.1, "
                "or the same in IPv6"
            ) from None

    @classmethod
    def _of_prefix(cls, text: str) -> Self:
        plain = plain_prefix(text)
        if plain is not None:
            return cls(4, *plain)
        network = ip_network(text)
        return cls.between(network[0], network[-1])

    def __contains__(self, address: Address) -> bool:
        return self.version == address.version and self.first <= int(address) <= self.last


class AddressSet:
    """A set of ranges, overlapping or touching ones joined, that answers in logarithmic time."""

    __slots__ = ("_ranges", "_starts")

    def __init__(self, ranges: Iterable[AddressRange]) -> None:
        self._ranges = tuple(_joined(sorted(ranges, key=_IN_ORDER)))
        self._starts = [(known.version, known.first) for known in self._ranges]

    def __contains__(self, address: Address) -> bool:
        return self._holds(address.version, int(address), int(address))

    def covers(self, wanted: AddressRange) -> bool:
        """Tell whether every address of *wanted* is in the set."""
        return self._holds(wanted.version, wanted.first, wanted.last)

    def _holds(self, version: int, first: int, last: int) -> bool:
        index = bisect_right(self._starts, (version, first)) - 1
        return index >= 0 and self._ranges[index].version == version and last <= self._ranges[index].last

    def __eq__(self, other: object) -> bool:
        return self._ranges == other._ranges if isinstance(other, AddressSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._ranges)


def _joined(ranges: list[AddressRange]) -> Iterator[AddressRange]:
    current: AddressRange | None = None
    for known in ranges:
        if current is None:
            current = known
        elif known.version == current.version and known.first <= current.last + 1:
            current = AddressRange(current.version, current.first, max(current.last, known.last))
        else:
            yield current
            current = known
    if current is not None:
        yield current


@dataclass(frozen=True, slots=True)
class Network:
    """A configured network: *name* and its *ranges* as written, parsed into ``parsed``.

    :raises ValueError: a range is none; names the network and the range.
    """

    kind: ClassVar[str] = "network"

    name: str
    ranges: tuple[str, ...]
    parsed: tuple[AddressRange, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            parsed = tuple(AddressRange.parse(text) for text in self.ranges)
        except ValueError as error:
            raise ValueError(f"{self.kind} {self.name!r}: {error}") from None
        object.__setattr__(self, "parsed", parsed)


@dataclass(frozen=True, slots=True)
class ComputerSet(Network):
    """A set of computers: ranges under a *name* for rules, whatever the networks are that they lie in."""

    kind: ClassVar[str] = "set of computers"


# Connecting to the unspecified address reaches this host.
ALWAYS_LOCAL: Final = tuple(
    AddressRange.parse(text)
    for text in ("0.0.0.0", "127.0.0.0/8", "169.254.0.0/16", "::", "::1", "fe80::/10")  # noqa: S104
)
_LEAF = re.compile(r"\|-- (?P<address>[\d.]+)")
_LOCAL_ROUTE = re.compile(r"/(?P<length>\d+) host LOCAL")


def _own_ipv4(fib_trie: str) -> Iterator[AddressRange]:
    """Read the local routes of every routing table; those wider than one address only of the tables main and local.

    Other tables have wide local routes for transparent proxying, which make no address this host's own.
    """
    table, leaf = "", ""
    for line in fib_trie.splitlines():
        if found := _LEAF.search(line):
            leaf = found["address"]
        elif found := _LOCAL_ROUTE.search(line):
            if found["length"] == "32" or table in ("Main", "Local"):
                yield AddressRange.parse(f"{leaf}/{found['length']}")
        elif line[:1].isalpha():
            table = line.strip().rstrip(":")


def _own_ipv6(if_inet6: str) -> Iterator[AddressRange]:
    for line in if_inet6.splitlines():
        address = IPv6Address(int(line.split()[0], 16))
        yield AddressRange.between(address, address)


def read_proc(path: str) -> str:
    """Read *path* of ``/proc``; the reader of :class:`LocalAddresses` outside of tests.

    A kernel without IPv6 has no ``if_inet6``, which reads as empty.

    :raises OSError: the file cannot be read.
    """
    try:
        return Path(path).read_text("ascii")
    except FileNotFoundError:
        if path.endswith("if_inet6"):
            return ""
        raise


class LocalAddresses:
    """What reaches this host: its own addresses, loopback, unspecified and link-local, kept up to date.

    Own addresses are read again when asked for, at most once per second. A later read that fails is logged and leaves
    the last known set in force. To be used by one thread.
    """

    def __init__(
        self, *, reader: Callable[[str], str] = read_proc, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the addresses with *reader*, which is given a path; *clock* counts seconds.

        :raises OSError: the addresses cannot be read.
        """
        self._reader = reader
        self._clock = clock
        self._failing = False
        self._generation = 0
        self._addresses = self._read()
        self._due = clock() + _REFRESH_SECONDS

    @property
    def generation(self) -> int:
        """A number that changes with the set; reading it refreshes the set when that is due."""
        now = self._clock()
        if now >= self._due:
            self._due = now + _REFRESH_SECONDS
            self._refresh()
        return self._generation

    def __contains__(self, address: Address) -> bool:
        return address in self._addresses

    def covers(self, wanted: AddressRange) -> bool:
        """Tell whether *wanted* lies wholly inside the set."""
        return self._addresses.covers(wanted)

    def _read(self) -> AddressSet:
        own = [*_own_ipv4(self._reader("/proc/self/net/fib_trie")), *_own_ipv6(self._reader("/proc/self/net/if_inet6"))]
        return AddressSet([*ALWAYS_LOCAL, *own])

    def _refresh(self) -> None:
        try:
            addresses = self._read()
        except OSError as error:
            if not self._failing:
                logger.warning("the firewall's own addresses cannot be read, the last known ones hold: %s", error)
            self._failing = True
            return
        self._failing = False
        if addresses != self._addresses:
            self._addresses = addresses
            self._generation += 1


class Networks:
    """The configured networks beside the predefined names, and sets of computers; tells which names an address has.

    An address of ``localhost`` is in a configured network or set only by a range that lies wholly inside ``localhost``
    (a part of a loopback or link-local block, or exactly an own address): a wider range never includes the firewall
    itself. To be used by one thread.
    """

    def __init__(
        self, networks: Iterable[Network], local: LocalAddresses, computers: Iterable[ComputerSet] = ()
    ) -> None:
        """Know *networks* and sets of *computers*, in the order in which their names are to be told, and *local*.

        :raises ValueError: a name is predefined or taken.
        """
        self._networks = tuple(networks)
        self._local = local
        self._names_of: dict[str | tuple[int, int], tuple[str, ...]] = {}
        self._seen_generation = local.generation
        self._named = (*self._networks, *computers)
        names = set(PREDEFINED)
        for known in self._named:
            if known.name in names:
                taken = "predefined" if known.name in PREDEFINED else "taken by another network"
                raise ValueError(f"{known.kind} {known.name!r}: the name is {taken}; choose another one")
            names.add(known.name)
        self.names: frozenset[str] = frozenset(names)
        self._sets = names.difference(PREDEFINED, (network.name for network in self._networks))
        self._ranges = RangeIndex((known.name, known.parsed) for known in self._named)
        # The ranges that lie wholly inside localhost, made when the first such address is asked for.
        self._local_ranges: tuple[tuple[str, AddressRange], ...] | None = None

    @property
    def configured(self) -> tuple[Network, ...]:
        """The networks of the configuration, in their order."""
        return self._networks

    @property
    def network_names(self) -> frozenset[str]:
        """The names of all networks, predefined ones too, without those of sets of computers."""
        return self.names - self._sets

    @property
    def generation(self) -> int:
        """Changes when an answer of :meth:`of` may have changed."""
        return self._local.generation

    def of(self, address: str | Address) -> tuple[str, ...]:
        """Return every name that *address* has: configured networks in their order, predefined names, then sets.

        :raises ValueError: *address* is text, but no address.
        """
        generation = self._local.generation
        if generation != self._seen_generation or len(self._names_of) >= _MEMO_ENTRIES:
            self._names_of.clear()
            if generation != self._seen_generation:
                self._seen_generation, self._local_ranges = generation, None
        # The hash of an address object is slow.
        key = address if isinstance(address, str) else (int(address), address.version)
        names = self._names_of.get(key)
        if names is None:
            names = self._names_of[key] = self._find(normalise(address))
        return names

    def networks_of(self, address: str | Address) -> tuple[str, ...]:
        """Return the names that *address* has, without those of sets of computers.

        :raises ValueError: *address* is text, but no address.
        """
        names = self.of(address)
        return tuple(name for name in names if name not in self._sets) if self._sets else names

    def _find(self, address: Address) -> tuple[str, ...]:
        local = address in self._local
        found = self._local_names(address) if local else self._ranges.of(address)
        sets = tuple(name for name in found if name in self._sets) if self._sets else ()
        if sets:
            found = found[: -len(sets)]
        if local:
            return (*found, LOCALHOST, *sets)
        return (*found, ANY, *sets) if found else (EXTERNAL, ANY, *sets)

    def _local_names(self, address: Address) -> tuple[str, ...]:
        if self._local_ranges is None:
            self._local_ranges = tuple(
                (known.name, each) for known in self._named for each in known.parsed if self._local.covers(each)
            )
        # A name once, whose place is that of its table.
        return tuple(dict.fromkeys(name for name, each in self._local_ranges if address in each))
