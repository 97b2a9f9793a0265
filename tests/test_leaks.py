"""The check that every test leaves nothing behind: what it finds, what it forgives, and that it fails the test."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.iobuffer import FWXIOBuffer
from tests.leaks import Leaks

CONFTEST = """
from tests import leaks
from tests.conftest import _leaks, _leaves_nothing, pytest_runtest_makereport

leaks._PATIENCE = 0.1
"""
TESTS = """
import socket
import threading

import pytest

from fwx.impl.iobuffer import FWXIOBuffer

KEPT = []
GO_ON = threading.Event()


@pytest.fixture(scope="module")
def wide():
    with socket.socket() as sock:
        yield sock, FWXIOBuffer.allocated(3)


@pytest.fixture
def narrow():
    with socket.socket() as sock:
        yield sock, FWXIOBuffer.allocated(4)


def test_a_wider_fixture(wide, narrow):
    buffer = FWXIOBuffer(b"mine")


def test_a_cycle():
    cycle = [FWXIOBuffer(b"in a cycle")]
    cycle.append(cycle)


def test_a_socket():
    KEPT.append(socket.socket())


def test_a_buffer():
    KEPT.append(FWXIOBuffer.window(FWXIOBuffer.allocated(5), 0, 0))


def test_a_thread():
    KEPT.append(threading.Thread(target=GO_ON.wait, name="left alone"))
    KEPT[-1].start()


def test_the_next_one():
    KEPT.pop(0).close()
    GO_ON.set()


def test_a_failure():
    kept = FWXIOBuffer(b"in the traceback")
    assert not kept
"""


def test_a_test_that_leaves_something_fails(tmp_path: Path, source_tree: Path) -> None:
    """Issue 4: descriptors and buffers are back to the start after each test, and what is left is named."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_planted.py").write_text(TESTS)
    environment = {**os.environ, "PYTHONPATH": str(source_tree), "COLUMNS": "200"}
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:fwx", "-W", "error"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    outcomes = re.findall(r"::(\w+) (PASSED|FAILED|ERROR)", done.stdout)
    names = re.findall(r"def (test_\w+)", TESTS)
    assert [name for name, outcome in outcomes if outcome == "PASSED"] == names[:-1]
    assert [name for name, outcome in outcomes if outcome == "FAILED"] == names[-1:]
    assert [name for name, outcome in outcomes if outcome == "ERROR"] == names[2:5]
    assert re.search(r"descriptor \d+: socket:\[\d+\], made at \S+test_planted.py:\d+", done.stdout)
    assert "FWXIOBuffer of 0 bytes, made at" in done.stdout
    assert "AllocatedBuffer of 5 bytes, made at" in done.stdout
    assert "thread 'left alone'" in done.stdout


def test_what_is_closed_is_not_left() -> None:
    leaks = Leaks()
    with leaks.recording():
        leaks.remember()
        kept: list[Any] = [FWXIOBuffer(b"kept"), socket.socket()]
        gone = FWXIOBuffer(b"gone")
        del gone
        found = leaks.left()
        assert len(found) == 2
        assert all(f"made at tests/{Path(__file__).name}:" in each for each in found)
        kept.pop().close()
        kept.clear()
        assert leaks.left() == []


def test_a_number_that_is_used_again_is_another_descriptor() -> None:
    """A test that closes what was open before and leaves something of its own at the same number."""
    old = socket.socket()
    leaks = Leaks()
    leaks.remember()
    number = old.fileno()
    old.close()
    with socket.socket() as new:
        assert new.fileno() == number
        (found,) = leaks.left()
        assert found.startswith(f"descriptor {number}: socket:")


def test_a_thread_that_ends_is_waited_for() -> None:
    leaks = Leaks()
    leaks.remember()
    asked, go_on = threading.Event(), threading.Event()
    threading.Thread(target=lambda: asked.set() or go_on.wait()).start()
    asked.wait()
    assert leaks.left(go_on.set) == []


@pytest.mark.parametrize("made_before", [True, False])
def test_what_was_there_before_does_not_count(made_before: bool) -> None:
    leaks = Leaks()
    with leaks.recording():
        kept = [FWXIOBuffer(b"before")] if made_before else []
        leaks.remember()
        assert leaks.left() == []
        assert len(kept) == made_before
