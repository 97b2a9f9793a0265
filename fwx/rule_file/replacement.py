"""A file that is replaced whole or not at all, by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LOCK_SECONDS: Final = 10.0
"""How long a command waits for another one that edits the file."""


class ReplacementError(Exception):
    """The file has not been replaced, and is as it was; says why, for people."""


class ReplacedFile:
    """A file, read under a lock that :func:`locked` holds.

    :ivar content: what is in it.
    """

    def __init__(self, path: Path) -> None:
        """:raises OSError: it cannot be read."""
        self._path = path
        with path.open("rb") as file:
            self._status = os.fstat(file.fileno())
            self.content = file.read()

    def replace(self, content: bytes) -> None:
        """Put *content* in the place of what there is: through another file in the same folder, on the disk before it
        gets the name. Owner, group and mode stay.

        :raises ReplacementError: it cannot be written, or somebody has changed it meanwhile.
        """
        folder, name = self._path.parent, self._path.name
        try:
            fd, made = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        except OSError as error:
            raise ReplacementError(f"{folder}: a file cannot be made in it: {error.strerror or error}") from error
        temporary = Path(made)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                self._keep_owner(file.fileno())
                os.fsync(file.fileno())
            if self._path.read_bytes() != self.content:
                raise ReplacementError(f"{self._path}: somebody has changed it meanwhile; it is left as it is now")
            temporary.replace(self._path)
        except OSError as error:
            words = f"{self._path}: cannot be written: {error.strerror or error}; it is as it was"
            raise ReplacementError(words) from error
        finally:
            temporary.unlink(missing_ok=True)
        self._sync_folder(folder)

    def _keep_owner(self, fd: int) -> None:
        status = self._status
        made = os.fstat(fd)
        if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
            try:
                os.fchown(fd, status.st_uid, status.st_gid)
            except PermissionError:
                words = f"{self._path}: its owner is {status.st_uid}:{status.st_gid}, which only root can keep"
                raise ReplacementError(f"{words}; nothing has been written") from None
        os.fchmod(fd, stat.S_IMODE(status.st_mode))

    def _sync_folder(self, folder: Path) -> None:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[ReplacedFile]:
    """Read the file *path*, or the one that it links to, and keep other commands from it meanwhile.

    :raises ReplacementError: it is no file, or cannot be read.
    """
    try:
        target = Path(os.path.realpath(path, strict=True))  # resolve() has another error for a loop
        if not target.is_file():
            raise ReplacementError(f"{path}: is no file")
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ReplacementError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        _lock(folder, path)
        try:
            file = ReplacedFile(target)
        except OSError as error:
            raise ReplacementError(f"{path}: cannot be read: {error.strerror or error}") from error
        yield file
    finally:
        os.close(folder)


def _lock(folder: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise ReplacementError(f"{path}: another command edits a file of its folder; try again") from None
            time.sleep(0.05)
        else:
            return
