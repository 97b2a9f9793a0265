"""The page of the ways through the service: what it is made of agrees with the tests' markers."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs._ext import paths
from tests.paths import HOW, PathRecorder, differences

HEADER = "entry,exit,transport,test\n"
ONE = "socks5,direct,tcp,tests/test_x.py::test_one\n"
MARKED = """
import pytest

@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.parametrize("number", [1, 2])
def test_one(number):
    {body}
"""


@pytest.fixture
def tree(tmp_path: Path, source_tree: Path) -> Path:
    """A source tree with one marked test to come, and the plugin."""
    for folder in ("docs", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    path(entry, exit, transport): proves a way\n")
    shutil.copy(source_tree / "tests" / "conftest.py", tmp_path)
    return tmp_path


def run(tree: Path, source_tree: Path, *arguments: str, ci: str = "", body: str) -> tuple[int, str]:
    (tree / "tests" / "test_x.py").write_text(MARKED.format(body=body))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--import-mode=importlib", str(tree)]
    ended = subprocess.run(
        [*command, "--rootdir", str(tree), "-c", str(tree / "pytest.ini"), *arguments],
        cwd=source_tree, env={"PATH": "/usr/bin:/bin", "FWX_CI": ci}, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


def listed(tree: Path) -> str:
    file = tree / "docs" / "paths.csv"
    return file.read_text() if file.exists() else ""


# ---- this tree -------------------------------------------------------------------------------------------------------


def test_the_file_agrees_with_the_markers(request: pytest.FixtureRequest, source_tree: Path) -> None:
    """Of all test files that this run has collected; and no file that it names is gone."""
    recorder = request.config.pluginmanager.get_plugin("paths")
    assert isinstance(recorder, PathRecorder)
    known = paths.read(source_tree / "docs" / "paths.csv")
    assert known
    wrong = differences(recorder.marked, known, recorder.collected)
    wrong += [
        f"no such file: {each.test}" for each in known if not (source_tree / each.test.partition("::")[0]).exists()
    ]
    assert not wrong, "\n".join([*wrong, HOW])


# ---- what is recorded ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "before", "after"),
    [
        ("pass", "", HEADER + ONE),
        ("assert number == 1", HEADER + ONE, HEADER),
        ("assert number == 1", "", HEADER),
        ("pytest.skip('no root')", "", HEADER),
        ("pytest.skip('no root')", HEADER + ONE, HEADER + ONE),
        ("number == 1 or pytest.skip('no root')", "", HEADER),
        ("pass", HEADER + ONE.replace("socks5", "socks4"), HEADER + ONE),
        ("pass", HEADER + ONE.replace("test_x", "test_gone"), HEADER + ONE),
        ("pass", HEADER + ONE.replace("test_x", "test_other"), HEADER + ONE.replace("test_x", "test_other") + ONE),
    ],
    ids=[
        "passed", "fails now", "failed", "skipped", "skipped here, passed elsewhere", "skipped in part",
        "has lost its marker", "file is gone", "did not run",
    ],
)  # fmt: skip
def test_what_is_written(tree: Path, source_tree: Path, body: str, before: str, after: str) -> None:
    (tree / "tests" / "test_other.py").touch()
    if before:
        (tree / "docs" / "paths.csv").write_text(before)
    run(tree, source_tree, "--write-paths", body=body)
    assert listed(tree) == after


def test_an_ordinary_run_writes_nothing(tree: Path, source_tree: Path) -> None:
    assert run(tree, source_tree, body="pass")[0] == 0
    assert listed(tree) == ""


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("1", 1)])
def test_where_nothing_may_be_skipped_what_did_not_pass_fails(
    tree: Path, source_tree: Path, ci: str, status: int
) -> None:
    ended, said = run(tree, source_tree, ci=ci, body="number == 1 or pytest.skip('no root')")
    assert ended == status, said
    assert ("docs/paths.csv: did not pass: socks5, direct, tcp, tests/test_x.py::test_one" in said) == (ci == "1")


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ('entry="sox", exit="direct", transport="tcp"', "entry='sox': expected one of socks4, socks4a, socks5"),
        ('entry="socks5", exit="out", transport="tcp"', "exit='out': expected one of direct, socks5"),
        ('entry="socks5", exit="direct", transport="sctp"', "transport='sctp': expected one of tcp, udp, bind"),
        ('entry="socks5", exit="direct"', "expected @pytest.mark.path(entry=..., exit=..., transport=...)"),
        ('"socks5", "direct", "tcp"', "expected @pytest.mark.path(entry=..., exit=..., transport=...)"),
    ],
)
def test_a_wrong_marker_ends_the_run(tree: Path, source_tree: Path, marker: str, words: str) -> None:
    body = f"pass\n\n@pytest.mark.path({marker})\ndef test_two():\n    pass"
    ended, said = run(tree, source_tree, body=body)
    assert ended == pytest.ExitCode.USAGE_ERROR
    assert f"tests/test_x.py::test_two: {words}" in said.replace(": @pytest.mark.path:", ":")


def test_differences_are_those_of_what_was_collected() -> None:
    proofs = [paths.Proof("socks5", "direct", transport, f"tests/{name}.py::test") for transport, name in
              (("tcp", "a"), ("tcp", "b"), ("udp", "c"))]  # fmt: skip
    assert differences(proofs[:2], proofs[1:], ["tests/a.py", "tests/b.py"]) == [
        "marked, not listed: socks5, direct, tcp, tests/a.py::test"
    ]
    assert differences([], proofs[:1], ["tests/a.py"]) == ["listed, not marked: socks5, direct, tcp, tests/a.py::test"]


# ---- the file and the page -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ":1: expected the columns entry,exit,transport,test"),
        ("entry,test\n", ":1: expected the columns entry,exit,transport,test"),
        (HEADER + "socks5,direct,tcp\n", ":2: expected entry,exit,transport,test with a test such as"),
        (HEADER + "socks5,direct,tcp,test_one\n", ":2: expected entry,exit,transport,test with a test such as"),
        (HEADER + ONE.replace("tcp", "bnd"), ":2: transport='bnd': expected one of tcp, udp, bind"),
        (HEADER + ONE + ONE, ": not in order, or a line comes twice: run make paths"),
        (HEADER + ONE + ONE.replace("socks5", "socks4"), ": not in order, or a line comes twice: run make paths"),
    ],
)
def test_a_wrong_line_is_an_error_that_says_where(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "paths.csv"
    file.write_text(text)
    with pytest.raises(paths.PathError, match=re.escape(f"{file}{words}")):
        paths.read(file)


def test_the_page_shows_what_is_listed_and_what_is_not(tmp_path: Path) -> None:
    rows = [["socks5", "direct", "tcp", "t/a.py::test_b"], ["socks5", "direct", "tcp", "t/a.py::test_c"],
            ["socks5", "direct", "udp", "t/a.py::test_d"]]  # fmt: skip
    file = tmp_path / "paths.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened, lineterminator="\n").writerows([HEADER.strip().split(","), *rows])
    page = paths.render(paths.read(file))
    dash = "\N{EN DASH}"
    assert "\n".join(["   * - socks5", "     - tcp, udp", *[f"     - {dash}"] * 5, "   * - http-connect"]) in page
    tests = "   * - socks5\n     - direct\n     - tcp\n     - - ``t/a.py`` ``test_b``\n       - ``t/a.py`` ``test_c``\n"
    assert tests in page
    assert all(f"- *{word}*: " in page for words in (paths.ENTRIES, paths.EXITS, paths.TRANSPORTS) for word in words)
