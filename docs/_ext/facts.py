"""The numbered facts that the code keeps to, and who cites them.

``docs/facts.toml`` has a number such as B3.14, a source and a title for each, and the reason for one that no test can
prove yet. The page "Facts and tests" (:mod:`facts_page`) is made from it, and ``tests/test_facts.py`` checks it;
neither needs the other.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

SOURCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "documented": "a page about TMG 2010 or ISA 2004/2006",
        "2000": "the SDK of ISA Server 2000 alone",
        "header": "the SDK's headers and IDL",
        "third party": "somebody other than the vendor",
        "inferred": "a conclusion from other facts; the tests decide",
        "gap": "looked for and not found; the text says what is done here",
    }
)
"""Where a fact comes from; with several sources, the main part of it."""

CITATION: Final = re.compile(r"\bB\d+\.\d+\b")
LONGEST_TITLE: Final = 90

OPEN: Final = "**open**"
"""Stands where a fact has neither test nor rule."""

Proofs: TypeAlias = Mapping[str, Mapping[str, Sequence[str]]]
"""By the number of the fact: the names of tests and rules by file."""

_FOLDERS: Final = ("interfaces", "impl", "fwx", "tests", "examples", "benchmarks", "docs")
_PAGES: Final = ("README.rst", "CHANGES.rst")
# It plants citations, false ones too.
_PLANTED: Final = "tests/test_facts.py"


class FactError(ValueError):
    """The file of facts is wrong; says where, and what was expected."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact.

    :ivar number: such as ``B3.14``; the first number is that of the topic.
    :ivar topic: title of the topic.
    :ivar source: a key of :data:`SOURCES`.
    :ivar title: what the fact is about.
    :ivar reason: why no test proves it, for one that none does; empty where that has not been said.
    """

    number: str
    topic: str
    source: str
    title: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Citation:
    """One place that names a fact.

    :ivar path: the file, relative to the source tree.
    :ivar name: the function or ``Class.method`` around it, a rule of the conformance kit, or empty.
    :ivar is_rule: a rule of a battery in :mod:`fwx.testing` names the fact.
    """

    number: str
    path: str
    line: int
    name: str = ""
    is_rule: bool = False

    @property
    def is_test(self) -> bool:
        """A test names the fact, or what tests share."""
        return self.path.startswith("tests/")


# ---- the file of facts -----------------------------------------------------------------------------------------------


def read_facts(path: Path) -> Mapping[str, Fact]:
    """Return the facts in the file *path* by number, in its order.

    :raises FactError: the file is no TOML (which a number given twice makes it), or an entry is not as it should be.
    """
    try:
        data = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise FactError(f"{path}: {error}") from error
    topics: list[dict[str, Any]] = data.get("topic", [])
    if not topics:
        raise FactError(f"{path}: no [[topic]]; expected one for each topic, with title and [topic.facts]")
    return {
        number: _fact(path, place, topic, number, entry)
        for place, topic in enumerate(topics, 1)
        for number, entry in topic.get("facts", {}).items()
    }


def _fact(path: Path, place: int, topic: dict[str, Any], number: str, entry: object) -> Fact:
    where = f"{path}: topic {place}: {number}"
    if not re.fullmatch(rf"B{place}\.[1-9]\d*", number):
        raise FactError(f"{where}: expected a number of this topic, such as B{place}.1")
    match entry:
        case [str(source), str(title)]:
            reason = ""
        case [str(source), str(title), str(reason)] if reason.strip():
            pass
        case _:
            raise FactError(f"{where}: expected [source, title] or [source, title, why it is open], not {entry!r}")
    if source not in SOURCES:
        raise FactError(f"{where}: {source!r} is no source; expected one of {', '.join(SOURCES)}")
    if not 0 < len(title.strip()) <= LONGEST_TITLE:
        raise FactError(f"{where}: expected a title of 1 to {LONGEST_TITLE} characters, not {len(title)}")
    return Fact(number, str(topic.get("title", "")), source, title, reason)


# ---- citations -------------------------------------------------------------------------------------------------------


def find_citations(root: Path) -> Iterator[Citation]:
    """Go through every citation in the Python files and pages of the source tree *root*, file by file."""
    files = [path for folder in _FOLDERS for path in (root / folder).rglob("*") if path.suffix in (".py", ".rst")]
    for path in sorted([*files, *(root / page for page in _PAGES)]):
        relative = path.relative_to(root).as_posix()
        if path.is_file() and relative != _PLANTED and not relative.startswith("docs/_build/"):
            yield from _cited_in(relative, path.read_text())


def _cited_in(path: str, text: str) -> Iterator[Citation]:
    if not CITATION.search(text):
        return
    module = ast.parse(text if path.endswith(".py") else "")
    functions, rules = _functions(module), _rules(module)
    for line, content in enumerate(text.splitlines(), 1):
        for number in dict.fromkeys(CITATION.findall(content)):
            yield Citation(number, path, line, rules.get(line) or functions.get(line, ""), line in rules)


def _functions(module: ast.Module) -> dict[int, str]:
    """Return the function or method that stands on each line."""
    found: dict[int, str] = {}
    for statement in module.body:
        if isinstance(statement, ast.ClassDef):
            for member in statement.body:
                found |= _lines(member, f"{statement.name}.")
        else:
            found |= _lines(statement)
    return found


def _rules(module: ast.Module) -> dict[int, str]:
    """Return the name of the rule that stands on each line."""
    found: dict[int, str] = {}
    for node in ast.walk(module):
        match node:
            case ast.Call(func=ast.Name(id="Rule"), args=[ast.Constant(value=str(name)), *_]):
                found |= dict.fromkeys(_span(node), name)
    return found


def _lines(statement: ast.stmt, prefix: str = "") -> dict[int, str]:
    if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return {}
    first = min([statement.lineno, *(each.lineno for each in statement.decorator_list)])
    return dict.fromkeys(range(first, _span(statement).stop), prefix + statement.name)


def _span(node: ast.stmt | ast.expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


# ---- what follows ----------------------------------------------------------------------------------------------------


def unknown(facts: Mapping[str, Fact], citations: Iterable[Citation]) -> list[Citation]:
    """Return the citations of facts that there are none of."""
    return [each for each in citations if each.number not in facts]


def proofs(citations: Iterable[Citation]) -> Proofs:
    """Return the tests and rules for each fact: the names by file; no name where a file as a whole cites it."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in citations:
        if each.is_test or each.is_rule:
            names = found.setdefault(each.number, {}).setdefault(each.path, [])
            if each.name and each.name not in names:
                names.append(each.name)
    return found


# ---- the page --------------------------------------------------------------------------------------------------------


def anchor(number: str) -> str:
    """Return the label of the row of fact *number*."""
    return f"fact-{number.replace('.', '-')}".lower()


def render(facts: Mapping[str, Fact], found: Proofs) -> str:
    """Return the page's text below its introduction: the counts, then one table for each topic."""
    lines = [*_counts(facts, found)]
    topic = None
    for fact in facts.values():
        if fact.topic != topic:
            topic = fact.topic
            lines += [
                "",
                topic,
                "-" * len(topic),
                "",
                ".. list-table::",
                "   :header-rows: 1",
                "   :widths: 8 12 35 45",
            ]
            lines += ["", *_row("Fact", "Source", "About", "Tests")]
        proof = _proof(found.get(fact.number, {}), fact.reason)
        lines += _row(f".. _{anchor(fact.number)}:\n\n{fact.number}", fact.source, fact.title, proof)
    return "\n".join(lines)


def _counts(facts: Mapping[str, Fact], found: Proofs) -> Iterator[str]:
    tested = sum(any(path.startswith("tests/") for path in found.get(number, ())) for number in facts)
    known = sum(number in found for number in facts)
    yield f"Of {len(facts)} facts {tested} are cited by a test, {known - tested} more by a rule of the conformance kit"
    yield f"alone, and {len(facts) - known} are open."
    yield ""
    yield from (f"- *{source}*: {meaning}" for source, meaning in SOURCES.items())


def _proof(files: Mapping[str, Sequence[str]], reason: str) -> str:
    """Return the cell that names the tests of one fact, or says why there are none."""
    if not files:
        return f"{OPEN}: {reason}" if reason else OPEN
    parts = []
    for path, names in files.items():
        form = "``{}``" if path.startswith("tests/") else "*{}*"
        parts.append(f"- ``{path}``" + "".join(f"\n  {form.format(name)}" for name in names))
    return "\n".join(parts)


def _row(*cells: str) -> Iterator[str]:
    for place, cell in enumerate(cells):
        first, *rest = cell.split("\n")
        yield f"   {'* -' if not place else '  -'} {first}"
        yield from (f"       {line}" if line else "" for line in rest)
