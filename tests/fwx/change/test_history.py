"""The documents that were in force, on disk."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwx.change import ChangeError
from fwx.change.history import MOST_VERSIONS, Document, History, Version


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path)
    made.open()
    yield made
    made.close()


def add(history: History, text: bytes = b"# one\n", number: int = 0) -> Version:
    return history.add(Document(Path("/etc/fwx.toml"), text), time=100.0 + number, how="apply", uid=7)


def test_what_is_kept_comes_back_as_it_was(history: History, tmp_path: Path) -> None:
    text = "# fwx \r\nname = 'ä'\n".encode() + b"\n" * 3
    version = add(history, text)
    assert history.document(1) == (Path("/etc/fwx.toml"), text)
    assert history.versions() == [version]
    assert (version.number, version.how, version.uid, version.time) == (1, "apply", 7, 100.0)
    embedded = history.add(Document(None, b""), time=1.0, how="start", uid=0)
    assert history.document(embedded.number) == (None, b"")
    files = list((tmp_path / "history").iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert {file.name for file in files} == {"000001.toml", "000002.toml"}


def test_the_oldest_make_room(history: History) -> None:
    for number in range(MOST_VERSIONS + 3):
        add(history, b"x" * number)
    assert [version.number for version in history.versions()] == list(range(4, MOST_VERSIONS + 4))
    with pytest.raises(ChangeError, match=r"there is no version 3 .*kept: 4 to 53"):
        history.document(3)


def test_what_is_forgotten_gives_its_number_back(history: History) -> None:
    add(history)
    history.forget(add(history))
    assert [version.number for version in history.versions()] == [1]
    assert add(history).number == 2


def test_damage(history: History, tmp_path: Path) -> None:
    """A text that has been changed by hand is not put in force; what is no version is passed over."""
    add(history)
    file = tmp_path / "history" / "000001.toml"
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(ChangeError, match="version 1 is damaged"):
        history.document(1)
    (tmp_path / "history" / "000002.toml").write_bytes(b"[service]\n")
    (tmp_path / "history" / "000003.toml").write_bytes(b'# fwx {"number": 9}\n')
    (tmp_path / "history" / "notes").write_bytes(b"")
    assert [version.number for version in history.versions()] == [1]
    assert add(history).number == 4


def test_what_a_killed_service_left_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir(0o755)
    (tmp_path / "history" / "000004.toml.new").write_bytes(b"half")
    history = History(tmp_path)
    history.open()
    try:
        assert list((tmp_path / "history").iterdir()) == []
        assert stat.S_IMODE((tmp_path / "history").stat().st_mode) == 0o700
    finally:
        history.close()
    history.close()
    with pytest.raises(OSError, match="not open"):
        add(history)


@pytest.mark.requires("mount")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system")
def test_a_full_disk(tmp_path: Path) -> None:
    """Nothing of what does not fit stays, and what was there does."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
    history = History(place)
    try:
        history.open()
        add(history)
        with pytest.raises(OSError, match="No space left"):
            add(history, b"x" * (1 << 20))
        assert [version.number for version in history.versions()] == [1]
        assert [file.name for file in (place / "history").iterdir()] == ["000001.toml"]
        assert add(history).number == 2
    finally:
        history.close()
        subprocess.run(["umount", place], check=True)


def test_from_several_threads(history: History) -> None:
    threads = [threading.Thread(target=add, args=(history,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [version.number for version in history.versions()] == list(range(1, 9))
