"""A process of the service's that is over before the service is: it is waited for, so that no zombie is left."""

from __future__ import annotations

import logging
import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwx.network import Poller

logger = logging.getLogger("fwx.reaping")


class Reaping:
    """Waits on the loop for the end of a process that has nothing more to do."""

    def __init__(self, process: subprocess.Popen[bytes], poller: Poller) -> None:
        """The owner has told *process* to end. Where the kernel does not tell of its end, the owner's own wait does."""
        self._process = process
        self._poller = poller
        self._descriptor: int | None = None
        try:
            self._descriptor = os.pidfd_open(process.pid)
        except OSError as error:
            logger.warning("process %d is not waited for before the service stops: %s", process.pid, error)
            return
        poller.watch_level(self._descriptor, self._ended)

    def close(self) -> None:
        """Wait no more: the owner does it, or the process has ended. Again it does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._poller.pause(descriptor)
            os.close(descriptor)

    def _ended(self, _mask: int) -> None:
        self.close()
        self._process.wait()
        logger.info("process %d has ended with code %d", self._process.pid, self._process.returncode)
