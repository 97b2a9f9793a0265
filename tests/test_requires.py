"""The ``requires`` marker: a missing program skips by name, and fails where the gate runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("program", "there", "gate", "outcome", "words"),
    [
        ("curl", True, "", "1 passed", ""),
        ("curl", True, "1", "1 passed", ""),
        ("curl", False, "", "1 skipped", "needs the program curl (Debian package curl"),
        ("curl", False, "1", "1 error", "needs the program curl (Debian package curl"),
        ("no-such", True, "", "1 error", "tests/conftest.py does not know it"),
    ],
)
def test_marker(
    source_tree: Path, tmp_path: Path, program: str, there: bool, gate: str, outcome: str, words: str
) -> None:
    shutil.copy(source_tree / "tests" / "conftest.py", tmp_path)
    body = f"import pytest\n@pytest.mark.requires({program!r})\ndef test_it(program_path): program_path({program!r})\n"
    (tmp_path / "test_one.py").write_text(body)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    requires(*programs): needs them\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    if there:
        (programs / program).write_text("#!/bin/sh\n")
        (programs / program).chmod(0o755)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", tmp_path],
        env={**os.environ, "PATH": str(programs), "FWX_CI": gate},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert outcome in result.stdout, result.stdout + result.stderr
    assert words in result.stdout
