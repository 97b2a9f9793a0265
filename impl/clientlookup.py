"""What a client has looked up, a name that it wants to reach for one: shown to the filters, looked up, shown again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fwx.impl.course import proceed
from fwx.impl.logrecord import Action
from fwx.impl.lookups import Told, socket_address
from fwx.impl.nameevent import NameEvents, Refusal
from fwx.interfaces import Hostent
from fwx.interfaces.hresult import FWX_E_DNS_QUOTA_EXCEEDED, HRESULT_FROM_WIN32, WSAETIMEDOUT, WSANO_DATA

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from fwx.impl.engine import Question
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


class FoundName(NamedTuple):
    """What came of a reverse look-up: the host's *name*, empty where there is none; the others as in :class:`Found`."""

    name: str
    result: int = 0
    reason: str = ""
    action: Action = Action.Failed


class _ShownLookUp:
    """One look-up, with its two events. *done* is called once, perhaps inside :meth:`start`; what a filter answers is
    given like a true answer.
    """

    __slots__ = ("_cancel", "_done", "_events", "_session")

    def __init__(
        self, session: FWXSession, hosts: Sequence[FilterHost], question: Question, done: Callable[[Any], None]
    ) -> None:
        self._session = session
        self._done: Callable[[Any], None] | None = done
        self._events = NameEvents(session, hosts, question)
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
            # There is no resolution; the second event comes as ever.
            await self._show(self._events.answer, 0)
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
            self._fail(FWX_E_DNS_QUOTA_EXCEEDED, engine.look_ups.refuse(owner), Action.Denied)
            return
        cancel = engine.look_ups.ask(engine, owner, self._ask, self._resolved)
        if self._done is not None:  # it has not been answered at once
            self._cancel = cancel

    async def _show(self, host: Hostent | None, code: int) -> None:
        """Raise the second event, for what the name service has said, and tell what is said after that."""
        refusal = await self._events.after(host)
        answer = self._events.answer
        if refusal is not None:
            self._refuse(refusal)
        elif answer is not None:
            self._answer(answer)
        else:
            how = "was not resolved in time" if code == WSAETIMEDOUT else "could not be resolved"
            self._fail(HRESULT_FROM_WIN32(code), f"{self._events.question} {how}")

    def _finish(self, found: Found | FoundName) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(found)

    # What names and addresses do differently.

    def _ask(self, told: Told) -> Callable[[], None]:
        raise NotImplementedError

    def _resolved(self, found: Any, code: int) -> None:
        raise NotImplementedError

    def _answer(self, host: Hostent) -> None:
        raise NotImplementedError

    def _fail(self, result: int, reason: str, action: Action = Action.Failed) -> None:
        raise NotImplementedError

    def _refuse(self, refusal: Refusal) -> None:
        raise NotImplementedError


class ClientLookUp(_ShownLookUp):
    """Looks for the addresses of a name; *done* gets :class:`Found`."""

    __slots__ = ("_resolved_to", "_target")

    def __init__(
        self,
        session: FWXSession,
        hosts: Sequence[FilterHost],
        target: SocketAddress,
        done: Callable[[Found], None],
    ) -> None:
        """:param hosts: the filters that may see it. :param target: the name, with the port."""
        super().__init__(session, hosts, target.host, done)
        self._target = target
        # What the name service has said: the answer, and the addresses to take for it.
        self._resolved_to: tuple[Hostent, list[SocketAddress]] | None = None

    def _ask(self, told: Told) -> Callable[[], None]:
        return self._session.engine.resolver.resolve(self._target, told)

    def _resolved(self, addresses: list[SocketAddress], code: int) -> None:
        self._cancel = None
        if not addresses:
            proceed(self._show(None, code))
            return
        host = self._host_of(addresses)
        self._resolved_to = host, addresses
        proceed(self._show(host, code))

    def _host_of(self, addresses: list[SocketAddress]) -> Hostent:
        """Return the answer as the name service gave it, with the other names of the host, if it still knows."""
        known = self._session.engine.resolver.known(self._target.host)
        if known is not None and known.host is not None:
            return known.host
        return Hostent(self._target.host, (), tuple(each.address for each in addresses if each.address is not None))

    def _answer(self, host: Hostent) -> None:
        if self._resolved_to is not None and self._resolved_to[0] is host:
            self._finish(Found(self._resolved_to[1]))
        else:
            self._finish(Found([socket_address(address, self._target.port) for address in host.addresses]))

    def _fail(self, result: int, reason: str, action: Action = Action.Failed) -> None:
        self._finish(Found([], result, reason, action))

    def _refuse(self, refusal: Refusal) -> None:
        self._finish(Found([], refusal.result, refusal.reason, Action.Denied, remembered=True))


class ClientReverseLookUp(_ShownLookUp):
    """Looks for the name of an address; *done* gets :class:`FoundName`."""

    __slots__ = ("_address",)

    def __init__(
        self,
        session: FWXSession,
        hosts: Sequence[FilterHost],
        address: IPv4Address | IPv6Address,
        done: Callable[[FoundName], None],
    ) -> None:
        """:param hosts: the filters that may see it."""
        super().__init__(session, hosts, address, done)
        self._address = address

    def _ask(self, told: Told) -> Callable[[], None]:
        resolver = self._session.engine.resolver
        known = resolver.known(self._address)
        if known is None:
            return resolver.look_up(self._address, lambda answer: told(answer.host, answer.code))
        told(known.host, known.code)
        return lambda: None

    def _resolved(self, host: Hostent | None, code: int) -> None:
        self._cancel = None
        proceed(self._show(host or None, code))

    def _answer(self, host: Hostent) -> None:
        if host.name:
            self._finish(FoundName(host.name))
        else:
            self._fail(HRESULT_FROM_WIN32(WSANO_DATA), f"{self._address} has no name")

    def _fail(self, result: int, reason: str, action: Action = Action.Failed) -> None:
        self._finish(FoundName("", result, reason, action))

    def _refuse(self, refusal: Refusal) -> None:
        self._fail(refusal.result, refusal.reason, Action.Denied)
