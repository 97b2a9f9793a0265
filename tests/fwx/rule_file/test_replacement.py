"""A file that is replaced whole or not at all: owner and mode stay, whatever fails leaves what there was."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.rule_file import replacement
from fwx.rule_file.replacement import ReplacementError, locked

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "fwx.toml"
    path.parent.mkdir()
    path.write_bytes(b"old")
    path.chmod(0o640)
    return path


def names(file: Path) -> list[str]:
    return sorted(each.name for each in file.parent.iterdir())


def test_the_new_content_has_the_old_mode(file: Path) -> None:
    before = file.stat()
    with locked(file) as held:
        assert held.content == b"old"
        held.replace(b"new")
    after = file.stat()
    assert (file.read_bytes(), names(file)) == (b"new", ["fwx.toml"])
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert after.st_ino != before.st_ino


@as_root
def test_the_owner_stays(file: Path) -> None:
    os.chown(file, 12345, 54321)
    with locked(file) as held:
        held.replace(b"new")
    assert (file.stat().st_uid, file.stat().st_gid, file.read_bytes()) == (12345, 54321, b"new")


def test_an_owner_that_cannot_be_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchown", refuse)
    with locked(file) as held:
        held._status = os.stat_result((0o100640, *[7] * 9))
        with pytest.raises(
            ReplacementError, match="its owner is 7:7, which only root can keep; nothing has been written"
        ):
            held.replace(b"new")
    assert (file.read_bytes(), names(file)) == (b"old", ["fwx.toml"])


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to("etc/fwx.toml")
    with locked(link) as held:
        held.replace(b"new")
    assert link.is_symlink()
    assert (file.read_bytes(), names(file)) == (b"new", ["fwx.toml"])


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_full_disk(file: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Wherever it shows, the file is what it was, and nothing lies beside it."""

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if where == "replace":
        monkeypatch.setattr(Path, "replace", full)
    elif where == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(os, "fchmod", full)
    with locked(file) as held, pytest.raises(ReplacementError, match=r"fwx.toml: cannot be written: No space left"):
        held.replace(b"new")
    assert (file.read_bytes(), names(file)) == (b"old", ["fwx.toml"])


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system with hardly any room."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@as_root
def test_a_disk_that_is_full_for_real(small: Path) -> None:
    file = small / "fwx.toml"
    file.write_bytes(b"old" * 1000)
    with locked(file) as held, pytest.raises(ReplacementError, match="No space left on device; it is as it was"):
        held.replace(b"new" * 10000)
    assert (file.read_bytes(), names(file)) == (b"old" * 1000, ["fwx.toml"])


def test_a_folder_that_takes_no_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(replacement.tempfile, "mkstemp", refuse)
    with locked(file) as held, pytest.raises(ReplacementError, match="a file cannot be made in it: Permission denied"):
        held.replace(b"new")
    assert file.read_bytes() == b"old"


def test_what_somebody_has_changed_meanwhile_is_not_written_over(file: Path) -> None:
    with locked(file) as held:
        file.write_bytes(b"theirs")
        with pytest.raises(ReplacementError, match="somebody has changed it meanwhile"):
            held.replace(b"new")
    assert (file.read_bytes(), names(file)) == (b"theirs", ["fwx.toml"])


def test_one_at_a_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacement, "LOCK_SECONDS", 0.0)
    with locked(file), pytest.raises(ReplacementError, match="another command edits"), locked(file):
        pytest.fail("two have it")
    fd = os.open(file.parent, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


@pytest.mark.parametrize(("name", "words"), [("none", "No such file"), (".", "is no file"), ("loop", "cannot be read")])
def test_what_is_no_file(file: Path, name: str, words: str) -> None:
    (file.parent / "loop").symlink_to("loop")
    with pytest.raises(ReplacementError, match=words), locked(file.parent / name):
        pytest.fail("it is none")
