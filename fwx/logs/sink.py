"""What the writer of the firewall log feeds: a sink, and the batches that it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from fwx.firewall_log_schema import Row, storable

STEP: Final = 256
"""How many rows are worked on in one go. The interpreter is shared with the thread that moves the data."""

_BREATH = 0.00005
# Characters of a text that is made plain.
_MOST_PLAIN = 4096
_Item = TypeVar("_Item")


def in_steps(rows: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """Yield *rows* by :data:`STEP`, and sleep in between.

    Without it another thread waits for the interpreter five milliseconds each time. To give it away is not enough:
    whoever does so has taken it back before that thread is awake.
    """
    for start in range(0, len(rows), STEP):
        if start:
            time.sleep(_BREATH)
        yield rows[start : start + STEP]


@dataclass(slots=True)
class Batch:
    """Rows that are written together.

    :ivar token: tells this batch from every other; a sink that remembers the last one it has taken does not take it
        twice when a service was killed between the two ends of a transaction.
    """

    token: str
    records: list[Row]
    alerts: list[Row]

    def __len__(self) -> int:
        return len(self.records) + len(self.alerts)


def made_storable(batch: Batch) -> Batch:
    """Return *batch* with values that every database can store (:func:`fwx.firewall_log_schema.storable`)."""
    return Batch(batch.token, [*map(storable, batch.records)], [*map(storable, batch.alerts)])


def made_plain(batch: Batch) -> Batch:
    """Return *batch* with ASCII alone, and no long text: what any database has room for, whatever its encoding is."""
    return Batch(batch.token, [*map(_plain, batch.records)], [*map(_plain, batch.alerts)])


def _plain(row: Row) -> Row:
    return [
        value if isinstance(value, int) else value.encode("ascii", "backslashreplace").decode()[:_MOST_PLAIN]
        for value in storable(row)
    ]


class Sink(Protocol):
    """Takes batches in order. Used by one thread at a time; whatever it raises, the batch is offered again."""

    @property
    def name(self) -> str:
        """The file or database, for messages; it holds no password."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its files and folders on this machine; some may not be there."""

    def open(self) -> None:
        """Get what is needed before root is dropped. :raises FirewallLogError: it can never work."""

    def commit(self, batch: Batch) -> None:
        """Write all of *batch*, durably, or nothing. :raises FirewallLogError: it is not written."""

    def prune(self, now: float | None) -> bool:
        """Delete a little of what is not to be kept any more; tell whether there may be more of it.

        :param now: seconds since the epoch; ``None``: nothing is to be deleted for its age.
        """

    def close(self) -> None:
        """Let go of everything. :raises FirewallLogError: something is not as it should be afterwards."""
