"""The pages that are made from the code: the facts with their tests, and the reference with its tables of results."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fwx.impl.networksocket import FWXNetworkSocket
from fwx.impl.observedsocket import ObservedSocket
from fwx.impl.sockets import FWXSocket
from fwx.impl.unknown import Unknown
from fwx.impl.unreadsocket import UnreadSocket
from fwx.interfaces import (
    COMInterfaceClass,
    IFWXIpFilter,
    IFWXNetworkSocket,
    IFWXPolicyChangeNotification,
    IFWXSocket,
    IUnknown,
    MethodInfo,
    com_interfaces,
    methods,
)

METHODS = [method for each in com_interfaces() for method in methods(each) if method.interface is each]


def docstring(method: MethodInfo) -> str:
    return inspect.cleandoc(method.interface[method.name].getDoc())


@pytest.fixture(scope="module", autouse=True)
def extensions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make the extensions in docs/_ext importable; Sphinx itself is not needed."""
    folder = Path(__file__).resolve().parent.parent / "docs" / "_ext"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


@pytest.fixture(scope="module")
def facts(extensions: None) -> ModuleType:
    return importlib.import_module("facts")


@pytest.fixture(scope="module")
def citations(facts: ModuleType, source_tree: Path) -> list[Any]:
    """Return every citation of this tree: to find them takes seconds."""
    return list(facts.find_citations(source_tree))


@pytest.fixture(scope="module")
def failures(extensions: None) -> ModuleType:
    return importlib.import_module("failures")


@pytest.fixture(scope="module")
def reference(extensions: None) -> ModuleType:
    return importlib.import_module("com_reference")


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A source tree with citations of every kind."""
    files = {
        "tests/test_a.py": '''
            """Module: B1.1."""
            @mark(facts="B1.2")
            def test_b():
                """B1.3, B1.3 and B1.4."""
            class Test:
                def test_c(self):  # B1.5
                    ...
            ''',
        "fwx/testing/kit.py": """
            def rule_test(): ...  # B1.6
            Rule("keeps its word",
                 ("B1.7",), rule_test)
            """,
        "impl/thing.py": '"""Keeps to B1.8, unlike AB1.9 and 0xB1.9."""\n',
        "docs/page.rst": "See B1.9.\n",
        "docs/_build/page.rst": "See B1.10.\n",
        "docs/notes.txt": "See B1.11.\n",
        "README.rst": "See\nB1.12.\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    return tmp_path


# ---- the file of facts -----------------------------------------------------------------------------------------------


def test_every_fact_has_a_number_of_its_own_a_source_and_a_title(facts: ModuleType, source_tree: Path) -> None:
    known = facts.read_facts(source_tree / "docs" / "facts.toml")
    topics: dict[int, list[int]] = {}
    for number in known:
        topic, place = number[1:].split(".")
        topics.setdefault(int(topic), []).append(int(place))
    assert list(topics) == list(range(1, 14))
    assert all(places == list(range(1, len(places) + 1)) for places in topics.values()), "a number is left out"
    assert len({fact.title for fact in known.values()}) == len(known) > 300


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("", "no [[topic]]"),
        ("[[topic]", "Expected"),
        ('[[topic]]\n[topic.facts]\n"B1.1" = ["gap", "a"]\n"B1.1" = ["gap", "b"]', "Cannot overwrite"),
        ('[[topic]]\n[topic.facts]\n"B2.1" = ["gap", "a"]', "topic 1: B2.1: expected a number of this topic"),
        ('[[topic]]\n[topic.facts]\n"B1.0" = ["gap", "a"]', "topic 1: B1.0: expected a number of this topic"),
        ('[[topic]]\n[topic.facts]\n"B1.1" = "a"', "topic 1: B1.1: expected [source, title] or"),
        ('[[topic]]\n[topic.facts]\n"B1.1" = ["gap", "a", " "]', "or [source, title, why it is open], not ['gap'"),
        ('[[topic]]\n[topic.facts]\n"B1.1" = ["hearsay", "a"]', "'hearsay' is no source; expected one of documented"),
        ('[[topic]]\n[topic.facts]\n"B1.1" = ["gap", " "]', "expected a title of 1 to 90 characters"),
        (f'[[topic]]\n[topic.facts]\n"B1.1" = ["gap", "{"a" * 91}"]', "expected a title of 1 to 90 characters, not 91"),
    ],
)
def test_a_wrong_fact_is_an_error_that_says_where(facts: ModuleType, tmp_path: Path, text: str, reported: str) -> None:
    path = tmp_path / "facts.toml"
    path.write_text(text)
    with pytest.raises(facts.FactError, match=re.escape(reported)) as caught:
        facts.read_facts(path)
    assert str(path) in str(caught.value)


# ---- citations -------------------------------------------------------------------------------------------------------


def test_every_fact_that_is_cited_exists(facts: ModuleType, citations: list[Any], source_tree: Path) -> None:
    assert {"interfaces", "impl", "fwx", "tests", "docs"} <= {each.path.partition("/")[0] for each in citations}
    assert facts.unknown(facts.read_facts(source_tree / "docs" / "facts.toml"), citations) == []


def test_citations_are_found_with_the_test_or_rule_around_them(facts: ModuleType, planted: Path) -> None:
    found = [(each.number, each.path, each.line, each.name, each.is_rule) for each in facts.find_citations(planted)]
    assert found == [
        ("B1.12", "README.rst", 2, "", False),
        ("B1.9", "docs/page.rst", 1, "", False),
        ("B1.6", "fwx/testing/kit.py", 2, "rule_test", False),
        ("B1.7", "fwx/testing/kit.py", 4, "keeps its word", True),
        ("B1.8", "impl/thing.py", 1, "", False),
        ("B1.1", "tests/test_a.py", 2, "", False),
        ("B1.2", "tests/test_a.py", 3, "test_b", False),
        ("B1.3", "tests/test_a.py", 5, "test_b", False),
        ("B1.4", "tests/test_a.py", 5, "test_b", False),
        ("B1.5", "tests/test_a.py", 7, "Test.test_c", False),
    ]


def test_a_fact_that_does_not_exist_is_reported(facts: ModuleType, planted: Path) -> None:
    known = {f"B1.{number}": None for number in range(1, 9)}
    reported = facts.unknown(known, facts.find_citations(planted))
    assert [(each.number, each.path) for each in reported] == [("B1.12", "README.rst"), ("B1.9", "docs/page.rst")]


def test_tests_and_rules_prove_a_fact_and_nothing_else_does(facts: ModuleType, planted: Path) -> None:
    test_file = "tests/test_a.py"
    assert facts.proofs(facts.find_citations(planted)) == {
        "B1.1": {test_file: []},
        "B1.2": {test_file: ["test_b"]},
        "B1.3": {test_file: ["test_b"]},
        "B1.4": {test_file: ["test_b"]},
        "B1.5": {test_file: ["Test.test_c"]},
        "B1.7": {"fwx/testing/kit.py": ["keeps its word"]},
    }


def test_the_page_lists_a_known_test_for_a_known_fact(
    facts: ModuleType, citations: list[Any], source_tree: Path
) -> None:
    found = facts.proofs(citations)
    known = facts.read_facts(source_tree / "docs" / "facts.toml")
    row = facts.render(known, found).partition("B9.10\n")[2].partition("* - ")[0]
    assert "The actions of a record, 0 to 17" in row
    assert "``tests/impl/test_logrecord.py``" in row
    assert "``test_the_actions_have_the_numbers_of_the_sdk``" in row


def test_the_page_marks_what_is_open(facts: ModuleType, planted: Path, tmp_path: Path) -> None:
    path = tmp_path / "facts.toml"
    entries = "".join(f'"B1.{number}" = ["gap", "Title {number}"]\n' for number in range(1, 13))
    path.write_text(f'[[topic]]\ntitle = "Life"\n[topic.facts]\n{entries}')
    page = facts.render(facts.read_facts(path), facts.proofs(facts.find_citations(planted)))
    assert "Of 12 facts 5 are cited by a test, 1 more by a rule of the conformance kit\nalone, and 6 are open." in page
    assert "\nLife\n----\n" in page
    assert re.findall(r"Title (\d+)\n     - \*\*open\*\*", page) == ["6", "8", "9", "10", "11", "12"]
    assert "     - - ``fwx/testing/kit.py``\n         *keeps its word*" in page


def test_the_page_says_why_a_fact_is_open(facts: ModuleType, planted: Path, tmp_path: Path) -> None:
    path = tmp_path / "facts.toml"
    path.write_text('[[topic]]\ntitle = "Life"\n[topic.facts]\n"B1.8" = ["gap", "Title", "nobody knows"]\n')
    page = facts.render(facts.read_facts(path), facts.proofs(facts.find_citations(planted)))
    assert "     - **open**: nobody knows" in page


# The facts of what is still being built, chaining (8), samples (12) and arrays (13), get tests or reasons with it.
def test_the_facts_of_what_is_built_are_proven_or_say_why_not(
    facts: ModuleType, citations: list[Any], source_tree: Path
) -> None:
    """Topics 1 to 7 and 9 to 11; a reason goes when its fact gets a test."""
    known = facts.read_facts(source_tree / "docs" / "facts.toml")
    found = facts.proofs(citations)
    stale = [fact.number for fact in known.values() if fact.reason and fact.number in found]
    assert stale == [], "they have a test: take the reason away"
    built = {f"B{topic}" for topic in (*range(1, 8), *range(9, 12))}
    topics = [fact for fact in known.values() if fact.number.partition(".")[0] in built]
    missing = {fact.number for fact in topics if fact.number not in found and not fact.reason}
    assert missing == set()


# ---- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rows", "notes"),
    [
        ("never; ``S_OK`` is the only result.", [], "Never; ``S_OK`` is the only result."),
        ("``E_FAIL``, it broke.", [("``E_FAIL``", "it broke", "SDK")], ""),
        ("``E_NOTIMPL`` from a stub.", [("``E_NOTIMPL``", "from a stub", "SDK")], ""),
        ("``E_FAIL``: it ends.", [("``E_FAIL``", "it ends", "SDK")], ""),
        (
            "``E_HANDLE``; ``E_POINTER``, none; ``outs`` has it.",
            [("``E_HANDLE``", "not a handle", "SDK"), ("``E_POINTER``", "none; ``outs`` has it", "SDK")],
            "",
        ),
        (
            "``E_FAIL`` or ``E_ABORT``, it broke; else the Windows error.",
            [("``E_FAIL`` or ``E_ABORT``", "it broke", "SDK"), ("any other", "the Windows error", "SDK")],
            "",
        ),
        (
            "the SDK names no code; here ``E_FAIL``, it broke. More of it.",
            [("``E_FAIL``", "it broke", "fwx")],
            "The SDK names no code. More of it.",
        ),
        (
            "``E_FAIL``, a; here also ``E_ABORT``, b.",
            [("``E_FAIL``", "a", "SDK"), ("``E_ABORT``", "b", "fwx")],
            "",
        ),
        (
            "``E_FAIL``, a. ``E_NOTIMPL``, not in this version; once served, ``E_ABORT``, b; ``E_HANDLE``, c.",
            [
                ("``E_FAIL``", "a", "SDK"),
                ("``E_NOTIMPL``", "not in this version", "fwx"),
                ("``E_ABORT``", "once served: b", "fwx"),
                ("``E_HANDLE``", "once served: c", "fwx"),
            ],
            "",
        ),
        (
            "as an HRESULT ``WSATRY_AGAIN``, later, here too.",
            [("``HRESULT_FROM_WIN32(WSATRY_AGAIN)``", "later, here too", "SDK")],
            "",
        ),
        (
            "not specified; as elsewhere ``E_FAIL``, a, and ``E_ABORT``, b.",
            [("``E_FAIL``", "as elsewhere: a", "fwx"), ("``E_ABORT``", "b", "fwx")],
            "Not specified.",
        ),
        ("A raised ``E_NOTIMPL`` is a failure.", [], "A raised ``E_NOTIMPL`` is a failure."),
        (
            "``S_OK`` there is data, ``S_FALSE`` there is none.",
            [("``S_OK``", "there is data", "SDK"), ("``S_FALSE``", "there is none", "SDK")],
            "",
        ),
    ],
)
def test_results_are_read_from_the_words_of_a_docstring(
    failures: ModuleType, text: str, rows: list[tuple[str, str, str]], notes: str
) -> None:
    read = failures.parse(text)
    assert [(row.result, row.meaning, row.source) for row in read.rows] == rows
    assert read.notes == notes


@pytest.mark.parametrize("method", METHODS, ids=lambda each: f"{each.interface.__name__}.{each.name}")
def test_no_code_of_a_docstring_is_lost(failures: ModuleType, method: MethodInfo) -> None:
    text = docstring(method)
    rest, raises = failures.split_docstring(text)
    assert raises
    assert ":raises COMError:" not in rest
    read = failures.results_of(method, text)
    told = " ".join([read.notes, *(f"{row.result} {row.meaning}" for row in read.rows)])
    code = r"\b(?:WSA|ERROR_|(?:FWX_|CLASS_|REGDB_)?[ES]_)\w+"
    assert set(re.findall(code, raises)) <= set(re.findall(code, told))
    assert ("``S_OK``" in [row.result for row in read.rows]) == (method.returns == "HRESULT")
    assert all(row.meaning for row in read.rows)


# ---- the reference ---------------------------------------------------------------------------------------------------


def test_a_method_stands_with_its_slot_its_idl_and_its_results(reference: ModuleType) -> None:
    method = methods(IFWXIpFilter)[7]
    lines = list(reference.describe_method(method, docstring(method)))
    assert lines[:8] == [
        "Slot 7, at byte 56 of a 64-bit vtable:",
        "",
        ".. code-block:: c++",
        "",
        "   HRESULT IsIncluded(",
        "       [in] IN_ADDR IP);",
        "",
        "Tell whether an address belongs to the set. Called by any holder, at any time; the answer changes no",
    ]
    assert lines[lines.index(".. list-table::") + 5 :] == [
        "   * - Result",
        "     - Meaning",
        "     - Said by",
        "   * - ``S_OK``",
        "     - it does",
        "     - SDK",
        "   * - ``S_FALSE``",
        "     - it does not",
        "     - SDK",
        "   * - ``E_INVALIDARG``",
        "     - not an IPv4 address",
        "     - fwx",
        "",
        "*Failures:* The SDK names no code.",
        "",
    ]


@pytest.mark.parametrize(
    ("interface", "lines"),
    [
        (
            IFWXNetworkSocket,
            [
                ":IID: ``0CF075B6-A8F6-11D0-A7F1-0000F8750B21``",
                ":Slots: 10 to 20 of the vtable",
                ":Implemented by: :class:`~fwx.impl.datagramsocket.FWXDatagramSocket`, "
                ":class:`~fwx.impl.networksocket.FWXNetworkSocket`, :class:`~fwx.impl.sslsocket.FWXSSLSocket`",
            ],
        ),
        (
            IFWXPolicyChangeNotification,
            [
                ":IID: ``74465D64-6A2E-486E-A1CE-A7F2140868B4``",
                ":Slots: 3 to 3 of the vtable",
                ":Implemented by: no class of this version",
            ],
        ),
    ],
    ids=["implemented", "not implemented"],
)
def test_an_interface_stands_with_its_identity(
    reference: ModuleType, interface: COMInterfaceClass, lines: list[str]
) -> None:
    assert [line for line in reference.describe_interface(interface) if line] == lines


def test_what_a_class_inherits_is_not_its_own(reference: ModuleType) -> None:
    assert issubclass(FWXNetworkSocket, FWXSocket)
    assert reference.implementations(IUnknown) == (Unknown,)
    assert reference.implementations(IFWXSocket) == (ObservedSocket, FWXSocket, UnreadSocket)


def test_every_implementation_is_on_the_page_of_its_interface(reference: ModuleType, source_tree: Path) -> None:
    pages = [path.read_text() for path in (source_tree / "docs" / "api").glob("*.rst")]
    missing: list[Any] = []
    for interface in com_interfaces():
        page = next(page for page in pages if f".. automodule:: {interface.__module__}\n" in page)
        classes = reference.implementations(interface)
        missing += [(interface, cls) for cls in classes if not re.search(rf"\b{cls.__name__}\b", page)]
    assert missing == []
