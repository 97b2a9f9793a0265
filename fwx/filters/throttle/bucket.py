"""Token buckets, and who shares them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]


class Bucket:
    """Fills with *rate* tokens a second up to *burst*; may be overdrawn, and says how long the debt lasts.

    Whoever waits for as long as he is told, and sends then, keeps the rate; those who share a bucket take turns in the
    order in which they asked.
    """

    __slots__ = ("_burst", "_clock", "_rate", "_tokens", "_when")

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        """*clock* returns seconds. The bucket is full at first."""
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens = burst
        self._when = clock()

    def take(self, count: int) -> float:
        """Take *count* tokens; return after how many seconds they will have been there."""
        self._fill()
        self._tokens -= count
        return max(-self._tokens / self._rate, 0.0)

    def give_back(self, count: int) -> None:
        """*count* tokens were taken and not used."""
        self._tokens = min(self._tokens + count, self._burst)

    @property
    def is_full(self) -> bool:
        self._fill()
        return self._tokens >= self._burst

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._tokens + max(now - self._when, 0.0) * self._rate, self._burst)
        self._when = now


class Shares:
    """The buckets of those who share one by a key.

    A bucket that nobody uses is kept until it is full again: who comes back gets no new burst by that.
    """

    def __init__(self, make: Callable[[], Bucket]) -> None:
        self._make = make
        self._buckets: dict[str, tuple[Bucket, int]] = {}
        self._left: deque[str] = deque()

    def __len__(self) -> int:
        """How many buckets there are."""
        return len(self._buckets)

    def join(self, key: str) -> Bucket:
        """Return the bucket of *key*; each call needs a :meth:`leave`."""
        self._forget()
        bucket, users = self._buckets.get(key) or (self._make(), 0)
        self._buckets[key] = bucket, users + 1
        return bucket

    def leave(self, key: str) -> None:
        bucket, users = self._buckets[key]
        self._buckets[key] = bucket, users - 1
        if users == 1:
            self._left.append(key)
        self._forget()

    def _forget(self) -> None:
        """Forget, oldest first, what nobody uses and is full."""
        while self._left:
            bucket, users = self._buckets.get(self._left[0]) or (None, 0)
            if bucket is not None and not users:
                if not bucket.is_full:
                    return
                del self._buckets[self._left[0]]
            self._left.popleft()
