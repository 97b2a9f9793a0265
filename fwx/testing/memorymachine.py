"""A machine in memory: its adapters, addresses and routes are what a test says."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from fwx.impl.machine import MachineState
from fwx.testing.memoryloop import MemoryLoop


class MemoryMachines:
    """What a memory network tells of the machine.

    :ivar state: what there is; :meth:`become` changes it. :ivar followers: who follows it and has not closed.
    :ivar error: the errno with which following and reading fails; 0 for success. :ivar reads: how often it was read.
    """

    def __init__(self, loop: MemoryLoop) -> None:
        self.state = MachineState()
        self.followers: list[MemoryMachine] = []
        self.error = 0
        self.reads = 0
        self._loop = loop

    def follow(self, changed: Callable[[], None]) -> MemoryMachine:
        """Have *changed* called from the loop after each change. :raises OSError: ``error`` is set."""
        self.check()
        follower = MemoryMachine(self, changed)
        self.followers.append(follower)
        return follower

    def become(self, state: MachineState) -> None:
        """Change the machine, and tell those who follow it when the loop runs."""
        self.state = state
        for follower in self.followers:
            self._loop.queue.post(follower.tell)

    def check(self) -> None:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))


class MemoryMachine:
    """One who follows the machine of :class:`MemoryMachines`."""

    def __init__(self, machines: MemoryMachines, changed: Callable[[], None]) -> None:
        self._machines = machines
        self._changed = changed
        self._closed = False

    def read(self) -> MachineState:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._machines.check()
        self._machines.reads += 1
        return self._machines.state

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._machines.followers.remove(self)

    def tell(self) -> None:
        """Say that something has changed; called by the loop."""
        if not self._closed:
            self._changed()
