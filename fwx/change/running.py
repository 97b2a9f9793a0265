"""What a service goes by now: one place that everybody asks who needs the configuration itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwx.change.history import Version
    from fwx.change.parts import Parts
    from fwx.config import Configuration


class Running:
    """The parts in force, and which version of the history they are.

    :ivar parts: replaced whole when a change is put in force. :ivar version: ``None`` where it could not be kept.
    :ivar changing: held by whoever changes the parts, or a filter's code, one at a time.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.version: Version | None = None
        self.changing = asyncio.Lock()

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""
        return self.parts.configuration
