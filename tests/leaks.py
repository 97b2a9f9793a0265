"""What a test leaves behind: descriptors, buffers of the service and threads, with the place where each was made."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from fwx.impl.iobuffer import FWXIOBuffer

Place = tuple[str, int]

_ROOT = Path(__file__).resolve().parent.parent
_TESTS = f"{_ROOT}{os.sep}tests{os.sep}"
_OURS = str(_ROOT) + os.sep
_INSTALLED = f"{_ROOT}{os.sep}.venv{os.sep}"
_DESCRIPTORS = "/proc/self/fd"
# How long a thread that is about to end may take for it.
_PATIENCE = 5.0


class Leaks:
    """Remembers the state before a test, and tells what there is more of afterwards.

    Buffers count by living objects. Garbage is collected only when something seems left: what is left only in a cycle
    is not leaked.
    """

    def __init__(self) -> None:
        self._buffers: WeakKeyDictionary[Any, Place] = WeakKeyDictionary()
        self._sockets: dict[int, Place] = {}
        self._descriptors: Mapping[int, str] = {}
        self._threads: frozenset[threading.Thread] = frozenset()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note where every buffer and every socket is made, for as long as the context lasts."""
        with _noting(FWXIOBuffer, self._made_buffer), _noting(socket.socket, self._made_socket):
            yield

    def remember(self) -> None:
        """The test begins: what there is now is not its doing."""
        self._buffers.clear()
        self._descriptors = open_descriptors()
        self._threads = frozenset(threading.enumerate())

    def left(self, collected: Callable[[], None] = lambda: None) -> list[str]:
        """Return what the test has left, a line for each; *collected* drops what holds things for the reports' sake."""
        found = self._seen()
        if found:
            collected()
            found = self._seen()
        for generation in range(3):
            if found:
                gc.collect(generation)
                found = self._seen()
        if found:
            for thread in self._new_threads():
                thread.join(_PATIENCE)
            found = self._seen()
        return found

    def _seen(self) -> list[str]:
        found = [
            f"descriptor {number}: {what}{_made_at(self._sockets.get(number))}"
            for number, what in open_descriptors().items()
            if self._descriptors.get(number) != what
        ]
        buffers = list(self._buffers.items())
        found += [
            f"{type(buffer).__name__} of {buffer.GetBufferSizes()[0]} bytes{_made_at(at)}" for buffer, at in buffers
        ]
        found += [f"thread {thread.name!r}" for thread in self._new_threads()]
        return found

    def _new_threads(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread not in self._threads]

    def _made_buffer(self, buffer: Any) -> None:
        self._buffers[buffer] = _place()

    def _made_socket(self, sock: Any) -> None:
        self._sockets[sock.fileno()] = _place()


def open_descriptors() -> dict[int, str]:
    """Return what each open descriptor of the process is, such as ``socket:[4711]``."""
    found: dict[int, str] = {}
    for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208  twice for every test
        try:
            found[int(name)] = os.readlink(f"{_DESCRIPTORS}/{name}")  # noqa: PTH115
        except FileNotFoundError:  # the one that the listing itself needed
            continue
    return found


@contextmanager
def _noting(kind: type, note: Callable[[Any], None]) -> Iterator[None]:
    """Call *note* with every new object of *kind*."""
    made: Any = kind.__init__

    def __init__(self: Any, *args: Any, **keys: Any) -> None:
        made(self, *args, **keys)
        note(self)

    kind.__init__ = __init__  # type: ignore[misc]
    try:
        yield
    finally:
        kind.__init__ = made  # type: ignore[misc]


def _place() -> Place:
    """Return the innermost place of a test in the stack, or of the project, or of whoever it was."""
    frame: Any = sys._getframe(3)
    nearest: Place = (frame.f_code.co_filename, frame.f_lineno)
    ours: Place | None = None
    while frame is not None:
        name = frame.f_code.co_filename
        if name != __file__ and name.startswith(_OURS) and not name.startswith(_INSTALLED):
            if name.startswith(_TESTS):
                return name, frame.f_lineno
            ours = ours or (name, frame.f_lineno)
        frame = frame.f_back
    return ours or nearest


def _made_at(place: Place | None) -> str:
    if place is None:
        return ""
    name, line = place
    return f", made at {name.removeprefix(_OURS)}:{line}"
