"""The filters that ship: each is an entry point that loads, with a page that explains every option."""

from __future__ import annotations

import configparser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

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


@pytest.fixture
def conformed(tmp_path: Path) -> Callable[..., Result]:
    """``fwx conform`` as anybody types it. A folder that must be given is the test's."""

    def run(name: str, *arguments: str) -> Result:
        folders = [text for text in describe_options(load_filter_class(SHIPPED[name])) if text == "folder: str"]
        given = [f"--option=folder={tmp_path}" for _ in folders]
        return CliRunner().invoke(conform, [SHIPPED[name], *given, *arguments])

    return run


@pytest.mark.parametrize("name", SHIPPED)
def test_it_keeps_every_rule(name: str, conformed: Callable[..., Result]) -> None:
    result = conformed(name)
    assert result.exit_code == 0, result.output
    about_data = next(line for line in result.output.splitlines() if line.startswith("much data passes whole"))
    assert about_data.endswith(" ok"), "it has no data filter, or none that was tried: see conform.toml"


@pytest.mark.parametrize("name", ["dns", "exe-block", "ftp", "smtp"])
def test_without_what_its_package_says_a_filter_of_a_protocol_fails(
    name: str, tmp_path: Path, conformed: Callable[..., Result]
) -> None:
    script = tmp_path / "empty.toml"
    script.touch()
    assert conformed(name, "--script", str(script)).exit_code == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("opening = 1", "opening"),
        ("nothing = 1", "nothing"),
        ("= 1", "--script"),
        ('to_server = "\\u0100"', "latin-1"),
        ('opening = [{ side = "nobody", data = "" }]', "side"),
        ("times = 0", "times"),
        ('changes_data = "yes"', "changes_data"),
        ('target = "example.org:80"', "expected a literal address"),
    ],
)
def test_a_script_that_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    script = tmp_path / "script.toml"
    script.write_text(text)
    result = CliRunner().invoke(conform, [SHIPPED["smtp"], "--script", str(script)])
    assert result.exit_code == 2
    assert words in result.output
