"""The filters that ship: each is an entry point that loads, with a page that explains every option."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fwx.commands.conform import conform
from fwx.filter_loader import describe_options, load_filter_class


def entry_points() -> dict[str, str]:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).resolve().parents[3] / "setup.cfg")
    lines = setup["options.entry_points"]["fwx.filters"].strip().splitlines()
    return {name.strip(): value.strip() for name, value in (line.split("=") for line in lines)}


SHIPPED = entry_points()


@pytest.fixture
def page(source_tree: Path) -> Any:
    return lambda name: (source_tree / "docs" / "filters" / f"{name}.rst").read_text()


@pytest.mark.parametrize("name", SHIPPED)
def test_it_loads_and_is_explained(name: str, page: Any) -> None:
    options = [text.partition(":")[0] for text in describe_options(load_filter_class(SHIPPED[name]))]
    assert options
    text = page("index" if name == "data-monitor" else name)
    assert [option for option in options if f"``{option}``" not in text] == []
    if name != "data-monitor":
        assert f'use = "{name}"' in text
        assert f"\n   {name}\n" in page("index")


@pytest.mark.parametrize(
    ("name", "options"),
    [("smtp", []), ("dns", ["--option", 'types=["AXFR"]']), ("ftp", []), ("exe-block", [])],
)
def test_a_filter_of_a_protocol_keeps_every_rule(name: str, options: list[str], source_tree: Path) -> None:
    script = source_tree / "docs" / "filters" / f"{name}-script.toml"
    result = CliRunner().invoke(conform, [SHIPPED[name], "--script", str(script), *options])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].endswith(": 32 ok, 1 skipped")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("opening = 1", "opening"),
        ("nothing = 1", "nothing"),
        ("= 1", "--script"),
        ('to_server = "\\u0100"', "latin-1"),
        ('opening = [{ side = "nobody", data = "" }]', "side"),
    ],
)
def test_a_script_that_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    script = tmp_path / "script.toml"
    script.write_text(text)
    result = CliRunner().invoke(conform, [SHIPPED["smtp"], "--script", str(script)])
    assert result.exit_code == 2
    assert words in result.output
