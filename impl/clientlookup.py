"""The name that a client wants to reach: shown to the filters, looked up, shown again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fwx.impl.course import proceed
from fwx.impl.logrecord import Action
from fwx.impl.lookups import MOST_LOOK_UPS, socket_address
from fwx.impl.nameevent import NameEvents, Refusal
from fwx.interfaces import Hostent
from fwx.interfaces.hresult import FWX_E_DNS_QUOTA_EXCEEDED, HRESULT_FROM_WIN32, WSAETIMEDOUT

if TYPE_CHECKING:
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.session import FWXSession
    from fwx.interfaces import SocketAddress


class Found(NamedTuple):
    """What came of a look-up.

    :ivar addresses: literal, each still to be judged; none where there is none, and then :attr:`result` is the HRESULT,
        :attr:`reason` the words for the log, :attr:`action` what was done. :ivar remembered: asking again is no use.
    """

    addresses: list[SocketAddress]
    result: int = 0
    reason: str = ""
    action: Action = Action.Failed
    remembered: bool = False


class ClientLookUp:
    """One look-up. *done* is called once, perhaps inside :meth:`start`; a filter's answer is given like a true one."""

    __slots__ = ("_cancel", "_done", "_events", "_session", "_target")

    def __init__(
        self,
        session: FWXSession,
        hosts: Sequence[FilterHost],
        target: SocketAddress,
        done: Callable[[Found], None],
    ) -> None:
        """:param hosts: the filters that may see it. :param target: the name, with the port."""
        self._session = session
        self._target = target
        self._done: Callable[[Found], None] | None = done
        self._events = NameEvents(session, hosts, target.host)
        self._cancel: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin with the event before the resolution (B2.26)."""
        proceed(self._ask_before())

    async def _ask_before(self) -> None:
        refusal = await self._events.before()
        if self._done is None:
            return
        if refusal is not None:
            self._refuse(refusal)
        elif self._events.answer is not None:
            await self._tell(self._events.answer)
        else:
            self._resolve()

    def cancel(self) -> None:
        """Give up; *done* is not called."""
        self._done = None
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()

    def _resolve(self) -> None:
        """Have it looked up, before a deadline, and not too many for one client at a time."""
        engine, owner = self._session.engine, self._session.address.host
        if engine.look_ups.is_full(owner):
            reason = f"{owner} has {MOST_LOOK_UPS} name look-ups pending"
            self._finish(Found([], FWX_E_DNS_QUOTA_EXCEEDED, reason, Action.Denied))
            return
        cancel = engine.look_ups.begin(engine, owner, self._target, self._resolved)
        if self._done is not None:  # it has not been answered at once
            self._cancel = cancel

    def _resolved(self, addresses: list[SocketAddress], code: int) -> None:
        self._cancel = None
        proceed(self._ask_after(addresses, code))

    async def _ask_after(self, addresses: list[SocketAddress], code: int) -> None:
        host = self._host_of(addresses) if addresses else None
        refusal = await self._events.after(host)
        answer = self._events.answer
        if refusal is not None:
            self._refuse(refusal)
        elif answer is host and addresses:
            self._finish(Found(addresses))
        elif answer is not None:
            self._answer(answer)
        else:
            how = "was not resolved in time" if code == WSAETIMEDOUT else "could not be resolved"
            self._finish(Found([], HRESULT_FROM_WIN32(code), f"{self._target.host} {how}"))

    def _host_of(self, addresses: list[SocketAddress]) -> Hostent:
        """Return the answer as the name service gave it, with the other names of the host, if it still knows."""
        known = self._session.engine.resolver.known(self._target.host)
        if known is not None and known.host is not None:
            return known.host
        return Hostent(self._target.host, (), tuple(each.address for each in addresses if each.address is not None))

    async def _tell(self, host: Hostent) -> None:
        """A filter has answered before the resolution, which there is none of; the second event comes as ever."""
        refusal = await self._events.after(host)
        if refusal is not None:
            self._refuse(refusal)
        else:
            self._answer(self._events.answer or host)

    def _answer(self, host: Hostent) -> None:
        port = self._target.port
        self._finish(Found([socket_address(address, port) for address in host.addresses]))

    def _refuse(self, refusal: Refusal) -> None:
        self._finish(Found([], refusal.result, refusal.reason, Action.Denied, remembered=True))

    def _finish(self, found: Found) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(found)
