"""What ``fwx demo`` is made of: a text, an origin, clients, the processes, and the checks."""

from __future__ import annotations


class DemoError(Exception):
    """The demonstration did not go as it must; the text says what was expected and what came."""
