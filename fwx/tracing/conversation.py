"""What the command has of a recorded connection: the lines of the service, put together."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from fwx.control import ControlError
from fwx.interfaces import SocketAddress

SIDES: tuple[Literal["client", "server"], ...] = ("client", "server")
SERVICE_GONE = "the service stopped before the connection was over"


class Event(NamedTuple):
    """Something that happened *at* so many seconds: ``client sends``, ``server gets`` and the like with *data*, or
    ``call`` with its *words*."""

    at: float
    what: str
    data: bytes = b""
    words: str = ""


class FilterTable(NamedTuple):
    """A filter that saw the connection, as its ``[[filter]]`` table has it; it lets pass on errors if it *opens*."""

    name: str
    use: str
    options: Mapping[str, Any]
    opens: bool = False


@dataclass(slots=True)
class Conversation:
    """One connection.

    :ivar address: where a *target* that is a name has led to. :ivar bound: what the service has chosen: the
        name of its own socket, then of those that filters had bound. :ivar cut: why it is not whole, empty where it is.
    :ivar notes: what no step stands for. :ivar is_over: nothing comes any more.
    """

    client: str
    target: SocketAddress
    transport: str = "tcp"
    address: SocketAddress | None = None
    source: int = 0
    user: str = ""
    groups: tuple[str, ...] = ()
    rule: str = ""
    filters: tuple[FilterTable, ...] = ()
    connection: int = 0
    time: float = 0.0
    events: list[Event] = field(default_factory=list)
    refused: bool = False
    reason: str = ""
    cut: str = ""
    bound: list[SocketAddress] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_over: bool = False


class Conversations(dict[int, Conversation]):
    """Every connection that was begun, by the number of its recording."""

    def take(self, line: Mapping[str, Any]) -> Conversation | None:
        """Take a line of the service; return the conversation that it has ended, if it has.

        :raises ControlError: it is none of this version's service.
        """
        try:
            return self._take(line["recording"], str(line["what"]), float(line["at"]), line)
        except (KeyError, TypeError, ValueError, IndexError, binascii.Error) as error:
            raise ControlError(
                f"the service said {str(line)[:200]}, which is no line of a recording: {error}"
            ) from error

    def interrupt(self, reason: str) -> Iterator[Conversation]:
        """Nothing more comes: go through what is not over, which is cut because of *reason*."""
        for each in self.values():
            if not each.is_over:
                each.is_over, each.cut = True, reason
                yield each

    def _take(self, number: int, what: str, at: float, line: Mapping[str, Any]) -> Conversation | None:
        if what == "begin":
            self[number] = _begun(line["words"])
            return None
        found = self[number]
        match what:
            case "end":
                found.is_over, found.reason = True, str(line["words"])
            case "cut":
                found.is_over, found.cut = True, str(line["words"])
            case "bound":
                host, port = line["words"]
                found.bound.append(SocketAddress(host, port))
            case "note":
                found.notes.append(str(line["words"]))
            case "refused":
                found.refused = True
            case "call":
                found.events.append(Event(at, what, words=str(line["words"])))
            case _:
                found.events.append(Event(at, what, base64.b64decode(line["data"], validate=True)))
        return found if found.is_over else None


def _begun(facts: Mapping[str, Any]) -> Conversation:
    address = facts["address"]
    return Conversation(
        client=str(facts["client"]),
        target=SocketAddress(*facts["target"]),
        transport=str(facts["transport"]),
        address=None if address is None else SocketAddress(*address),
        source=int(facts["source"]),
        user=str(facts["user"]),
        groups=tuple(facts["groups"]),
        rule=str(facts["rule"]),
        filters=tuple(
            FilterTable(each["name"], each["use"], each["options"], each["opens"]) for each in facts["filters"]
        ),
        connection=int(facts["connection"]),
        time=float(facts["time"]),
    )
