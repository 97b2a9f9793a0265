"""Where the service is that a command means: the state folder, also by a file that cannot be used as it is now."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fwx.config import ConfigurationError, load

_STATE_DIR: Final = re.compile(r"""^\s*state_dir\s*=\s*(?:"([^"\\]+)"|'([^']+)')""", re.MULTILINE)


def state_dir_of(file: Path | None) -> Path:
    """Return the state folder of the service with the configuration *file*; ``None`` is one without a file.

    A file with faults still says where the folder is: it may be what is to be mended.

    :raises ConfigurationError: it cannot be read.
    """
    try:
        return load(file).state_dir
    except ConfigurationError:
        if file is None or not file.is_file():
            raise
        found = _STATE_DIR.search(file.read_text(errors="replace"))
        written = (found[1] or found[2]) if found is not None else "state"
        return file.absolute().parent / written
