"""What is noted of one connection while it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwx.tracing.feed import Feed, Item

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwx.impl.runqueue import RunQueue
    from fwx.interfaces import SocketAddress

TOO_SLOW = "what was recorded did not get to the command fast enough"


class Recording:
    """One connection's events, in their order; nothing is kept here: the feed has them.

    :ivar connection: whose it is. :ivar is_over: nothing is noted any more.
    """

    def __init__(
        self,
        number: int,
        connection: Any,
        feed: Feed,
        most_bytes: int,
        clock: Callable[[], float],
        *,
        has_end: bool = True,
    ) -> None:
        """*number* is its name in the feed; *clock* gives seconds; a stream *has_end*, datagrams have not."""
        self.connection = connection
        self.is_over = False
        self._has_end = has_end
        self._number = number
        self._feed = feed
        self._most = self._left = most_bytes
        self._clock = clock
        self._started = clock()
        # The sides that a filter has closed: what is still received of them is thrown away.
        self._closed: set[str] = set()

    def begin(self, facts: dict[str, Any]) -> None:
        """Say whose connection it is; the command cannot do without, even if nothing else has room."""
        self._feed.put(self._item("begin", facts), always=True)

    def side(self, side: str, what: str, data: bytes = b"") -> None:
        """One side sends or gets *data*, ends, resets, or sees an end or a reset."""
        if self.is_over or (side in self._closed and what in ("sends", "ends")):
            return
        self._left -= len(data)
        if self._left < 0:
            self.cut(f"it has more than {self._most} bytes")
        else:
            self._put(f"{side} {what}", data)

    def call(self, words: str) -> None:
        """A data filter calls a socket."""
        self._put("call", words)

    def close_side(self, side: str) -> None:
        """The filter next to *side* has closed its socket there."""
        self._closed.add(side)

    def refused(self) -> None:
        """A filter denies the connection."""
        self._put("refused", b"")

    def bound(self, address: SocketAddress) -> None:
        """The service has chosen *address* for a filter, which may tell the peers of it."""
        self._put("bound", [address.host, address.port])

    def note(self, words: str) -> None:
        """Something that no step of a playbook stands for."""
        self._put("note", words)

    def cut(self, reason: str) -> None:
        """Note nothing any more; the recording is not whole."""
        self._finish("cut", reason)

    def stop(self, reason: str) -> None:
        """Note nothing any more, because of *reason*: a stream is cut; datagrams have no end that could come."""
        if self._has_end:
            self.cut(reason)
        else:
            self.end(reason)

    def end(self, reason: str) -> None:
        """The connection is over; *reason* is the log's."""
        self._finish("end", reason)

    def _put(self, what: str, data: Any) -> None:
        if not self.is_over and not self._feed.put(self._item(what, data)):
            self.cut(TOO_SLOW)

    def _finish(self, what: str, reason: str) -> None:
        if not self.is_over:
            self.is_over = True
            self._feed.put(self._item(what, reason), always=True)

    def _item(self, what: str, data: Any) -> Item:
        return Item(self._number, what, round(self._clock() - self._started, 6), data)


class MemberWatcher:
    """Hears of the calls of one data filter (:class:`fwx.impl.observedsocket.Watcher`)."""

    def __init__(self, recording: Recording, queue: RunQueue, sides: dict[str, str]) -> None:
        """*sides* says which of its sockets, by their names, is next to which side of the connection."""
        self._recording = recording
        self._queue = queue
        self._sides = sides

    def called(self, side: str, words: str) -> None:
        self._queue.call(self._called, side, words)

    def fault(self, side: str, words: str) -> None:
        """The socket answers it."""

    def completion(self, completion: Any) -> Any:
        return completion

    def _called(self, side: str, words: str) -> None:
        self._recording.call(f"{side}.{words}")
        if words.startswith("Close") and side in self._sides:
            self._recording.close_side(self._sides[side])
