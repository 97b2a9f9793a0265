"""The steps of a playbook, made of what was recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fwx.tracing.conversation import SIDES, Conversation, Event

if TYPE_CHECKING:
    from fwx.testing.playbook import Column

LEAST_SECONDS = 0.01
"""A shorter time between two events is not said to have passed."""

SETTLED_SECONDS = 1.0
"""What passes at the end of a script that has times, so that what was due then has come."""

_INPUTS = {
    f"{side} {what}": f"{side}_{what.replace(' ', '_')}" for side in SIDES for what in ("sends", "ends", "resets")
}
_ENDS = ("sees the end", "sees a reset")
_METHODS = {"sees the end": "sees_end", "sees a reset": "sees_reset"}

Step = tuple[str, tuple[Any, ...]]
"""A method of :class:`fwx.testing.Playbook`, and its arguments."""


@dataclass(slots=True)
class _Column:
    """What happens, the opening where it is nothing, and what is expected of it."""

    step: Step | None = None
    got: dict[str, list[bytes]] = field(default_factory=lambda: {side: [] for side in SIDES})
    ends: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    refused: bool = False
    alerts: int = 0


class Script:
    """One way to write a conversation down.

    :ivar has_calls: the calls of the data filters, where there were some, are expected.
    :ivar has_times: time passes as it has passed.
    :ivar timely: what is expected comes before the next step (:meth:`fwx.testing.Playbook.play`).
    """

    def __init__(
        self, conversation: Conversation, *, has_calls: bool = False, has_times: bool = False, timely: bool = True
    ) -> None:
        self.conversation = conversation
        self.has_calls = has_calls and any(event.what == "call" for event in conversation.events)
        self.has_times = has_times
        self.timely = timely
        self._is_udp = conversation.transport == "udp"
        self._columns = [_Column()]
        # How each side has ended for the other, and which sides have left: they see nothing any more.
        self._ended: set[str] = set()
        self._left: set[str] = set()
        self._at = 0.0
        for event in conversation.events:
            self._add(event)
        if conversation.refused:
            self._refuse()
        if has_times:
            self._columns.append(_Column(("passes", (SETTLED_SECONDS,))))

    @property
    def steps(self) -> Iterator[Step]:
        """Everything that is said to a playbook, in order."""
        for column in self._columns:
            if column.step is not None:
                yield column.step
            yield from self._expected(column)

    def expect_alerts(self, happened: Iterable[Column]) -> None:
        """Expect the alerts that there were when it was played, which are not recorded."""
        for column, found in zip(self._columns, happened, strict=True):
            column.alerts = found.alerts

    def settle(self, happened: Sequence[Column]) -> None:
        """Expect what was recorded where it came when it was played, which was the same in all: be timely.

        In the service several things can happen before a filter is told of the first. The calls are those of the
        recording, or they are not expected.
        """
        recorded = [call for column in self._columns for call in column.calls]
        made = [call for column in happened for call in column.calls or ()]
        self.has_calls = self.has_calls and sorted(recorded) == sorted(made)
        for column, found in zip(self._columns, happened, strict=True):
            column.got = {side: list(found.data[side]) for side in SIDES}
            column.ends = {side: what for side in SIDES for what in _ENDS if f"{side} {what}" in found.events}
            column.calls, column.alerts = list(found.calls or ()), found.alerts
        self.timely = True

    # Making it.

    def _add(self, event: Event) -> None:
        side, _, what = event.what.partition(" ")
        if self.has_times and event.at - self._at >= LEAST_SECONDS:
            self._columns.append(_Column(("passes", (round(event.at - self._at, 3),))))
            self._at = event.at
        if event.what == "call":
            self._columns[-1].calls.append(event.words)
        elif event.what in _INPUTS:
            self._happens(side, what, event)
        elif side not in self._left:
            self._is_expected(side, what, event)

    def _happens(self, side: str, what: str, event: Event) -> None:
        if side in self._left:
            return
        if what == "resets":
            self._left.add(side)
        arguments = (event.data,) if what == "sends" else ()
        column = self._columns[-1]
        step = (_INPUTS[event.what], arguments)
        if what == "sends" and column.step is not None and self._can_join(column, step):
            column.step = (step[0], (column.step[1][0] + event.data,))
        else:
            self._columns.append(_Column(step))

    def _can_join(self, column: _Column, step: Step) -> bool:
        """Two pieces of a stream with nothing between them are one, but where the calls would tell them apart."""
        quiet = not (column.got["client"] or column.got["server"] or column.ends or column.calls)
        return column.step is not None and column.step[0] == step[0] and quiet and not (self._is_udp or self.has_calls)

    def _is_expected(self, side: str, what: str, event: Event) -> None:
        column = self._columns[-1]
        if what == "gets":
            if side not in self._ended:
                column.got[side].append(event.data)
        elif what in _ENDS:
            # A reset that comes with the end is all that is seen; one behind it is not seen.
            if side not in self._ended or (column.ends.get(side) == "sees the end" and what == "sees a reset"):
                column.ends[side] = what
            self._ended.add(side)

    def _refuse(self) -> None:
        if self._is_udp:  # the destination is looked at when something is sent there
            self._columns.append(_Column(("client_sends", (b"",))))
        self._columns[-1].refused = True

    def _expected(self, column: _Column) -> Iterator[Step]:
        for side in SIDES:
            pieces = column.got[side]
            for piece in pieces if self._is_udp else [data for data in [b"".join(pieces)] if data]:
                yield f"{side}_gets", (piece,)
        for ended, what in column.ends.items():
            yield f"{ended}_{_METHODS[what]}", ()
        if column.refused:
            yield "refused", ()
        if column.alerts:
            yield "alerts", (column.alerts,)
        if self.has_calls:
            yield "calls", tuple(column.calls)
