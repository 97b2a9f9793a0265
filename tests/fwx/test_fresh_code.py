"""A filter's class imported anew: what is read again, what stays, what is put back."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwx.filter_loader import FilterLoadError, load_filter_class
from fwx.fresh_code import FreshCode

CLASS = """
from zope.interface import implementer

from fwx.interfaces import IFWXFilter
from fwx_probe_pack.words import WORD


@implementer(IFWXFilter)
class Probe:
    word = WORD
"""
USE = "fwx_probe_pack.probe:Probe"


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package on the module path, whose filter gets its word from another module."""
    folder = tmp_path / "fwx_probe_pack"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "probe.py").write_text(CLASS)
    (folder / "words.py").write_text("WORD = 'one'\n")
    (folder / "other.py").write_text("")
    (tmp_path / "fwx_probe_packed.py").write_text("")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("fwx_probe_pack")]:
        del sys.modules[name]


def modules() -> dict[str, object]:
    return {name: module for name, module in sys.modules.items() if name.startswith("fwx_probe_pack")}


def test_the_whole_package_is_read_again(pack: Path) -> None:
    """Its other modules too; what the new code does not import stays, and another package of a similar name."""
    old = load_filter_class(USE)
    other = importlib.import_module("fwx_probe_pack.other")
    similar = importlib.import_module("fwx_probe_packed")
    (pack / "words.py").write_text("WORD = 'two and more'\n")
    fresh = FreshCode(USE)
    assert (vars(old)["word"], vars(fresh.filter_class)["word"]) == ("one", "two and more")
    assert sys.modules["fwx_probe_pack.probe"].Probe is fresh.filter_class
    assert sys.modules["fwx_probe_pack.other"] is other
    assert sys.modules["fwx_probe_pack"].other is other
    assert sys.modules["fwx_probe_packed"] is similar


def test_a_second_edit_of_the_same_second_and_size(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's cache of the source takes it for the same; the next start of the service has the new code too."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    words = pack / "words.py"
    load_filter_class(USE)
    seen = words.stat()
    assert list((pack / "__pycache__").glob("words.*.pyc")), "there is a cache to be misled by"
    words.write_text("WORD = 'two'\n")
    os.utime(words, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert words.stat().st_size == seen.st_size
    finders = list(sys.meta_path)
    fresh = FreshCode(USE)
    assert vars(fresh.filter_class)["word"] == "two"
    assert sys.meta_path == finders
    code = "import fwx_probe_pack.words as words; print(words.WORD)"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(pack.parent)!r}); {code}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "two\n"


def test_what_is_not_wanted_is_undone(pack: Path) -> None:
    old = load_filter_class(USE)
    before = modules()
    FreshCode(USE).undo()
    assert modules() == before
    assert sys.modules["fwx_probe_pack"].probe.Probe is old


@pytest.mark.parametrize("text", ["1 / 0", "this is no Python", "raise SystemExit", "raise KeyboardInterrupt", ""])
def test_what_fails_changes_nothing(pack: Path, text: str) -> None:
    """Also when it fails half way: a module that it imported before is the old one again."""
    load_filter_class(USE)
    before = modules()
    (pack / "words.py").write_text("WORD = 'two and more'\n")
    (pack / "probe.py").write_text(f"import fwx_probe_pack.words\n{text}\n")
    with pytest.raises((FilterLoadError, KeyboardInterrupt)):
        FreshCode(USE)
    assert modules() == before
    assert vars(sys.modules["fwx_probe_pack"])["words"] is before["fwx_probe_pack.words"]


def test_a_filter_that_ships_is_read_again_alone() -> None:
    sdk, monitor = sys.modules.get("fwx.sdk"), importlib.import_module("fwx.filters.data_monitor")
    smtp = importlib.import_module("fwx.filters.smtp")
    fresh = FreshCode("fwx.filters.data_monitor:DataMonitor")
    try:
        assert fresh.filter_class is not monitor.DataMonitor
        assert sys.modules["fwx.filters.smtp"] is smtp
        assert sys.modules["fwx.sdk"] is sdk or sdk is None
    finally:
        fresh.undo()
    assert sys.modules["fwx.filters.data_monitor"] is monitor


def test_an_unknown_filter() -> None:
    with pytest.raises(FilterLoadError, match="no distribution offers it"):
        FreshCode("nobody-has-this")
