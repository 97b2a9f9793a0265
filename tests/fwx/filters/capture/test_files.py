"""The files of a capture: numbered, bounded, whole, for their owner alone."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.filters.capture.files import Files

HEAD = b"[head]"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Files]]:
    made: list[Files] = []

    def files(size: int = 20, count: int = 3, **keys: Any) -> Files:
        made.append(Files(str(tmp_path), "cap", size, count, HEAD, **keys))
        return made[-1]

    yield files
    for each in made:
        each.close()
        each.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_file_is_for_its_owner_alone(make: Any, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make().begin()
    finally:
        os.umask(before)
    (path,) = tmp_path.iterdir()
    assert (path.name, stat.S_IMODE(path.stat().st_mode)) == ("cap-00000001.pcapng", 0o600)
    assert path.read_bytes() == HEAD


def test_rotation(make: Any, tmp_path: Path) -> None:
    """A block stands whole in one file; one that is larger than a file has one for itself."""
    files = make()
    files.write([b"1" * 7, b"2" * 7])
    files.write([b"3" * 1])
    files.write([b"4" * 30, b"5"])
    assert contents(tmp_path) == {
        "cap-00000001.pcapng": HEAD + b"1" * 7 + b"2" * 7,
        "cap-00000002.pcapng": HEAD + b"3",
        "cap-00000003.pcapng": HEAD + b"4" * 30,
    } or list(contents(tmp_path)) == [f"cap-0000000{n}.pcapng" for n in (2, 3, 4)]
    assert contents(tmp_path)["cap-00000004.pcapng"] == HEAD + b"5"
    files.write([])
    assert len(contents(tmp_path)) == 3


def test_the_oldest_goes(make: Any, tmp_path: Path) -> None:
    (tmp_path / "other-00000001.pcapng").write_bytes(b"mine")
    (tmp_path / "cap-1.pcapng").write_bytes(b"mine too")
    files = make(count=2)
    files.write([bytes([number]) * 14 for number in range(10)])
    names = [name for name in contents(tmp_path) if name.startswith("cap-0")]
    assert names == ["cap-00000009.pcapng", "cap-00000010.pcapng"]
    assert len(contents(tmp_path)) == 4


def test_a_new_run_goes_on_behind_the_old_one(make: Any, tmp_path: Path) -> None:
    (tmp_path / "cap-00000041.pcapng").write_bytes(b"old")
    make().begin()
    make().begin()
    assert list(contents(tmp_path)) == [f"cap-000000{number}.pcapng" for number in (41, 42, 43)]


def test_no_way_through_a_link(make: Any, tmp_path: Path) -> None:
    """Who may write to the folder may not have the service write elsewhere."""
    (tmp_path / "cap-00000001.pcapng").symlink_to(tmp_path / "target")
    files = make()
    files.begin()
    assert not (tmp_path / "target").exists()
    assert (tmp_path / "cap-00000002.pcapng").read_bytes() == HEAD


class Disk:
    """``os.write`` on a disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, fd: int, data: Any) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = min(self.room, len(data), 5)
        self.room -= count
        return os.write(fd, data[:count])


def test_a_full_disk_leaves_whole_blocks(make: Any, tmp_path: Path) -> None:
    disk = Disk(16)
    files = make(100, write=disk)
    files.write([b"1" * 4])
    with pytest.raises(OSError, match="No space left"):
        files.write([b"2" * 4, b"3" * 4])
    assert contents(tmp_path) == {"cap-00000001.pcapng": HEAD + b"1" * 4}
    disk.room = 1000
    files.write([b"4" * 4])
    assert contents(tmp_path) == {"cap-00000001.pcapng": HEAD + b"1" * 4 + b"4" * 4}


def test_a_disk_that_is_full_at_the_start_of_a_file(make: Any, tmp_path: Path) -> None:
    disk = Disk(3)
    files = make(write=disk)
    with pytest.raises(OSError, match="No space left"):
        files.write([b"1"])
    assert contents(tmp_path) == {}
    disk.room = 1000
    files.write([b"2"])
    assert contents(tmp_path) == {"cap-00000001.pcapng": HEAD + b"2"}


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Files(str(tmp_path / "nowhere"), "cap", 20, 3, HEAD)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        Files(str(tmp_path / "file"), "cap", 20, 3, HEAD)
