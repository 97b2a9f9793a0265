"""The names that are being looked up for connections: each before a deadline, not too many for one client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Final

from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import WSAETIMEDOUT, WSATRY_AGAIN

if TYPE_CHECKING:
    from fwx.impl.deadline import Deadline
    from fwx.impl.engine import Engine, Resolved

Told = Callable[[Any, int], None]
"""Gets what was found, nothing (false) where there is none, and the Windows error."""
Ask = Callable[[Told], Callable[[], None]]

MOST_LOOK_UPS: Final = 16
"""Names that one client may have looked up at a time, one session or the firewall's filters together; half of the
resolver's threads, so that others get their turn."""

MOST_LOOK_UPS_OF_ALL: Final = 1024
"""Names that all clients together may have looked up at a time, by default."""


def socket_address(address: IPv4Address | IPv6Address, port: int) -> SocketAddress:
    """Return *address*, as a look-up found it, as the end point at *port*."""
    scope = address.scope_id if isinstance(address, IPv6Address) else None
    if scope is None:
        return SocketAddress(address, port)
    return SocketAddress(str(address).partition("%")[0], port, int(scope))


class LookUps:
    """Counts what is under way by its owner: the client's address, or the empty text for the firewall itself.

    :ivar most: so many there may be of all owners together. :ivar refused: told in words that there are.
    """

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        self._total = 0
        self.most = MOST_LOOK_UPS_OF_ALL
        self.refused: Callable[[str], object] = lambda _words: None

    def __len__(self) -> int:
        return self._total

    def is_full(self, owner: str) -> bool:
        """Tell whether *owner* has to wait for an answer before it may ask again (B5.17)."""
        return self._under_way[owner] >= MOST_LOOK_UPS or self._total >= self.most

    def refuse(self, owner: str) -> str:
        """Return in words why *owner* has to wait."""
        if self._under_way[owner] >= MOST_LOOK_UPS:
            return f"{owner} has {MOST_LOOK_UPS} name look-ups pending"
        words = f"all clients together have {self._total} name look-ups pending"
        self.refused(words)
        return words

    def begin(self, engine: Engine, owner: str, name: SocketAddress, done: Resolved) -> Callable[[], None]:
        """Look *name* up; *done* is called once, also when the deadline of connecting has passed: ``WSAETIMEDOUT``.

        Of an owner that is full, later, with ``WSATRY_AGAIN``. Returns what cancels it: *done* is then not called.
        """
        return self.ask(engine, owner, partial(engine.resolver.resolve, name), done)

    def ask(self, engine: Engine, owner: str, ask: Ask, done: Told) -> Callable[[], None]:
        """Do the same with any question: *ask* begins to look it up, and is given what to call with the answer."""
        look_up = _LookUp(done)
        if self.is_full(owner):
            self.refuse(owner)
            engine.queue.post(look_up.finish, [], WSATRY_AGAIN)
        else:
            self._under_way[owner] += 1
            self._total += 1
            look_up.start(engine, ask, self, owner)
        return look_up.cancel

    def end(self, owner: str) -> None:
        """One of *owner* has ended."""
        self._total -= 1
        self._under_way[owner] -= 1
        if not self._under_way[owner]:
            del self._under_way[owner]


class _LookUp:
    __slots__ = ("_cancel", "_deadline", "_done", "_look_ups", "_owner")

    def __init__(self, done: Told) -> None:
        self._done: Told | None = done
        self._cancel: Callable[[], None] | None = None
        self._deadline: Deadline | None = None

    def start(self, engine: Engine, ask: Ask, look_ups: LookUps, owner: str) -> None:
        self._look_ups, self._owner = look_ups, owner
        self._deadline = engine.connect_deadlines.add(self._too_late)
        cancel = ask(self.finish)
        if self._done is not None:
            self._cancel = cancel

    def finish(self, found: Any, code: int) -> None:
        done = self._settle()
        if done is not None:
            done(found, code)

    def cancel(self) -> None:
        cancel = self._cancel
        self._settle()
        if cancel is not None:
            cancel()

    def _too_late(self) -> None:
        cancel = self._cancel
        done = self._settle()
        if cancel is not None:
            cancel()
        if done is not None:
            done([], WSAETIMEDOUT)

    def _settle(self) -> Told | None:
        """Count no more; return whom to tell, the first time."""
        done, self._done, self._cancel = self._done, None, None
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()
            self._look_ups.end(self._owner)
        return done
