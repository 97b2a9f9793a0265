"""URLs of plain HTTP requests as the policy compares them, and sets of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple, Self

from fwx.impl.domainset import normalise_name
from fwx.impl.networks import normalise
from fwx.impl.urlpath import readings
from fwx.interfaces.address import SocketAddress, parse_ip

_HTTP_PORT: Final = 80
_ENTRY: Final = re.compile(r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?P<authority>[^/]*)(?P<path>/.*)?")
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>\d+|\*))?")
_LAST_PORT: Final = 0xFFFF


def normalise_host(host: str) -> str:
    """Return *host*, a name or a literal address without brackets, as URLs of it are compared.

    :raises ValueError: it is neither.
    """
    try:
        return str(normalise(parse_ip(host)))
    except ValueError:
        return normalise_name(host)


class Url:
    """The URL of one request: *host* and *port* of the server, and *path*, which is kept as it was written, without the
    query."""

    def __init__(self, host: str, port: int, path: str) -> None:
        """:param host: as the client wrote it; *path* as well."""
        self.host = host
        self.port = port
        self.path = path.partition("?")[0] or "/"

    @classmethod
    def of(cls, target: SocketAddress, path: str) -> Self:
        """Make the URL of a request for *path*, or ``*``, to *target*."""
        return cls(target.host, target.port, "/" if path == "*" else path)

    @cached_property
    def readings(self) -> tuple[str, ...] | None:
        """The path, as servers may read it (:func:`fwx.impl.urlpath.readings`)."""
        return readings(self.path)

    @cached_property
    def folded(self) -> tuple[str, ...] | None:
        """The readings in lower case."""
        return None if self.readings is None else tuple(each.lower() for each in self.readings)

    def __str__(self) -> str:
        return f"http://{SocketAddress(self.host, self.port)}{self.path}"


class Entry(NamedTuple):
    """One line of a set of URLs: what *host* has, or every name *below* it, at *port*, ``None`` for any, and *path*,
    of which every path that *begins* so, or it alone. ``readings`` are those of the path, ``folded`` in lower case.
    """

    host: str
    below: bool
    port: int | None
    path: str
    begins: bool
    readings: tuple[str, ...]
    folded: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``http://www.example.org:8080/path/*``; the scheme, the port and the path may be left out, ``*.`` stands
        for every name below, ``:*`` for every port, and without a path every path is meant.

        :raises ValueError: *text* is nothing of the kind; completes the sentence "*text* ...".
        """
        found = _ENTRY.fullmatch(text)
        assert found is not None
        if (found["scheme"] or "http").lower() != "http":
            raise ValueError(f"has the scheme {found['scheme']!r}: only plain HTTP shows its URLs")
        authority = _AUTHORITY.fullmatch(found["authority"])
        if authority is None:
            raise ValueError("has no host")
        below = authority["host"].startswith("*.")
        try:
            host = normalise_host(authority["host"].removeprefix("*.").removeprefix("[").removesuffix("]"))
            numeric = host.rpartition(".")[2].isdigit()
            if below and numeric:
                raise ValueError("there are no names below an address")
            if numeric:
                parse_ip(host)  # 127.1 is nothing that a request may name
            if "*" in host or not re.fullmatch(r"[a-z0-9._:-]+", host):
                raise ValueError("only *. may stand before a name")
        except ValueError as error:
            raise ValueError(f"names the host {authority['host']!r}, {error}") from None
        path, begins = _path(found["path"])
        known = readings(path)
        assert known is not None
        return cls(host, below, _port(authority["port"]), path, begins, known, tuple(each.lower() for each in known))

    def holds(self, url: Url) -> bool:
        """Tell whether *url*, whose host fits, is one of these however it is read."""
        if self.port not in (None, url.port) or url.readings is None:
            return False
        return all(self._fits(*each) for each in _paired(self.readings, url.readings))

    def may_hold(self, url: Url) -> bool:
        """Tell whether *url*, whose host fits, could be read as one of these, by a server that ignores case too."""
        if self.port not in (None, url.port):
            return False
        return url.folded is None or any(self._fits(*each) for each in _paired(self.folded, url.folded))

    def _fits(self, known: str, asked: str) -> bool:
        return asked.startswith(known) if self.begins else asked == known


def _paired(known: tuple[str, ...], asked: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Put readings together that were read in one way; a plain path is the same in all."""
    ways = max(len(known), len(asked))
    return zip(known * (ways // len(known)), asked * (ways // len(asked)), strict=True)


def _port(text: str | None) -> int | None:
    if text == "*":
        return None
    port = _HTTP_PORT if text is None else int(text)
    if not 1 <= port <= _LAST_PORT:
        raise ValueError(f"has the port {text}, which is not within 1 to 65535")
    return port


def _path(text: str | None) -> tuple[str, bool]:
    """Return the path that an entry has, and whether everything that begins so is meant."""
    if text is None:
        return "", True
    path, begins = text.removesuffix("*"), text.endswith("*")
    if "?" in path or "#" in path:
        raise ValueError("has a query or a fragment, which are not compared")
    if "*" in path:
        raise ValueError("has a * that is not at the end")
    # What is read in two ways would never fit, or not what was meant.
    if not re.fullmatch(r"[!-~]+", path) or "//" in path or "\\" in path or ";" in path:
        raise ValueError("has a path that servers read differently")
    if readings(path) is None or any(segment in (".", "..") for segment in path.split("/")):
        raise ValueError("has a path that servers read differently")
    return path, begins


@dataclass(frozen=True, slots=True)
class UrlSet:
    """A named set of *urls*, as :meth:`Entry.parse` reads them.

    :raises ValueError: one is none; names the set and the text.
    """

    name: str
    urls: tuple[str, ...]
    entries: tuple[Entry, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        entries = []
        for text in self.urls:
            try:
                entries.append(Entry.parse(text))
            except ValueError as error:
                raise ValueError(f"set of URLs {self.name!r}: {text!r} {error}") from None
        object.__setattr__(self, "entries", tuple(entries))


class Holding(NamedTuple):
    """The names of the sets that hold a URL: ``surely``, however it is read; ``maybe``, in one reading at least."""

    surely: frozenset[str]
    maybe: frozenset[str]


NOWHERE: Final = Holding(frozenset(), frozenset())


class _Paths:
    """The plain paths of the entries of one host, found by one look-up for each length that a beginning has."""

    __slots__ = ("_begins", "_exact", "_lengths")

    def __init__(self) -> None:
        self._exact: dict[str, list[tuple[str, int | None]]] = {}
        self._begins: dict[str, list[tuple[str, int | None]]] = {}
        self._lengths: tuple[int, ...] = ()

    def add(self, path: str, name: str, entry: Entry) -> None:
        (self._begins if entry.begins else self._exact).setdefault(path, []).append((name, entry.port))
        if entry.begins and len(path) not in self._lengths:
            self._lengths = tuple(sorted((*self._lengths, len(path))))

    def of(self, path: str, port: int) -> set[str]:
        """Return the names of the sets that hold *path* at *port*."""
        found = list(self._exact.get(path, ()))
        for length in self._lengths:
            if length > len(path):
                break
            found += self._begins.get(path[:length], ())
        return {name for name, known in found if known is None or known == port}


class _Host:
    """The entries of one host, or of all names below one."""

    __slots__ = ("_folded", "_plain", "entries", "odd")

    def __init__(self) -> None:
        self.entries: list[tuple[str, Entry]] = []
        # Those whose own path has several readings.
        self.odd: list[tuple[str, Entry]] = []
        self._plain = _Paths()
        self._folded = _Paths()

    def add(self, name: str, entry: Entry) -> None:
        self.entries.append((name, entry))
        if len(entry.readings) == 1:
            self._plain.add(entry.readings[0], name, entry)
            self._folded.add(entry.folded[0], name, entry)
        else:
            self.odd.append((name, entry))

    def surely(self, url: Url) -> set[str]:
        """Return the sets of which an entry holds *url* in each of its readings."""
        if url.readings is None:
            return set()
        first, *others = dict.fromkeys(url.readings)
        found = self._plain.of(first, url.port)
        for each in others if found else ():
            found &= self._plain.of(each, url.port)
        return found.union(name for name, entry in self.odd if entry.holds(url))

    def maybe(self, url: Url) -> set[str]:
        """Return the sets of which an entry holds *url* in a reading; all of the port where nobody can read it."""
        if url.folded is None:
            return {name for name, entry in self.entries if entry.port in (None, url.port)}
        found = {name for each in dict.fromkeys(url.folded) for name in self._folded.of(each, url.port)}
        return found.union(name for name, entry in self.odd if entry.may_hold(url))


class UrlSets:
    """Finds the sets that hold a URL, by its host, and by its path among those of the host."""

    __slots__ = ("_below", "_exact")

    def __init__(self, url_sets: Iterable[UrlSet]) -> None:
        self._exact: dict[str, _Host] = {}
        self._below: dict[str, _Host] = {}
        for urls in url_sets:
            for entry in urls.entries:
                hosts = self._below if entry.below else self._exact
                hosts.setdefault(entry.host, _Host()).add(urls.name, entry)

    def __bool__(self) -> bool:
        return bool(self._exact or self._below)

    def of(self, url: Url) -> Holding:
        """Return which sets hold *url*."""
        hosts = self._of_host(url.host)
        if not hosts:
            return NOWHERE
        return Holding(
            frozenset[str]().union(*(host.surely(url) for host in hosts)),
            frozenset[str]().union(*(host.maybe(url) for host in hosts)),
        )

    def of_host(self, host: str) -> frozenset[str]:
        """Return the sets that hold some URL of *host*."""
        return frozenset(name for each in self._of_host(host) for name, _ in each.entries)

    def _of_host(self, host: str) -> list[_Host]:
        if not self:
            return []
        try:
            parent = host = normalise_host(host)
        except ValueError:
            return []
        found = [self._exact[host]] if host in self._exact else []
        while self._below and (parent := parent.partition(".")[2]):
            if parent in self._below:
                found.append(self._below[parent])
        return found
