"""The table in the kernel, kept as it should be: written in transactions, read back, put right."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fwx.packetfilter.hole import Hole
from fwx.packetfilter.messages import Change, Drops
from fwx.packetfilter.nft import Nft, NftError
from fwx.packetfilter.plan import Plan
from fwx.packetfilter.ruleset import (
    SETS,
    add_holes,
    delete_holes,
    delete_table,
    drops_of,
    get_holes,
    holder_of,
    holes_of,
    list_table,
    list_tables,
    make_table,
    shape_of,
)

MOST_HOLES = 100_000
# Elements in one transaction of a refresh.
_SLICE = 2000


class TableInUseError(Exception):
    """The table belongs to a helper that lives."""


class Table:
    """The table of one service, written by this process alone.

    Elements lapse by themselves after so many seconds unless :meth:`refresh` is called, so that a port never outlives
    everybody who knows of it.

    :ivar dropped: what was dropped in the lockdown that :meth:`left_over` has found.
    """

    def __init__(self, nft: Nft, plan: Plan, seconds: int, clock: Callable[[], float]) -> None:
        """*seconds* is what an element lives without a refresh, by *clock*."""
        self._nft = nft
        self._plan = plan
        self._seconds = seconds
        self._clock = clock
        # What is open, with the time of its last refresh.
        self._holes: dict[Hole, float] = {}
        self._shape: list[Any] = []
        self.dropped = Drops()

    def __len__(self) -> int:
        return len(self._holes)

    def __contains__(self, hole: Hole) -> bool:
        return hole in self._holes

    def left_over(self) -> bool:
        """Tell whether there is a table already, of a helper that is no more.

        :raises TableInUseError: its helper lives. :raises NftError: nftables does not work here.
        """
        if not table_exists(self._nft, self._plan.table):
            return False
        listing = self._nft.run(list_table(self._plan.table))
        holder = living_holder(listing)
        if holder not in (None, os.getpid()):
            raise TableInUseError(f"process {holder} keeps the table {self._plan.table}: is fwx running already?")
        if holder_of(listing) is None:
            self.dropped = Drops(*drops_of(listing))
        return True

    def write(self, holder: int | None) -> None:
        """Put the whole table in the place of what is there, in one transaction, with everything that is open.

        :raises NftError: it cannot be written, or the kernel does not hold what was written.
        """
        self._nft.run(make_table(self._plan, holder, self._holes, self._seconds))
        now = self._clock()
        self._holes = dict.fromkeys(self._holes, now)
        listing = self._nft.run(list_table(self._plan.table))
        wanted = make_table(self._plan, holder, (), self._seconds)
        for kind in ("set", "chain", "rule"):
            count, there = (sum(kind in each.get("add", each) for each in several) for several in (wanted, listing))
            if count != there:
                raise NftError(f"{there} of {count} {kind}s of the table {self._plan.table} are there")
        if _holes_of(listing) != self._holes.keys():
            raise NftError(f"the table {self._plan.table} does not hold the elements that were written")
        self._shape = shape_of(listing)

    def change(self, changes: Sequence[Change]) -> str:
        """Open and close, in one transaction, and read back; return what was wrong with the table before, if anything.

        :raises OSError: nothing was opened; what was to be closed lapses.
        """
        before = {change.hole for change in changes if change.hole in self._holes}
        for change in changes:
            if change.opens:
                self._holes[change.hole] = self._clock()
            else:
                self._holes.pop(change.hole, None)
        touched = dict.fromkeys(change.hole for change in changes)
        opened = [hole for hole in touched if hole in self._holes and hole not in before]
        closed = [hole for hole in touched if hole in before and hole not in self._holes]
        try:
            if len(self._holes) > MOST_HOLES:
                raise OSError(errno.ENOSPC, f"{MOST_HOLES} openings are the most")
            return self._transact(closed, opened)
        except OSError:
            for hole in opened:
                del self._holes[hole]
            raise

    def refresh(self) -> str:
        """Have what is open live on; called every so often while the service is there. Returns what was wrong.

        :raises OSError: the elements lapse.
        """
        due = self._clock() - self._seconds / 2
        old = [hole for hole, refreshed in self._holes.items() if refreshed <= due]
        wrong = ""
        for start in range(0, len(old), _SLICE):
            slice_ = old[start : start + _SLICE]
            wrong = self._transact(slice_, slice_) or wrong
            self._holes.update(dict.fromkeys(slice_, self._clock()))
        return wrong

    def compare(self) -> str:
        """Compare the table with what it should be; write it anew where it is not, and return what was wrong.

        :raises OSError: it cannot be put right.
        """
        wrong = self._difference()
        if wrong:
            self._rewrite(wrong)
        return wrong

    def lock(self) -> None:
        """Leave the table with nothing open, and nobody who answers for it (B11.13). :raises NftError: impossible."""
        self._holes.clear()
        self.write(None)

    def remove(self) -> None:
        """Delete the table. :raises NftError: impossible."""
        self._holes.clear()
        if table_exists(self._nft, self._plan.table):
            self._nft.run(delete_table(self._plan.table))

    def _transact(self, closed: Iterable[Hole], opened: Sequence[Hole]) -> str:
        name = self._plan.table
        try:
            commands = [*delete_holes(name, closed), *add_holes(name, opened, self._seconds)]
            if commands:
                self._nft.run(commands)
            for command in get_holes(name, opened):
                self._nft.has(command)
        except NftError as error:
            wrong = self._difference() or str(error)
            self._rewrite(wrong)
            return wrong
        return ""

    def _rewrite(self, wrong: str) -> None:
        try:
            self.write(os.getpid())
        except NftError as error:
            raise OSError(errno.EIO, f"{wrong}; and it cannot be written anew: {error}") from error

    def _difference(self) -> str:
        try:
            if not table_exists(self._nft, self._plan.table):
                return f"the table {self._plan.table} is gone"
            listing = self._nft.run(list_table(self._plan.table))
            found = _holes_of(listing)
        except NftError as error:
            return f"the table {self._plan.table} cannot be read: {error}"
        return "; ".join(self._words(listing, found))

    def _words(self, listing: Sequence[dict[str, Any]], found: set[Hole]) -> Iterator[str]:
        if shape_of(listing) != self._shape or holder_of(listing) != os.getpid():
            yield f"the rules of the table {self._plan.table} were changed"
        missing, strange = self._holes.keys() - found, found - self._holes.keys()
        if missing:
            yield f"{len(missing)} openings are missing, such as {min(missing, key=str)}"
        if strange:
            yield f"{len(strange)} elements are none of ours, such as {min(strange, key=str)}"


def _holes_of(listing: Iterable[dict[str, Any]]) -> set[Hole]:
    try:
        return holes_of(listing)
    except ValueError as error:
        raise NftError(str(error)) from error


def table_exists(nft: Nft, name: str) -> bool:
    """:raises NftError: nftables does not work here."""
    return any(each.get("table", {}).get("name") == name for each in nft.run(list_tables()))


def living_holder(listing: Iterable[dict[str, Any]]) -> int | None:
    """Return the process that keeps the listed table, if it lives and is a helper."""
    holder = holder_of(listing)
    if holder is None:
        return None
    try:
        command = Path(f"/proc/{holder}/cmdline").read_bytes()
    except OSError:
        return None
    return holder if b"fwx.packetfilter" in command else None


def open_holes(nft: Nft, name: str) -> int:
    """Return how many elements the table *name* has. :raises NftError: it cannot be read."""
    listing = nft.run(list_table(name))
    return sum(len(each["set"].get("elem", ())) for each in listing if each.get("set", {}).get("name") in SETS)
