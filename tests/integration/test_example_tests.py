"""The page on testing a filter: the tests that it shows pass, and the output that it shows is the output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fwx.commands.conform import conform

FOLDER = Path("examples") / "upper-case"
# No plugin but this one, which need not be installed, and none of the checkout's own settings.
OPTIONS = ("-c", os.devnull, "-p", "fwx.testing.pytest_plugin", "-p", "no:cacheprovider", "-W", "error", "-q")


def run_tests(source_tree: Path, filter_folder: Path, *more: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    path = os.pathsep.join(map(str, (filter_folder, source_tree, *sys.path)))
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": path}
    command = [sys.executable, "-m", "pytest", *OPTIONS, str(source_tree / FOLDER / "tests"), *map(str, more)]
    return subprocess.run(
        command, cwd=filter_folder, env=environment, capture_output=True, text=True, check=False, timeout=100
    )


def test_the_tests_of_the_examples_pass(source_tree: Path) -> None:
    """B7.16: one of them keeps a policy of its own, loads it in FilterInit and again when a change is applied."""
    result = run_tests(source_tree, source_tree / FOLDER, *sorted((source_tree / "examples").glob("test_*.py")))
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"^\d+ passed in", result.stdout, re.MULTILINE), result.stdout


def test_the_tests_of_the_example_fail_with_a_filter_that_changes_nothing(source_tree: Path, tmp_path: Path) -> None:
    package = tmp_path / "fwx_upper_case"
    package.mkdir()
    for source in (source_tree / FOLDER / "fwx_upper_case").glob("*.py"):
        (package / source.name).write_text(source.read_text().replace(".upper()", "[:]"))
    result = run_tests(source_tree, tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    for name in ("test_whose_data_changes", "test_a_letter_that_comes_in_two_buffers_is_put_together"):
        assert re.search(rf"^FAILED .*::{name}", result.stdout, re.MULTILINE), result.stdout


def test_the_output_of_conform_is_the_one_that_is_shown(source_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(source_tree / FOLDER)
    page = (source_tree / "docs" / "testing-a-filter.rst").read_text()
    _, _, block = page.partition("    $ fwx conform upper-case --changes-data\n")
    shown = [line.strip() for line in block.split("\n\n")[0].splitlines() if line != "    ..."]
    result = CliRunner().invoke(conform, ["fwx_upper_case:UpperCase", "--changes-data"])
    assert result.exit_code == 0, result.output
    printed = result.output.splitlines()
    assert len(shown) > 4
    assert [line for line in printed if line in shown] == shown
