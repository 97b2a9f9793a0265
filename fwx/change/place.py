"""Where the service is that a command means: the state folder, also by a file that cannot be used as it is now."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

from fwx.config import ConfigurationError, load
from fwx.config_model import Service
from fwx.config_problems import Problem
from fwx.config_toml import loads

_STATE_DIR: Final = re.compile(r"""^\s*state_dir\s*=\s*(?:"([^"\\]+)"|'([^']+)')""", re.MULTILINE)


def state_dir_of(file: Path | None) -> Path:
    """Return the state folder of the service with the configuration *file*; ``None`` is one without a file.

    The rest of the file is not judged, which takes its time with a large one: a file with faults still says where the
    folder is, and may be what is to be mended.

    :raises ConfigurationError: it cannot be read.
    """
    if file is None:
        return load(None).state_dir
    try:
        text = file.read_bytes().decode(errors="replace")
    except OSError as error:
        raise ConfigurationError([Problem(str(file), 0, "", f"cannot be read: {error.strerror or error}")]) from error
    return file.absolute().parent / (_written(text) or str(Service.model_fields["state_dir"].default))


def _written(text: str) -> str:
    """Return what *text* says of the folder; nothing where it does not, or no text."""
    try:
        table = loads(text).get("service")
    except (tomllib.TOMLDecodeError, RecursionError):
        found = _STATE_DIR.search(text)
        return "" if found is None else found[1] or found[2]
    written = table.get("state_dir") if isinstance(table, dict) else None
    return written if isinstance(written, str) else ""
