"""What every docstring of the contract has to say, read from the declarations and from the source of the modules."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import fwx.interfaces
from fwx.interfaces import (
    COMInterfaceClass,
    IFWXIOBuffer,
    IFWXSession,
    MethodInfo,
    Passing,
    com_interfaces,
    constants,
    enums,
    hresult,
    methods,
    query_iid,
    structs,
)

INTERFACES = tuple(each for each in com_interfaces() if query_iid(each) is not None)
METHODS = [(each, method) for each in INTERFACES for method in methods(each) if method.interface is each]
MODULES = sorted(Path(fwx.interfaces.__file__).parent.glob("*.py"))

# Who calls a method, and when; a property is read.
CALLER = re.compile(r"\b(Called|Read by)\s")
IMPLEMENTER = re.compile(r"implemented\s+by|both sides implement", re.IGNORECASE)
FACT = re.compile(r"\bB(\d+)\.(\d+)\b")
# How many numbered facts each of the 13 topics of the behaviour list has.
FACTS = (49, 45, 40, 24, 20, 35, 22, 10, 27, 7, 16, 5, 10)

IN_PLACE = (Passing.ARGUMENT, Passing.LENGTH, Passing.FILLED, Passing.BOTH)
COMES_BACK = (Passing.RESULT, Passing.BOTH)


def _name(each: COMInterfaceClass | MethodInfo) -> str:
    return each.name if isinstance(each, MethodInfo) else each.__name__


def shortcomings(method: MethodInfo, text: str) -> list[str]:
    """Return what the docstring *text* of *method* fails to say."""
    found = []
    if not re.match(r"[A-Z](?:(?!\n\n).)*\.(\s|$)", text, re.DOTALL):
        found.append("no summary")
    if not CALLER.search(text):
        found.append("not who calls it and when")
    if "COMError" not in text:
        found.append("neither how it fails nor that it cannot")
    if not method.is_property:
        found += _missing_fields(method, text)
    elif any(f"*{each.name}*" not in text for each in method.parameters):
        found.append("not its name on the COM face")
    return found


def _missing_fields(method: MethodInfo, text: str) -> Iterator[str]:
    before, returns, results = text.partition(":returns:")
    results = results.partition(":raises")[0]
    for each in method.parameters:
        if each.passing in IN_PLACE and f":param {each.name}:" not in before:
            yield f"no :param {each.name}:"
        if each.passing in COMES_BACK and f"*{each.name}*" not in results:
            yield f"*{each.name}* is not among the results"
        if each.passing is Passing.RESULT_LENGTH and f"*{each.name}*" not in text:
            yield f"nothing of *{each.name}*"
    answers = any(each.passing in COMES_BACK for each in method.parameters) or method.returns != "HRESULT"
    if answers and not returns:
        yield "no :returns:"
    if ":raises COMError:" not in text:
        yield "no :raises COMError:"


@pytest.mark.parametrize(("interface", "method"), METHODS, ids=_name)
def test_a_method_says_all_that_its_caller_needs(interface: COMInterfaceClass, method: MethodInfo) -> None:
    assert shortcomings(method, interface[method.name].getDoc()) == []


@pytest.mark.parametrize(
    ("interface", "name", "old", "reported"),
    [
        (IFWXIOBuffer, "Append", "Add bytes at the end of the data.", "no summary"),
        (IFWXIOBuffer, "Append", "Called by the allocator", "not who calls it and when"),
        (IFWXIOBuffer, "Append", ":param cb:", "no :param cb:"),
        (IFWXIOBuffer, "Append", ":returns:", "no :returns:"),
        (IFWXIOBuffer, "Append", "*pcbWritten*", "*pcbWritten* is not among the results"),
        (IFWXIOBuffer, "Append", ":raises COMError:", "no :raises COMError:"),
        (IFWXIOBuffer, "ReadAt", "*pcbRead*", "nothing of *pcbRead*"),
        (IFWXSession, "BindForClient", ":param ProxyAddress:", "no :param ProxyAddress:"),
        (IFWXSession, "BindForClient", "*ProxyAddress*", "*ProxyAddress* is not among the results"),
    ],
)
def test_a_shortened_docstring_is_reported(interface: COMInterfaceClass, name: str, old: str, reported: str) -> None:
    method = next(each for each in methods(interface) if each.name == name)
    text = interface[name].getDoc()
    assert old in text
    assert reported in shortcomings(method, text.replace(old, ""))


def test_a_property_names_its_parameter_and_its_failures() -> None:
    method = replace(METHODS[0][1], attributes=("propget",), parameters=METHODS[0][1].parameters[-1:])
    name = method.parameters[0].name
    assert shortcomings(method, f"The name, *{name}*. Read by anybody. ``COMError``: none.") == []
    assert shortcomings(method, "The name. Read by anybody. It is short.") == [
        "neither how it fails nor that it cannot",
        "not its name on the COM face",
    ]


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda each: each.__name__)
def test_an_interface_says_who_implements_it(interface: COMInterfaceClass) -> None:
    assert IMPLEMENTER.search(interface.__doc__ or "")


# ---- members ---------------------------------------------------------------------------------------------------------


def undocumented(body: list[ast.stmt]) -> list[str]:
    """Return the public names that *body* assigns or annotates without a string right behind."""
    found = []
    for statement, following in zip(body, [*body[1:], ast.Pass()], strict=True):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                if not name.startswith("_") and not _is_text(following):
                    found.append(name)
    return found


def _is_text(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return bool(text.strip())
    return False


@pytest.mark.parametrize("module", [enums, structs], ids=lambda each: each.__name__)
def test_every_structure_and_enumeration_and_each_of_its_members_is_documented(module: ModuleType) -> None:
    classes = [each for each in ast.parse(inspect.getsource(module)).body if isinstance(each, ast.ClassDef)]
    assert len(classes) > 10
    assert [each.name for each in classes if not ast.get_docstring(each)] == []
    assert {each.name: names for each in classes if (names := undocumented(each.body))} == {}


@pytest.mark.parametrize("module", [constants, hresult], ids=lambda each: each.__name__)
def test_every_constant_and_every_code_is_documented(module: ModuleType) -> None:
    body = ast.parse(inspect.getsource(module)).body
    assert undocumented(body) == []


def test_a_member_without_a_text_is_reported() -> None:
    assert undocumented(ast.parse("a: int\n'''A.'''\nb: int = 1\nc = 2\n'''C.'''\nd = 3\n''\n_e = 4").body) == [
        "b",
        "d",
    ]


# ---- facts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=lambda each: each.stem)
def test_every_fact_that_is_cited_exists(path: Path) -> None:
    cited = {(int(topic), int(number)) for topic, number in FACT.findall(path.read_text())}
    assert [f"B{t}.{n}" for t, n in cited if not (1 <= t <= len(FACTS) and 1 <= n <= FACTS[t - 1])] == []
