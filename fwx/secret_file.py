"""Files that hold passwords, and those that a service which has given up root can read no more."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_secret(file: Path) -> str:
    """Read the password in *file*: its text without the end of the line.

    :raises ValueError: it cannot be read, others than its owner may read it, or it holds no password.
    """
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if mode & 0o077:
                raise ValueError(f"{file} has mode {mode:04o}, which lets other users in; expected 0600")
            password = opened.read().decode().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{file} cannot be opened: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text") from None
    if not password.strip():
        raise ValueError(f"{file} is empty; expected a password")
    if not password.isprintable():
        raise ValueError(f"{file} has more than one line, or characters that no password has; expected a password")
    return password


def is_closed(file: Path) -> bool:
    """Tell whether this account may not read *file*; one that is not there is not closed."""
    try:
        with file.open("rb"):
            return False
    except PermissionError:
        return True
    except OSError:
        return False
