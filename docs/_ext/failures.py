"""The table of results of a method, read from its docstring.

Docstrings of the contract list codes in one way: ``CODE``, when; ``CODE``, when. Words in front of a code say whether
the SDK names it ("here" and "not specified" mean that it does not). What has no such form stays a sentence.
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Final

from fwx.interfaces import MethodInfo, hresult

SDK: Final = "SDK"
OURS: Final = "fwx"

_FIELD: Final = re.compile(r"^:(returns|raises COMError):((?:(?!^:).)*)", re.MULTILINE | re.DOTALL)
_PROSE: Final = re.compile(r"``COMError``: (.*)", re.DOTALL)
_SENTENCE: Final = re.compile(r"(?<=\.)\s+(?=[A-Z`*])")
_CLAUSE: Final = re.compile(r";\s+|, and (?=``\w+``,)|, (?=``S_FALSE``)")
_CODE: Final = re.compile(r"``(?:HRESULT_FROM_WIN32\()?((?:[A-Z]+_)?[ES]_[A-Z_]+|ERROR_[A-Z_]+|WSA[A-Z_]+)\)?``")
_MEANING: Final = re.compile(r"(?: \((?:0x\w+|or ``None``)\))?(?:[,:]?\s+(.+)|,|)", re.DOTALL)
_REST: Final = re.compile(r"(?:else|otherwise)\s+(.+)", re.DOTALL)
_NOT_IN_THE_SDK: Final = re.compile(r"(?i)\bhere\b|\bnot specified\b|\bnames no\b|\bis lost\b|\bnever documented\b")
_SAYS_NOTHING: Final = re.compile(r"(?i)(?:not specified, and )?here(?: also)?|as an HRESULT|``None`` or|")
_LATER: Final = "once served"


@dataclass(frozen=True, slots=True)
class Row:
    """One result.

    :ivar result: the code or codes, as reStructuredText.
    :ivar meaning: when it comes, or what follows from it.
    :ivar source: who says so: :data:`SDK` or :data:`OURS`.
    """

    result: str
    meaning: str
    source: str


_SUCCESS: Final = Row("``S_OK``", "done", SDK)


@dataclass(frozen=True, slots=True)
class Results:
    """What the docstring of a method says of its results: the table, and the sentences that are no row of it."""

    rows: tuple[Row, ...]
    notes: str


def split_docstring(text: str) -> tuple[str, str]:
    """Return the docstring *text* without its field ``:raises COMError:``, and that field as one line.

    An attribute has a sentence that starts with ``COMError`` in its place.
    """
    for field in _FIELD.finditer(text):
        if field[1] != "returns":
            return text[: field.start()].rstrip() + "\n\n" + text[field.end() :], " ".join(field[2].split())
    if prose := _PROSE.search(text):
        return text[: prose.start()].rstrip() + "\n", " ".join(prose[1].split())
    return text, ""


def results_of(method: MethodInfo, text: str) -> Results:
    """Return the results of *method* as its docstring *text* tells them; success first."""
    _, raises = split_docstring(text)
    returns = next((" ".join(field[2].split()) for field in _FIELD.finditer(text) if field[1] == "returns"), "")
    answers: dict[str, Row] = {}
    for row in parse(returns).rows:
        if "``S_" in row.result:
            answers.setdefault(row.result, row)
    if method.returns == "HRESULT" and not answers:
        answers[_SUCCESS.result] = _SUCCESS
    failures = parse(raises)
    return Results((*answers.values(), *failures.rows), failures.notes)


def parse(text: str) -> Results:
    """Return the results that *text*, one line of a docstring, lists."""
    reader = _Reader()
    for sentence in _SENTENCE.split(text):
        reader.read(sentence.removesuffix("."))
    return Results(tuple(reader.rows), " ".join(reader.notes))


class _Reader:
    """Reads sentence by sentence; remembers whether the SDK is still speaking."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self._source = SDK

    def read(self, sentence: str) -> None:
        first_row = len(self.rows)
        later = False
        notes: list[str] = []
        for clause in filter(None, _CLAUSE.split(sentence)):
            later = later or clause.startswith(_LATER)
            if row := self._row(clause):
                self.rows.append(_prefixed(row, _LATER) if later else row)
            elif len(self.rows) > first_row:
                last = self.rows[-1]
                self.rows[-1] = replace(last, meaning=f"{last.meaning}; {clause}")
            else:
                self._listen(clause)
                notes.append(clause)
        if notes:
            note = "; ".join(notes)
            self.notes.append(f"{note[0].upper()}{note[1:]}.")

    def _row(self, clause: str) -> Row | None:
        if rest := _REST.fullmatch(clause):
            return Row("any other", rest[1], self._source)
        codes = list(_CODE.finditer(clause))
        if not codes:
            return None
        before = clause[: codes[0].start()].strip().rstrip(",")
        end = codes[0].end()
        joined = [codes[0][1]]
        for code in codes[1:]:
            if clause[end : code.start()] not in (" or ", " and "):
                break
            joined.append(code[1])
            end = code.end()
        meaning = _MEANING.fullmatch(clause[end:])
        if meaning is None or _is_sentence(clause[end:]):
            return None
        self._listen(before)
        return self._made(joined, before, meaning[1] or "")

    def _listen(self, words: str) -> None:
        if _NOT_IN_THE_SDK.search(words):
            self._source = OURS

    def _made(self, codes: list[str], before: str, meaning: str) -> Row:
        if meaning.startswith("not in this version"):
            self._source = OURS
        result = " or ".join(f"``{_spelling(code)}``" for code in codes)
        silent = _SUCCESS.meaning if result == _SUCCESS.result else _meanings().get(codes[0], "")
        row = Row(result, meaning or silent, self._source)
        says_nothing = _SAYS_NOTHING.fullmatch(before) or before == _LATER
        return row if says_nothing else _prefixed(row, _lower(before))


def _prefixed(row: Row, words: str) -> Row:
    return replace(row, meaning=f"{words}: {row.meaning}")


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _is_sentence(rest: str) -> bool:
    """A code whose sentence goes on with a verb or the like is no entry of a list."""
    return bool(re.match(r" (?!from |where |there |\()", rest))


def _spelling(code: str) -> str:
    return f"HRESULT_FROM_WIN32({code})" if code.startswith(("WSA", "ERROR_")) else code


@cache
def _meanings() -> dict[str, str]:
    """Return what each code of :mod:`fwx.interfaces.hresult` means, by its name."""
    body = ast.parse(inspect.getsource(hresult)).body
    found = {}
    for statement, text in pairwise(body):
        match statement, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(meaning))),
            ) if name.isupper() and isinstance(getattr(hresult, name), int):
                found[name] = meaning.rstrip(".") if meaning[1].isupper() else _lower(meaning.rstrip("."))
    return found
