"""Lines for the system's log: syslog, or the journal of systemd, which listens at the same place (B9.24)."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from fwx.impl.alert import Severity

DEVICE: Final = Path("/dev/log")

_DAEMON: Final = 3 << 3
_LEVELS: Final = {Severity.ERROR: 3, Severity.WARNING: 4, Severity.INFORMATION: 6}
_LONGEST: Final = 8192


def write_line(severity: Severity, text: str, device: Path = DEVICE) -> str:
    """Write *text*, one line, without waiting; return ``""``, or why it cannot be done.

    :param device: a socket of datagrams.
    """
    line = f"<{_DAEMON | _LEVELS[severity]}>fwx[{os.getpid()}]: {text}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(str(device))
            sock.send(line.encode(errors="replace")[:_LONGEST])
    except OSError as error:
        return f"{device}: {error.strerror or error}"
    return ""
