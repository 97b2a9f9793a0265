"""The Makefile's promises that can be kept without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TARGETS = {"bench", "fuzz", "paths", "clean", "debian-deps", "demo", "docs", "help", "lint", "test", "venv"}


@pytest.fixture
def clone(tmp_path: Path, source_tree: Path) -> Path:
    """A folder whose path holds spaces, with what the Makefile reads."""
    folder = tmp_path / "a clone with spaces"
    folder.mkdir()
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(source_tree / name, folder)
    return folder


def run_make(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The outer make's flags would otherwise reach the inner one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=240
    )


def stand_in(clone: Path, refused: str) -> str:
    """Write an interpreter that fails when its script holds *refused*; return the make argument that selects it."""
    script = clone / "stand-in python"
    script.write_text(f'#!/bin/sh\ncase "$*" in *"{refused}"*) exit 1;; esac\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    return f"PYTHON={script}"


def test_help_lists_every_target(clone: Path) -> None:
    result = run_make(clone, "help")
    assert {line.split(maxsplit=1)[0] for line in result.stdout.splitlines()} == TARGETS


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ("version_info", "needs Python 3.11 or newer"),
        ("ensurepip", "install the Debian package python3-venv"),
    ],
)
def test_an_unfit_python_is_named_and_nothing_is_left(clone: Path, refused: str, message: str) -> None:
    result = run_make(clone, "venv", stand_in(clone, refused))
    assert result.returncode != 0
    assert message in result.stderr
    assert not (clone / ".venv").exists()


def test_a_missing_python_is_named(clone: Path) -> None:
    result = run_make(clone, "venv", "PYTHON=/nonexistent/python")
    assert result.returncode != 0
    assert '"/nonexistent/python"' in result.stderr


def test_venv_is_created_once_and_mended_when_half_made(clone: Path) -> None:
    half_made = clone / ".venv" / "leftover"
    half_made.mkdir(parents=True)
    assert run_make(clone, "venv", f"PYTHON={sys.executable}").returncode == 0
    assert not half_made.exists()
    subprocess.run([clone / ".venv/bin/python", "-m", "pip", "--version"], check=True, capture_output=True)
    assert "Nothing to be done" in run_make(clone, "venv", f"PYTHON={sys.executable}").stdout


def test_clean_removes_what_was_built_and_keeps_the_sources(clone: Path) -> None:
    for built in (".venv/bin", "docs/_build/html", "build/lib", "fwx.egg-info", "fwx/__pycache__"):
        (clone / built).mkdir(parents=True)
    (clone / ".coverage.host.1").touch()
    assert run_make(clone, "clean").returncode == 0
    assert {path.name for path in clone.iterdir()} == {"Makefile", "setup.cfg", "pyproject.toml", "docs", "fwx"}
    assert not any((clone / "docs").iterdir())


def test_debian_deps_installs_the_package_of_every_program_a_test_may_require(
    clone: Path, debian_packages: frozenset[str]
) -> None:
    makefile = (clone / "Makefile").read_text().replace("\\\n", " ")
    listed = re.search(r"^DEBIAN_PACKAGES := (.*)$", makefile, re.MULTILINE)
    assert listed is not None
    assert set(listed[1].split()) == debian_packages | {"python3-venv"}
