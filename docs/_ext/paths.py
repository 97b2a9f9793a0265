"""The ways through the service that tests have proven, and the page that shows them.

A test that proves one has the marker ``path(entry, exit, transport)``, with words of :data:`ENTRIES`, :data:`EXITS` and
:data:`TRANSPORTS`. ``make paths`` writes ``docs/paths.csv``: a line for each marker of a test that passed.
``tests/paths.py`` writes and checks it; the page "Ways through the service" (:mod:`paths_page`) is made from it.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

ENTRIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "socks4": "SOCKS4 on the proxy port",
        "socks4a": "SOCKS4 with a name",
        "socks5": "SOCKS5 on the proxy port",
        "http-connect": "HTTP ``CONNECT`` on the proxy port",
        "http": "plain HTTP on the proxy port",
        "tls+socks5": "the same as SOCKS5, inside TLS",
        "tls+http-connect": "the same as HTTP ``CONNECT``, inside TLS",
        "tls+http": "the same as plain HTTP, inside TLS",
        "proxy-header": "a load balancer that sends a PROXY header",
        "publish": "a published server",
        "publish-tls": "a published server whose TLS ends here",
        "publish-sni": "a published server that the name in the client's TLS hello selects",
        "tproxy": "a transparent listener with TPROXY",
        "redirect": "a transparent listener with REDIRECT",
        "session-socket": "a network socket that a filter made for a session",
    }
)
"""What each word of ``entry`` means."""

EXITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "direct": "straight to the server",
        "socks5": "through a SOCKS5 upstream",
        "http-connect": "through an HTTP ``CONNECT`` upstream",
        "chain": "through several upstreams in a row",
        "tls": "inside TLS that begins here",
        "proxy-header": "with a PROXY header in front",
    }
)
"""What each word of ``exit`` means."""

TRANSPORTS: Final[Mapping[str, str]] = MappingProxyType(
    {"tcp": "a TCP connection to the server", "udp": "datagrams", "bind": "a TCP connection from the server"}
)
"""What each word of ``transport`` means."""

_WORDS: Final[Mapping[str, Collection[str]]] = MappingProxyType(
    {"entry": ENTRIES, "exit": EXITS, "transport": TRANSPORTS}
)
_COLUMNS: Final = (*_WORDS, "test")


class PathError(ValueError):
    """A marker, or a line of the file, is wrong; says where, and what was expected."""


class Proof(NamedTuple):
    """One way through the service, and a test that proves it.

    :ivar test: its node id without parameters, such as ``tests/integration/test_clients.py::test_curl``.
    """

    entry: str
    exit: str
    transport: str
    test: str


def check(proof: Proof, where: str) -> Proof:
    """Return *proof* when all its words are known.

    :raises PathError: one is not; the message begins with *where*.
    """
    for key, words in _WORDS.items():
        word = getattr(proof, key)
        if word not in words:
            raise PathError(f"{where}: {key}={word!r}: expected one of {', '.join(words)}")
    return proof


def in_order(proofs: Iterable[Proof]) -> list[Proof]:
    """Return *proofs* in the order of the vocabulary, each once."""
    words = [list(each) for each in _WORDS.values()]
    return sorted(set(proofs), key=lambda each: (*map(list.index, words, each), each.test))


# ---- the file --------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Proof]:
    """Return what the file *path* lists.

    :raises PathError: a line is not as it should be, comes twice, or is out of order.
    """
    with path.open(newline="") as file:
        header, *lines = list(csv.reader(file)) or [[]]
    if header != list(_COLUMNS):
        raise PathError(f"{path}:1: expected the columns {','.join(_COLUMNS)}")
    proofs = []
    for number, line in enumerate(lines, 2):
        if len(line) != len(_COLUMNS) or "::" not in line[-1]:
            raise PathError(f"{path}:{number}: expected {','.join(_COLUMNS)} with a test such as tests/x.py::test_y")
        proofs.append(check(Proof(*line), f"{path}:{number}"))
    if proofs != in_order(proofs):
        raise PathError(f"{path}: not in order, or a line comes twice: run make paths")
    return proofs


def write(path: Path, proofs: Iterable[Proof]) -> None:
    """Write *proofs* as :func:`read` expects them."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *in_order(proofs)])


# ---- the page --------------------------------------------------------------------------------------------------------


def render(proofs: Iterable[Proof]) -> str:
    """Return the page's text below its introduction: the overview, what the words mean, and the tests."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for each in in_order(proofs):
        found.setdefault((each.entry, each.exit), {}).setdefault(each.transport, []).append(each.test)
    lines = ["", ".. list-table::", "   :header-rows: 1", "   :stub-columns: 1", ""]
    lines += _row("", *EXITS)
    for entry in ENTRIES:
        lines += _row(entry, *(", ".join(found.get((entry, exit_), ())) or "\N{EN DASH}" for exit_ in EXITS))
    lines += _titled("Words")
    for title, words in ("Ways in", ENTRIES), ("Ways out", EXITS), ("Transports", TRANSPORTS):
        lines += [f"{title}:", "", *(f"- *{word}*: {meaning}" for word, meaning in words.items()), ""]
    lines += _titled("Tests")
    lines += [".. list-table::", "   :header-rows: 1", "   :widths: 15 13 10 62", ""]
    lines += _row("In", "Out", "Transport", "Tests")
    for (entry, exit_), transports in found.items():
        for transport, tests in transports.items():
            lines += _row(entry, exit_, transport, "\n".join(_listed(tests)))
    return "\n".join(lines)


def _listed(tests: Iterable[str]) -> Iterator[str]:
    for test in tests:
        file, _, name = test.partition("::")
        yield f"- ``{file}`` ``{name}``"


def _titled(title: str) -> list[str]:
    return ["", title, "-" * len(title), ""]


def _row(*cells: str) -> Iterator[str]:
    for place, cell in enumerate(cells):
        first, *rest = cell.split("\n")
        yield f"   {'* -' if not place else '  -'} {first}"
        yield from (f"       {line}" for line in rest)
