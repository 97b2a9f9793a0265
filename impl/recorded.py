"""What a filter learns of, and adds to, the record that the firewall log gets of a connection."""

from __future__ import annotations

from zope.interface import Attribute, Interface

LONGEST_REMARK = 300
"""Characters of a remark that go into the log."""


class IRecorded(Interface):
    """A connection of the firewall log, or a TCP socket that a filter has made or accepted. Had by
    ``IRecorded(piConnection)``, ``IRecorded(socket)``.
    """

    rule = Attribute("The name of the rule that allowed it; empty for a UDP socket, whose destinations have one each.")
    user = Attribute("The name of the session's user; empty where nobody has authenticated.")
    upstream = Attribute("The name of the upstream that it goes through; empty where it goes straight.")

    client = Attribute("The client's ``SocketAddress``, with its port.")

    def remark(words: str) -> None:
        """Have the reason of its record say *words*, 300 characters of them at most; called on the loop thread.

        The first remark is kept, the others are counted: who is refused a thousand times has one record.
        """


class Remarks:
    """The remarks on one connection."""

    __slots__ = ("_first", "_more")

    def __init__(self) -> None:
        self._first = ""
        self._more = 0

    def add(self, words: str) -> None:
        if self._first:
            self._more += 1
        else:
            self._first = words[:LONGEST_REMARK]

    def after(self, reason: str) -> str:
        """Return *reason* with the remarks behind it."""
        more = f" (and {self._more} more)" if self._more else ""
        return "; ".join(part for part in (reason, self._first + more) if part)
