"""The nftables back end as the engine sees it: openings are gathered, and the helper is asked in transactions."""

from __future__ import annotations

import asyncio
import errno
import logging
import pwd
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from fwx.impl.packetfilter import Claim, Opening
from fwx.impl.winsock import winsock_code
from fwx.packetfilter.hole import Hole
from fwx.packetfilter.messages import (
    MOST_RECORDS,
    Answer,
    Change,
    Drops,
    Frames,
    Kind,
    MessageError,
    Order,
    pack_order,
    unpack_answer,
)
from fwx.packetfilter.plan import Plan
from fwx.packetfilter.process import HelperProcess

if TYPE_CHECKING:
    from fwx.network import Poller
    from fwx.reaping import Reaping

logger = logging.getLogger("fwx.packetfilter")

ELEMENT_SECONDS = 60
"""What an opening lives in the kernel when the helper and the service are gone, or stand still."""
BEAT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
_READ = 1 << 16
_LOST = winsock_code(OSError(errno.ENETDOWN, "the helper is not there"))


class _Entry:
    """One hole: who claims it, whether the kernel has it, and whether an order is on its way to change that."""

    __slots__ = ("claims", "moving", "there")

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.there = False
        self.moving = False


class NftablesPacketFilter:
    """Opens ports in a table of the kernel (:class:`fwx.impl.packetfilter.PacketFilter`).

    What is claimed and closed in one round of the loop, and while an earlier transaction is with the helper, goes into
    one transaction. An opening whose port the kernel has yet to choose needs no element: it is for answers alone,
    which the kernel's connection tracking lets in.

    :ivar opened: how many openings the kernel has been given. :ivar transactions: in how many transactions.
    :ivar dropped_before: what was dropped in a lockdown that :meth:`start` has ended.
    """

    def __init__(
        self,
        plan: Plan,
        poller: Poller,
        call_later: Callable[[float, Callable[[], None]], Any],
        on_failure: Callable[[str], object],
        on_difference: Callable[[str], object],
    ) -> None:
        """Nothing is started. *on_failure* and *on_difference* hear of what calls for an alert."""
        self.plan = plan
        self.opened = 0
        self.transactions = 0
        self.dropped_before = Drops()
        self._poller = poller
        self._queue = poller.queue
        self._call_later = call_later
        self._on_failure = on_failure
        self._on_difference = on_difference
        self._helper: HelperProcess | None = None
        self._gone: HelperProcess | None = None
        self._reaping: Reaping | None = None
        self._frames = Frames()
        self._entries: dict[Hole, _Entry] = {}
        self._unwritten: dict[Claim, None] = {}
        # Holes that may differ from the kernel, in the order in which they began to.
        self._changed: dict[Hole, None] = {}
        self._sent: Order | None = None
        self._serial = 0
        self._scheduled = False
        self._beat_due = False
        self._beat_timer: Any = None
        self._answer_timer: Any = None

    def __len__(self) -> int:
        """The number of claims that are open or wait."""
        return len(self._unwritten) + sum(len(entry.claims) for entry in self._entries.values())

    @property
    def helper_pid(self) -> int | None:
        return None if self._helper is None else self._helper.pid

    def start(self, account: pwd.struct_passwd | None, seconds: int = ELEMENT_SECONDS) -> None:
        """Start the helper, which becomes *account*; before root is given up.

        :raises HelperError: there is no packet filter to be had.
        """
        helper = self._helper = HelperProcess(self.plan, account, seconds)
        for note in helper.notes:
            logger.warning("packet filter: %s", note)
        logger.info("packet filter: the table %s is written by %s", self.plan.table, helper.writer)
        self.dropped_before = helper.dropped
        self._poller.watch_level(helper.link.fileno(), self._readable)
        self._beat_timer = self._call_later(BEAT_SECONDS, self._beat)

    async def stop(self, *, lock: bool = False) -> None:
        """Have the table removed, or left with nothing open when *lock*, and the helper ended."""
        helper, self._helper = self._helper, None
        if self._reaping is not None:
            self._reaping.close()
        if self._gone is not None:
            await asyncio.to_thread(self._gone.reap)
        if helper is None:
            return
        self._forget(helper)
        logger.info("packet filter: %d openings in %d transactions", self.opened, self.transactions)
        kind = Kind.LOCK if lock else Kind.REMOVE
        answer = await asyncio.to_thread(helper.end, pack_order(Order(kind, self._next_serial())), self._frames)
        if answer is None or answer.code:
            reason = "its helper did not answer" if answer is None else answer.text
            self._on_failure(f"the table {self.plan.table} may have been left behind: {reason}")

    # PacketFilter.

    def open(self, claim: Claim) -> None:
        """:raises OSError: ``ENETDOWN``, there is no helper."""
        if self._helper is None:
            raise OSError(errno.ENETDOWN, "the helper is not there")
        self._queue.call(self._open, claim)

    def close(self, claim: Claim) -> None:
        claim.withdraw()
        self._queue.call(self._close, claim)

    def _open(self, claim: Claim) -> None:
        if claim.withdrawn:
            return
        if self._helper is None:
            claim.settle(_LOST)
            return
        hole = hole_of(claim.opening)
        if hole is None:
            self._unwritten[claim] = None
            claim.settle(0)
            return
        entry = self._entries.setdefault(hole, _Entry())
        entry.claims.append(claim)
        if entry.there and not entry.moving and hole not in self._changed:
            claim.settle(0)
        else:
            self._change(hole)

    def _close(self, claim: Claim) -> None:
        if claim in self._unwritten:
            del self._unwritten[claim]
            return
        hole = hole_of(claim.opening)
        entry = self._entries.get(hole) if hole is not None else None
        if hole is None or entry is None or claim not in entry.claims:
            return
        entry.claims.remove(claim)
        if not entry.claims:
            self._change(hole)

    def _change(self, hole: Hole) -> None:
        self._changed[hole] = None
        if not self._scheduled:
            self._scheduled = True
            self._queue.defer(self._flush)

    # Orders.

    def _flush(self) -> None:
        """Send the next order, unless one is out."""
        self._scheduled = False
        if self._helper is None:
            self._drop()
            return
        if self._sent is not None:
            return
        if self._beat_due:
            self._beat_due = False
            self._send(Kind.BEAT)
            return
        changes = self._gather()
        if changes:
            self._send(Kind.CHANGE, tuple(changes))

    def _drop(self) -> None:
        """There is nobody to tell: forget what is not claimed any more."""
        for hole in self._changed:
            if hole in self._entries and not self._entries[hole].claims:
                del self._entries[hole]
        self._changed.clear()

    def _gather(self) -> list[Change]:
        """Take the changes that one order may hold; what has changed back is settled."""
        changes: list[Change] = []
        while self._changed and len(changes) < MOST_RECORDS:
            hole = next(iter(self._changed))
            del self._changed[hole]
            entry = self._entries.get(hole)
            if entry is None:
                continue
            if bool(entry.claims) != entry.there:
                entry.moving = True
                changes.append(Change(bool(entry.claims), hole))
            elif entry.there:
                _settle(entry, 0)
            else:
                del self._entries[hole]
        return changes

    def _send(self, kind: Kind, changes: tuple[Change, ...] = ()) -> None:
        assert self._helper is not None
        order = self._sent = Order(kind, self._next_serial(), changes)
        data = pack_order(order)
        try:
            sent = self._helper.link.send(data)
        except OSError as error:
            self._lost(f"its helper does not take orders: {error}")
            return
        if sent != len(data):  # nothing else is on its way, so there is room for all of it
            self._lost("its helper does not take orders")
            return
        self._answer_timer = self._call_later(ANSWER_SECONDS, partial(self._lost, "its helper does not answer"))

    def _beat(self) -> None:
        self._beat_timer = self._call_later(BEAT_SECONDS, self._beat)
        self._beat_due = True
        self._flush()

    def _next_serial(self) -> int:
        self._serial = (self._serial + 1) & 0xFFFFFFFF
        return self._serial

    # Answers.

    def _readable(self, _mask: int) -> None:
        helper = self._helper
        if helper is None:
            return
        try:
            data = helper.link.recv(_READ)
            if not data:
                self._lost("its helper has ended")
                return
            for body in self._frames.feed(data):
                self._take(unpack_answer(body))
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(f"its helper is gone: {error}")
        except MessageError as error:
            self._lost(f"its helper sends what is no answer: {error}")

    def _take(self, answer: Answer) -> None:
        match answer.kind:
            case Kind.NOTE:
                logger.warning("packet filter: %s", answer.text)
            case Kind.DIFFERENCE:
                self._on_difference(answer.text)
            case Kind.DONE if self._sent is not None and answer.serial == self._sent.serial:
                self._done(self._sent, answer)
            case _:
                raise MessageError(f"{answer.kind.name} of {answer.serial}, which was not asked for")

    def _done(self, order: Order, answer: Answer) -> None:
        self._sent = None
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None
        self.transactions += bool(order.changes)
        if answer.code:
            self._on_failure(f"the table {self.plan.table} cannot be written: {answer.text}")
        for change in order.changes:
            entry = self._entries[change.hole]
            entry.moving = False
            entry.there = change.opens and not answer.code
            if entry.there:
                self.opened += 1
                _settle(entry, 0)
            elif change.opens:
                self._fail(change.hole, winsock_code(OSError(answer.code, answer.text)))
            if bool(entry.claims) != entry.there:
                self._changed[change.hole] = None
            elif not entry.there:
                self._entries.pop(change.hole, None)
        self._flush()

    def _fail(self, hole: Hole, code: int) -> None:
        entry = self._entries[hole]
        for claim in list(entry.claims):
            if claim in entry.claims:
                entry.claims.remove(claim)
                claim.settle(code)

    def _lost(self, reason: str) -> None:
        """There is no packet filter any more: nothing can be opened, and what is open lapses."""
        helper, self._helper = self._helper, None
        if helper is None:
            return
        self._forget(helper)
        helper.link.close()  # which tells one that lives to lock the table and end
        self._gone = helper
        self._reaping = helper.watch(self._poller)
        self._on_failure(f"the packet filter is lost, no port can be opened: {reason}")
        self._sent = None
        for hole, entry in list(self._entries.items()):
            if not entry.there:
                self._fail(hole, _LOST)
                del self._entries[hole]

    def _forget(self, helper: HelperProcess) -> None:
        self._poller.pause(helper.link.fileno())
        for timer in (self._beat_timer, self._answer_timer):
            if timer is not None:
                timer.cancel()
        self._beat_timer = self._answer_timer = None


def _settle(entry: _Entry, code: int) -> None:
    for claim in list(entry.claims):
        claim.settle(code)


def hole_of(opening: Opening) -> Hole | None:
    """Return what the kernel needs for *opening*; ``None`` while its port is not known."""
    if not opening.local.port:
        return None
    local = _plain(opening.local.address)
    assert local is not None
    if opening.remote is None:
        return Hole(opening.protocol, local, opening.local.port)
    return Hole(opening.protocol, local, opening.local.port, _plain(opening.remote.address), opening.remote.port)


def _plain(address: IPv4Address | IPv6Address | None) -> IPv4Address | IPv6Address | None:
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped
