"""What README.rst and the documentation show is what the project has."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from fwx.config import load
from fwx.config_support import unsupported


def test_the_readme_shows_the_example_filter_letter_for_letter(source_tree: Path) -> None:
    example = (source_tree / "examples" / "refuse_telnet.py").read_text()
    assert textwrap.indent(example, "    ") in (source_tree / "README.rst").read_text()


def test_every_make_target_that_is_mentioned_exists(source_tree: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (source_tree / "Makefile").read_text(), re.MULTILINE))
    pages = [source_tree / "README.rst", *sorted((source_tree / "docs").glob("*.rst"))]
    mentioned = {name for page in pages for name in re.findall(r"(?:``| {4})make ([a-z-]+)", page.read_text())}
    assert mentioned
    assert mentioned <= targets


def test_the_configuration_that_is_shown_is_valid_and_supported(source_tree: Path) -> None:
    configuration = load(source_tree / "docs" / "fwx.toml")
    assert [rule.name for rule in configuration.rules] == ["browse", "updates", "www"]
    assert unsupported(configuration) == []
