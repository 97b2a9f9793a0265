"""The firewall log of a running service: records and alerts go to its SQLite database, and to what else is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from fwx.firewall_log_schema import FirewallLogError
from fwx.impl.alert import Alert
from fwx.impl.logrecord import LogRecord
from fwx.logs.reader import POLL_SECONDS, LogRow, read
from fwx.logs.retention import Keep
from fwx.logs.sink import Sink
from fwx.logs.spool import Spool
from fwx.logs.sqlite import SqliteSink
from fwx.logs.writer import LogWriter

__all__ = ["POLL_SECONDS", "FirewallLog", "LogRow", "read"]

SPOOL_NAME = "firewall-log.{}.spool"
"""What the spool of a sink is called, by the sink's kind."""


class FirewallLog:
    """The log of a running service.

    The service makes one, opens it before it drops root, hands it every record and alert, asks :attr:`accepting` before
    it accepts a connection (a firewall that cannot log takes no new ones, B9.18), and closes it last.

    Each sink has a writer of its own: one that fails or is slow holds up no other.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        others: Sequence[tuple[str, Sink]] = (),
        keep: Keep | None = None,
        spool_directory: Path | None = None,
        spool_bytes: int = 0,
        on_error: Literal["close", "open"] = "close",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        flush_interval: float = 0.25,
        capacity: int = 65536,
        on_failure: Callable[[str], object] | None = None,
        on_recovery: Callable[[], object] | None = None,
    ) -> None:
        """Prepare a log; nothing is touched before :meth:`open`.

        :param path: the SQLite database; *keep*, what is kept of it.
        :param others: further sinks, each with the name of its kind, which its spool is named by.
        :param spool_directory: where records wait that a sink cannot take; ``None``, or *spool_bytes* 0: in memory.
        :param spool_bytes: how large the spool of one sink grows.
        :param on_error: whether connections begin while records cannot be kept, see :class:`fwx.logs.writer.LogWriter`,
            as for the other parameters.
        """
        self.path = Path(path).absolute()
        self._on_recovery = on_recovery
        self._writers = [
            LogWriter(
                sink,
                Spool(spool_directory / SPOOL_NAME.format(kind), spool_bytes)
                if spool_directory and spool_bytes
                else None,
                on_error=on_error,
                clock=clock,
                monotonic=monotonic,
                flush_interval=flush_interval,
                capacity=capacity,
                on_failure=on_failure,
                on_recovery=self._recovered,
            )
            for kind, sink in (("sqlite", SqliteSink(self.path, keep)), *others)
        ]
        self._is_open = False
        only = self._writers[0].write if len(self._writers) == 1 else None
        self.write: Callable[[LogRecord], None] = only or self._write
        """Queue a record; never blocks, from any thread.

        A record is taken whatever :attr:`accepting` says: the connections that live on still end, and those records
        must not be lost.
        """
        self.write_alert: Callable[[Alert], None] = only or self._write
        """Queue an alert; a sink for :class:`fwx.impl.alert.Alerts`. Never blocks, from any thread."""

    def open(self) -> None:
        """Open or create everything and start the writers; called once, before root is dropped.

        A first transaction is written to SQLite here, so that every file the database needs is open from now on. A
        database elsewhere need not answer yet.

        :raises FirewallLogError: a sink can never work, or was opened before; what was opened is closed again.
        """
        if self._is_open:
            raise FirewallLogError(f"{self.path}: this log is open already")
        for index, writer in enumerate(self._writers):
            try:
                writer.open()
            except BaseException:
                for opened in self._writers[:index]:
                    opened.close(0.0)
                raise
        self._is_open = True

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders that are this log's, or may become so; for whoever hands them to an account."""
        return tuple(path for writer in self._writers for path in writer.paths)

    @property
    def failed(self) -> str | None:
        """Why writing fails at the moment, or ``None``."""
        return next((writer.failed for writer in self._writers if writer.failed is not None), None)

    @property
    def accepting(self) -> bool:
        """Whether new connections may be accepted: every sink's records can be kept."""
        for writer in self._writers:  # noqa: SIM110  no generator: it is asked for every connection
            if not writer.accepting:
                return False
        return True

    def look(self) -> None:
        """Notice writes that do not come to an end (B9.19); the service asks now and then, on the loop thread."""
        for writer in self._writers:
            writer.look()

    def flush(self, timeout: float) -> bool:
        """Wait until everything queued so far is in every sink; not for the event loop's thread.

        :param timeout: seconds, for each.
        :returns: whether it is.
        """
        done = [writer.flush(timeout) for writer in self._writers]
        return all(done)

    def close(self, timeout: float) -> int:
        """Write what is queued, close every sink and end the writers' threads.

        What fails is tried again until the time is up; what a spool can take waits there for the next start.

        :param timeout: seconds.
        :returns: the number of records and alerts that could not be written; it is also logged as an error.
        """
        for writer in self._writers:
            writer.stop(timeout)
        return sum([writer.wait_stopped(timeout) for writer in self._writers])

    def _recovered(self) -> None:
        """One sink works again: so does the log, if no other one fails."""
        if self._on_recovery is not None and self.failed is None:
            self._on_recovery()

    def _write(self, item: LogRecord | Alert) -> None:
        for writer in self._writers:
            writer.write(item)
