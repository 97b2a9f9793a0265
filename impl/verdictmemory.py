"""What a policy has said lately, so that it need not be worked out again."""

from __future__ import annotations

from typing import Final, TypeAlias

from fwx.impl.networks import Address
from fwx.impl.user import Who
from fwx.impl.verdict import Verdict

MOST_REMEMBERED: Final = 16384
"""Verdicts, look-ups and kinds of clients that a policy remembers together; at one more it forgets them all."""

Asked: TypeAlias = tuple[str, str, int, str, "str | Address | None", Who, bool, int, bool]
"""What a verdict depends on: source, host and port, transport, resolved address, who, whether it arrives, the kind of
the client's port, whether it is plain HTTP."""


class VerdictMemory:
    """Verdicts by what was asked. Whoever judges forgets them when the answers may be others.

    :ivar verdicts: on connections. :ivar look_ups: on look-ups, by source, host and who. :ivar known: clients by which
        of their names some rule has.
    """

    __slots__ = ("_most", "known", "look_ups", "verdicts")

    def __init__(self) -> None:
        self._most = MOST_REMEMBERED
        self.verdicts: dict[Asked, Verdict] = {}
        self.look_ups: dict[tuple[str, str, Who], Verdict] = {}
        self.known: dict[Who, Who] = {}

    def __len__(self) -> int:
        return len(self.verdicts) + len(self.look_ups) + len(self.known)

    def make_room(self) -> None:
        """To be called before something is added: a client that asks for ever new targets must not take all memory."""
        if len(self) >= self._most:
            self.clear()

    def clear(self) -> None:
        self.verdicts.clear()
        self.look_ups.clear()
        self.known.clear()
