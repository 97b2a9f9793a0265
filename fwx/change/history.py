"""The documents that were in force: each is kept whole in the state folder, and can be put in force again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from fwx.change import ChangeError

logger = logging.getLogger("fwx.change")

FOLDER: Final = "history"
"""The folder's name in the state folder."""

MOST_VERSIONS: Final = 50
"""Versions that are kept; the oldest goes when another one comes."""

_NAME: Final = re.compile(r"(\d{6,})\.toml")
_MARK: Final = b"# fwx "


class Document(NamedTuple):
    """The text of a configuration, and where it is from.

    :ivar path: the file, absolute, by which its relative paths are meant; ``None`` for the embedded default.
    """

    path: Path | None
    text: bytes

    @property
    def sha256(self) -> str:
        return digest_of(self.text)


class Version(NamedTuple):
    """A document as it was put in force.

    :ivar number: from 1. :ivar time: seconds since the epoch. :ivar how: ``start``, ``apply``, ``signal``, or
        ``rollback`` to :attr:`of`. :ivar uid: who asked for it. :ivar path: of the file, empty for the embedded
        default.
    """

    number: int
    time: float
    sha256: str
    how: str
    uid: int
    path: str
    of: int = 0

    def told(self) -> dict[str, Any]:
        """Return what JSON has for it."""
        return self._asdict()


class History:
    """The versions of one service. It reads and writes files, on any thread.

    One file for each, mode 0600: a line of JSON behind a comment sign, then the text as it was.
    """

    def __init__(self, state_dir: Path) -> None:
        """Nothing is opened until :meth:`open`."""
        self._state_dir = state_dir
        # The account that the service becomes may not reach the folder by its name.
        self._folder: int | None = None
        self._lock = threading.Lock()

    def open(self, owner: tuple[int, int] | None = None) -> None:
        """Make the folder if there is none, for *owner*, a user and a group. :raises OSError: it cannot be."""
        path = self._state_dir / FOLDER
        path.mkdir(mode=0o700, exist_ok=True)
        self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if stat.S_IMODE(os.fstat(self._folder).st_mode) != 0o700:
            os.fchmod(self._folder, 0o700)
        if owner is not None:
            os.fchown(self._folder, *owner)
            for name in _names(self._folder):
                os.chown(name, *owner, dir_fd=self._folder, follow_symlinks=False)
        for name in _names(self._folder):
            if name.endswith(".new"):  # a service was killed while it wrote it
                os.unlink(name, dir_fd=self._folder)

    def close(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            os.close(folder)

    def versions(self) -> list[Version]:
        """Return what is kept, the oldest first; a file that is none of ours is passed over.

        :raises OSError: the folder cannot be read.
        """
        with self._lock:
            return [version for number in self._numbers() if (version := self._head(number)) is not None]

    def document(self, number: int) -> Document:
        """Return the document of the version *number*. :raises ChangeError: it is not kept, or cannot be read."""
        try:
            with self._opened(number) as file:
                version = _parsed(file.readline(), number)
                text = file.read()
        except OSError as error:
            kept = self._numbers()
            span = f"{kept[0]} to {kept[-1]}" if kept else "none"
            raise ChangeError(f"there is no version {number} ({error.strerror}); kept: {span}") from None
        if version is None or digest_of(text) != version.sha256:
            raise ChangeError(f"version {number} is damaged: its text is not what was written")
        return Document(Path(version.path) if version.path else None, text)

    def add(self, document: Document, *, time: float, how: str, uid: int, of: int = 0) -> Version:
        """Keep *document* as the newest version, whole or not at all, and forget the oldest beyond
        :data:`MOST_VERSIONS`.

        :raises OSError: it cannot be written, ``ENOSPC`` for one; then all is as before.
        """
        with self._lock:
            return self._add(document, time, how, uid, of)

    def _add(self, document: Document, time: float, how: str, uid: int, of: int) -> Version:
        folder, numbers = self._descriptor, self._numbers()
        path = "" if document.path is None else str(document.path)
        version = Version((numbers[-1] if numbers else 0) + 1, time, document.sha256, how, uid, path, of)
        name = _name(version.number)
        fresh = f"{name}.new"
        try:
            descriptor = os.open(
                fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder
            )
            with open(descriptor, "wb") as file:
                file.write(_MARK + json.dumps(version.told()).encode() + b"\n" + document.text)
                file.flush()
                os.fsync(file.fileno())
            os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except OSError:
            for left in (fresh, name):
                with contextlib.suppress(OSError):
                    os.unlink(left, dir_fd=folder)
            raise
        self._thin_out(numbers[: max(len(numbers) + 1 - MOST_VERSIONS, 0)])
        return version

    def _thin_out(self, numbers: list[int]) -> None:
        for number in numbers:
            try:
                os.unlink(_name(number), dir_fd=self._descriptor)
            except OSError as error:
                logger.warning("version %d stays in the history: %s", number, error.strerror)

    def give(self, version: Version, owner: tuple[int, int]) -> None:
        """Make *owner*, a user and a group, the owner of the file of *version*. :raises OSError: it cannot be."""
        os.chown(_name(version.number), *owner, dir_fd=self._descriptor, follow_symlinks=False)

    def forget(self, version: Version) -> None:
        """Take *version* away again, which was not put in force. :raises OSError: it cannot be."""
        os.unlink(_name(version.number), dir_fd=self._descriptor)

    @property
    def _descriptor(self) -> int:
        if self._folder is None:
            raise OSError("the history is not open")
        return self._folder

    def _numbers(self) -> list[int]:
        found = (_NAME.fullmatch(name) for name in _names(self._descriptor))
        return sorted(int(match[1]) for match in found if match is not None)

    def _head(self, number: int) -> Version | None:
        with self._opened(number) as file:
            return _parsed(file.readline(), number)

    @contextlib.contextmanager
    def _opened(self, number: int) -> Iterator[Any]:
        descriptor = os.open(_name(number), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._descriptor)
        with open(descriptor, "rb") as file:
            yield file


def digest_of(text: bytes) -> str:
    """Return the SHA-256 of *text*, in hex."""
    return hashlib.sha256(text).hexdigest()


def _names(folder: int) -> list[str]:
    """Return what is in *folder*, an open descriptor."""
    return os.listdir(folder)


def _name(number: int) -> str:
    return f"{number:06}.toml"


def _parsed(line: bytes, number: int) -> Version | None:
    """Return what the first line of a file says; ``None`` where it is not that of the version *number*."""
    if not line.startswith(_MARK):
        return None
    try:
        version = Version(**json.loads(line.removeprefix(_MARK)))
    except (ValueError, TypeError):
        return None
    return version if version.number == number else None
