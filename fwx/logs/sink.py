"""What the writer of the firewall log feeds: a sink, and the batches that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fwx.firewall_log_schema import Row


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
