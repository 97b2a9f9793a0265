"""Telling the service manager how the service is (sd_notify(3)), where it wants to hear: ``Type=notify``."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

logger = logging.getLogger("fwx.notification")

READY = "READY=1"
STOPPING = "STOPPING=1"


def notify(state: str, environment: Mapping[str, str]) -> None:
    """Send *state*; called by ``fwx serve``. Without ``NOTIFY_SOCKET`` in *environment* nobody wants to hear.

    A manager that cannot be told is logged: it will stop a service that it believes not to have started.
    """
    path = environment.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), address)
    except OSError as error:
        logger.warning("the service manager cannot be told %s at %s: %s", state, path, error)


def extend_timeout(milliseconds: int, environment: Mapping[str, str]) -> None:
    """Ask for so much time from now on, for a start or a stop that takes longer than the unit allows (B1.13)."""
    notify(f"EXTEND_TIMEOUT_USEC={milliseconds * 1000}", environment)
