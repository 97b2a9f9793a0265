"""The files of a capture: numbered, bounded in size and number, each whole at every moment."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class Files:
    """Writes blocks to the newest file of a folder. Used by one thread at a time; every method may block."""

    def __init__(
        self,
        folder: str,
        prefix: str,
        most_bytes: int,
        most_files: int,
        beginning: bytes,
        write: Callable[[int, bytes | memoryview], int] = os.write,
    ) -> None:
        """Open *folder*. :raises OSError: it is not there, or is no folder.

        :param beginning: what each file begins with. :param write: ``os.write``, or what a test has in its place.
        """
        self._most_bytes, self._most_files, self._beginning = most_bytes, most_files, beginning
        self._name = re.compile(re.escape(prefix) + r"-(\d{8})\.pcapng")
        self._prefix = prefix
        self._write = write
        self._file = -1
        self._size = 0
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def begin(self) -> None:
        """Begin a new file, the first or the next, and remove the oldest beyond the limit.

        :raises OSError: it cannot be made.
        """
        self._end()
        numbers = self._numbers()
        name = f"{self._prefix}-{(numbers[-1] if numbers else 0) + 1:08}.pcapng"
        for number in numbers[: max(len(numbers) + 1 - self._most_files, 0)]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._prefix}-{number:08}.pcapng", dir_fd=self._folder)
        self._file = os.open(name, _FLAGS, 0o600, dir_fd=self._folder)
        self._size = 0
        try:
            self._append([self._beginning])
        except OSError:
            os.unlink(name, dir_fd=self._folder)
            self._end()
            raise

    def write(self, blocks: Sequence[bytes]) -> None:
        """Append *blocks*, in a new file where they would be too many for this one.

        :raises OSError: some could not be written; those that were not leave no trace.
        """
        if self._file < 0:
            self.begin()
        waiting: list[bytes] = []
        size = self._size
        for block in blocks:
            if size + len(block) > self._most_bytes and size > len(self._beginning):
                self._append(waiting)
                waiting = []
                self.begin()
                size = self._size
            waiting.append(block)
            size += len(block)
        self._append(waiting)

    def close(self) -> None:
        """Give the descriptors back."""
        self._end()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _append(self, blocks: Sequence[bytes]) -> None:
        data = memoryview(b"".join(blocks))
        written = 0
        try:
            while written < len(data):
                written += self._write(self._file, data[written:])
        except OSError:
            # Half a block would end the file for every reader.
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
            raise
        self._size += written

    def _end(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _numbers(self) -> list[int]:
        with os.scandir(self._folder) as entries:
            found = [self._name.fullmatch(entry.name) for entry in entries]
        return sorted(int(each[1]) for each in found if each)
