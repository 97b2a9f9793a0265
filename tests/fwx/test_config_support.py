from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from fwx.config import Configuration, load
from fwx.config_directories import Directory
from fwx.config_model import Listener
from fwx.config_support import REFUSALS, SUPPORTED_KEYS, SUPPORTED_VALUES, unsupported
from fwx.config_validation import keys_of

DATA = Path(__file__).parent.parent / "data"

REFUSED_IN_FULL = [
    ("[console]", "console"),
]


def refused(folder: Path, text: str) -> list[str]:
    file = folder / "fwx.toml"
    file.write_text(text)
    return [f"{problem.line}: {problem.key}: {problem.message}" for problem in unsupported(load(file))]


def test_the_full_format_is_refused_key_by_key() -> None:
    lines = (DATA / "config_full.toml").read_text().splitlines()
    found = unsupported(load(DATA / "config_full.toml"))
    assert [problem.key for problem in found] == [key for _, key in REFUSED_IN_FULL]
    for problem, (text, _) in zip(found, REFUSED_IN_FULL, strict=True):
        assert lines[problem.line - 1].startswith(text)
        assert problem.message.startswith("this version ")


def test_what_the_service_does_is_accepted() -> None:
    assert unsupported(load(DATA / "config_relay.toml")) == []
    assert unsupported(load(None)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[service]\nworkers = 2\n",
            "2: service.workers: this version runs one worker process; write 1 or leave it out",
        ),
        ("[console]\nbind = '127.0.0.1:1'\n", "1: console: this version has no console; leave the table out"),
    ],
)
def test_a_written_key_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert refused(tmp_path, text) == [expected]


def keys_of_the_format() -> list[str]:
    """Every ``table.key`` of the format."""
    found: list[str] = []
    for table, field in keys_of(Configuration).items():
        unions: dict[str, object] = {"listener": Listener, "directory": Directory}
        if table in unions:
            models: list[type[BaseModel]] = list(get_args(unions[table]))
        else:
            models = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
            models = [kind for kind in models if issubclass(kind, BaseModel)]
        found += [f"{table}.{key}" for model in models for key in keys_of(model)]
    return found


@pytest.mark.parametrize("dotted", keys_of_the_format())
def test_each_key_is_supported_or_has_a_sentence_for_its_refusal(dotted: str) -> None:
    table, key = dotted.split(".")
    if table not in SUPPORTED_KEYS:
        assert table in REFUSALS
    elif key not in SUPPORTED_KEYS[table]:
        assert dotted in REFUSALS


def test_the_lists_name_nothing_but_keys_of_the_format() -> None:
    keys = {*keys_of_the_format(), *keys_of(Configuration)}
    supported = {f"{table}.{key}" for table, names in SUPPORTED_KEYS.items() for key in names}
    assert {*supported, *SUPPORTED_VALUES, *REFUSALS} <= keys
    assert set(SUPPORTED_VALUES) <= set(REFUSALS)
