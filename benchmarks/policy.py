"""What a large policy costs: time for a decision, time to build, memory; beside py-radix and a plain dict.

    python benchmarks/policy.py [--quick] [--rounds N] [--json FILE]

1,000 rules name 100 networks and 100 sets of computers with 10,000 ranges, 100 sets with 100,000 domains, and 10 sets
with 1,000 URLs. benchmarks/README.rst says how to read the table.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fwx.impl.domainset import DomainSet, DomainSets
from fwx.impl.networks import ComputerSet, LocalAddresses, Network, Networks
from fwx.impl.policy import Policy, Rule
from fwx.impl.rangeindex import RangeIndex
from fwx.impl.urlset import Url, UrlSet
from fwx.impl.webrequest import WebRequest
from fwx.interfaces import SocketAddress

try:
    import radix
except ImportError:
    radix = None

RULES, NETWORKS, RANGES, DOMAIN_SETS, DOMAINS, URL_SETS, URLS = 1_000, 100, 10_000, 100, 100_000, 10, 1_000
PROTOCOLS = ("HTTP", "HTTPS", "SMTP", "DNS", "SSH", "IMAP4", "POP3", "FTP", "Telnet", "LDAP")
# More than anything remembers, so that by the time that one comes again it is forgotten.
NEW = 40_000


class Sizes(NamedTuple):
    """How much of everything; :attr:`share` is 1 for the whole, more for a part of it."""

    share: int
    rounds: int

    def of(self, number: int) -> int:
        return max(number // self.share, 10)


class Figure(NamedTuple):
    """A line of the table: what, its unit, and the figure of each round."""

    name: str
    unit: str
    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def ranges_of(number: int, count: int, octet: int) -> tuple[str, ...]:
    """Return *count* /28 blocks of network or set *number* in ``octet.0.0.0/8``, none beside another."""
    return tuple(
        f"{octet}.{index >> 11 & 255}.{index >> 3 & 255}.{(index & 7) << 5}/28"
        for index in range(number * count, number * count + count)
    )


def domains_of(number: int, count: int) -> tuple[str, ...]:
    """Return *count* names, every second one with all that is below it."""
    return tuple(f"{'*.' * (index % 2)}host{index}.site{number}.example" for index in range(count))


class Parts:
    """What a configuration of that size is made of."""

    def __init__(self, sizes: Sizes) -> None:
        half = sizes.of(RANGES) // 2 // sizes.of(NETWORKS)
        self.networks = [(f"net{n}", ranges_of(n, half, 11)) for n in range(sizes.of(NETWORKS))]
        self.computers = [(f"set{n}", ranges_of(n, half, 11 + n % 2)) for n in range(sizes.of(NETWORKS))]
        each = sizes.of(DOMAINS) // sizes.of(DOMAIN_SETS)
        self.domains = [(f"dom{n}", domains_of(n, each)) for n in range(sizes.of(DOMAIN_SETS))]
        pages = sizes.of(URLS) // sizes.of(URL_SETS)
        self.urls = [
            (f"url{n}", tuple(f"www{n}.example/page{p}/*" for p in range(pages))) for n in range(sizes.of(URL_SETS))
        ]
        self.rules = list(self._rules(sizes.of(RULES)))
        self.local = LocalAddresses()

    def _rules(self, count: int) -> Iterator[Rule]:
        for n in range(count - 1):
            kinds = (self.networks, self.computers, self.domains, self.urls)[n % 4]
            target = kinds[n // 4 % len(kinds)][0]
            source = self.networks[n % len(self.networks)][0]
            action: Any = "deny" if n % 7 == 0 else "allow"
            yield Rule(f"rule {n}", action, (PROTOCOLS[n % len(PROTOCOLS)],), (source,), (target,))
        # The last one is what is reached where nothing matches before.
        yield Rule("rest", "allow", ("HTTP", "HTTPS"), (self.networks[0][0],), ("external",))

    def named(self) -> list[Network]:
        return [Network(*each) for each in self.networks] + [ComputerSet(*each) for each in self.computers]

    def build(self) -> Policy:
        networks = Networks(
            (Network(*each) for each in self.networks), self.local, (ComputerSet(*each) for each in self.computers)
        )
        domains, urls = (DomainSet(*each) for each in self.domains), (UrlSet(*each) for each in self.urls)
        return Policy(networks, domains, (), self.rules, url_sets=urls)

    def radix(self) -> Any:
        tree = radix.Radix()
        for name, ranges in (*self.networks, *self.computers):
            for text in ranges:
                tree.add(text).data["name"] = name
        return tree

    def plain(self) -> dict[str, str]:
        """Every domain of every set, without what a set means."""
        return {text: name for name, names in self.domains for text in names}

    def addresses(self) -> dict[str, str]:
        """The first address of every range: what a dict can hold of ranges."""
        pairs = (*self.networks, *self.computers)
        return {str(ip_network(text)[0]): name for name, ranges in pairs for text in ranges}


def per_call(operation: Callable[[Any], object], values: list[Any]) -> float:
    """Return microseconds of one *operation* over *values*, the loop around it taken off."""
    started = time.process_time()
    for value in values:
        operation(value)
    spent = time.process_time() - started
    started = time.process_time()
    for value in values:
        _nothing(value)
    return max(spent - (time.process_time() - started), 0.0) / len(values) * 1e6


def _nothing(_value: object) -> None:
    return None


def seconds(make: Callable[[], object]) -> float:
    gc.collect()
    started = time.process_time()
    make()
    return time.process_time() - started


def kibibytes(make: Callable[[], object]) -> float:
    """Return what is left of *make* in memory, in KiB: what it returns, and what only that holds."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = make()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return (after - before) / 1024


class Decisions:
    """The calls that are measured, each with as many values as are forgotten by the time they come again."""

    def __init__(self, parts: Parts, policy: Policy, count: int) -> None:
        self._policy = policy
        self._source = parts.networks[0][1][0].partition("/")[0]
        numbers = itertools.islice(itertools.cycle(range(NEW)), count)
        self.outside = [f"198.{18 + (n >> 16 & 1)}.{n >> 8 & 255}.{n & 255}" for n in numbers]
        inside = [(text.partition("/")[0].rpartition(".")) for _, ranges in parts.networks for text in ranges]
        self.inside = [
            f"{net}.{int(low) + 1 + n % 14}"
            for n, (net, _, low) in zip(range(count), itertools.cycle(inside), strict=False)
        ]
        names = [name.replace("*.", "a.b.") for _, known in parts.domains for name in known]
        self.names = list(itertools.islice(itertools.cycle(names), count))
        self.strangers = [f"host{n}.nowhere.test" for n in range(count)]
        self.urls = [Url(f"www{n % 7}.example", 80, f"/page{n % 90}/{n}") for n in range(count)]
        self.odd = [Url(f"www{n % 7}.example", 80, f"/a/../page{n % 90}%2f{n}") for n in range(min(count, 2000))]

    def literal(self, host: str) -> object:
        return self._policy.judge(self._source, 40000, SocketAddress(host, 443))

    def name(self, host: str) -> object:
        return self._policy.judge(self._source, 40000, SocketAddress(host, 80))

    def url(self, url: Url) -> object:
        web = WebRequest(Url(url.host, url.port, url.path))
        return self._policy.judge(self._source, 40000, SocketAddress(url.host, 80), web=web)

    def remembered(self, target: SocketAddress) -> object:
        return self._policy.judge(self._source, 40000, target)


def one_round(sizes: Sizes) -> Iterator[tuple[str, str, float]]:
    """Yield name, unit and figure of everything once."""
    parts = Parts(sizes)
    yield "build: the policy", "s", seconds(parts.build)
    yield "build: ranges alone", "s", seconds(lambda: RangeIndex((each.name, each.parsed) for each in parts.named()))
    yield "build: domains alone", "s", seconds(lambda: DomainSets(DomainSet(*each) for each in parts.domains))
    yield "build: plain dict of domains", "s", seconds(parts.plain)
    if radix is not None:
        yield "build: py-radix of ranges", "s", seconds(parts.radix)
    yield "memory: the policy", "KiB", kibibytes(parts.build)
    named = parts.named()
    yield "memory: ranges alone", "KiB", kibibytes(lambda: RangeIndex((each.name, each.parsed) for each in named))
    yield "memory: domains alone", "KiB", kibibytes(lambda: DomainSets(DomainSet(*each) for each in parts.domains))
    yield "memory: plain dict of domains", "KiB", kibibytes(parts.plain)
    yield from _decisions(parts, sizes)


def _decisions(parts: Parts, sizes: Sizes) -> Iterator[tuple[str, str, float]]:
    policy, count = parts.build(), NEW // sizes.share
    asked = Decisions(parts, policy, count)
    first = SocketAddress(asked.outside[0], 443)
    asked.remembered(first)
    yield "decision: remembered", "us", per_call(asked.remembered, [first] * count)
    yield "decision: new address, outside", "us", per_call(asked.literal, asked.outside)
    yield "decision: new address, in networks", "us", per_call(asked.literal, asked.inside)
    yield "decision: new name, in sets of domains", "us", per_call(asked.name, asked.names)
    yield "decision: new name, in none", "us", per_call(asked.name, asked.strangers)
    yield "decision: URL of plain HTTP", "us", per_call(asked.url, asked.urls)
    yield "decision: URL that is written oddly", "us", per_call(asked.url, asked.odd)
    kinds = [SocketAddress(host, 443) for host in asked.inside[: sizes.of(NETWORKS) * 50 : 50]]
    fresh = parts.build()
    yield "decision: first of its kind", "us", per_call(lambda at: fresh.judge("192.0.2.1", 1, at), kinds)
    networks = policy._networks
    yield "look-up: names of a new address", "us", per_call(networks.of, asked.inside)
    domains = policy._domains
    yield "look-up: sets of a name", "us", per_call(domains.of, asked.names)
    plain, addresses = parts.plain(), parts.addresses()
    yield "look-up: plain dict, a name", "us", per_call(plain.get, asked.names)
    yield "look-up: plain dict, an address", "us", per_call(addresses.get, asked.inside)
    if radix is not None:
        tree = parts.radix()
        yield "look-up: py-radix, an address", "us", per_call(tree.search_best, asked.inside)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, one round")
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many (default 3)")
    parser.add_argument("--share", type=int, default=1, help="a part of everything: 10 is a tenth")
    parser.add_argument("--json", type=Path, help="also write every figure of every round")
    given = parser.parse_args()
    sizes = Sizes(10, 1) if given.quick else Sizes(given.share, given.rounds)
    found: dict[str, Figure] = {}
    for _ in range(sizes.rounds):
        for name, unit, value in one_round(sizes):
            found.setdefault(name, Figure(name, unit, [])).values.append(value)
    peer = "there" if radix else "absent"
    print(f"Python {platform.python_version()}, medians of {sizes.rounds} round(s), py-radix {peer}")
    print(f"{sizes.of(RULES)} rules, {sizes.of(RANGES)} ranges, {sizes.of(DOMAINS)} domains, {sizes.of(URLS)} URLs")
    for figure in found.values():
        print(f"{figure.name:42} {figure.median:12.3f} {figure.unit}")
    if given.json is not None:
        given.json.write_text(
            json.dumps({each.name: {"unit": each.unit, "rounds": each.values} for each in found.values()})
        )


if __name__ == "__main__":
    main()
