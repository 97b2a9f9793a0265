"""``python -m fwx`` is the console script ``fwx``."""

from __future__ import annotations

from fwx.cli import main

if __name__ == "__main__":
    main(prog_name="fwx")
