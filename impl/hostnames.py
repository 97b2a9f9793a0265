"""Looking up names and addresses for a filter: the firewall's own way, or under a session's policy and log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from queue import Empty
from typing import TYPE_CHECKING, Any, Final

from zope.interface import Interface, implementer

from fwx.impl.boundary import attempt
from fwx.impl.engine import Answer
from fwx.impl.lookuprecord import record_of
from fwx.impl.lookups import MOST_LOOK_UPS
from fwx.impl.question import address_object, address_question, literal, name_question
from fwx.interfaces import Hostent
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_DNS_QUOTA_EXCEEDED,
    FWX_E_TERMINATING,
    HRESULT,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAHOST_NOT_FOUND,
    WSATRY_AGAIN,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from fwx.impl.deadline import Deadline
    from fwx.impl.engine import Engine, Question
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.impl.strand import Strand

# What a call on another thread grants the loop beyond the deadline of the look-up itself.
_GRACE_SECONDS: Final = 1.0

Told = Callable[["Hostent | None", HRESULT], object]


class IHostNames(Interface):
    """Look-ups that tell when they have ended, so that nobody asks again and again.

    ``IHostNames(piSession)`` obeys that session's policy and writes its log, ``IHostNames(pIFWXFirewall)`` does
    neither: as ``GetHostByName`` and ``GetHostByAddr`` of the same object. Any thread may call.
    """

    def look_up(name: str, done: Told) -> Callable[[], None]:
        """Look up a name; *done* is called with the ``Hostent`` and ``S_OK``, or with ``None`` and the failure.

        *done* is called once, on the loop thread, of a blocking filter behind its other calls; never inside this call.

        :returns: what cancels the look-up: *done* is then not called, unless it has been.
        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` for bad arguments; ``WSAHOST_NOT_FOUND`` for a name that
            nobody can have; ``FWX_E_TERMINATING`` after the end of the owner. *done* is not called then.
        """

    def look_up_address(address: IPv4Address | IPv6Address, done: Told) -> Callable[[], None]:
        """Look up the name of an address; otherwise as :meth:`look_up`."""


class _LookUp:
    """One look-up on its way. *done* is who waits for it; ``None`` where the filter will ask again."""

    __slots__ = ("cancel", "deadline", "done", "polled", "question", "started", "strand", "verdict")

    def __init__(self, question: Question, done: Told | None, started: float) -> None:
        # Where a blocking filter is told.
        self.strand: Strand | None = None
        self.question = question
        self.done = done
        self.polled = done is None
        self.started = started
        self.verdict: Verdict | None = None
        self.deadline: Deadline | None = None
        self.cancel: Callable[[], None] | None = None


@implementer(IHostNames)
class HostNames:
    """The look-ups of one session, or with no session the firewall's own, under no policy and in no log."""

    __slots__ = ("_closed", "_engine", "_pending", "_polled", "_session")

    def __init__(self, engine: Engine, session: FWXSession | None = None) -> None:
        self._engine = engine
        self._session = session
        self._pending: set[_LookUp] = set()
        self._polled: dict[Question, _LookUp] = {}
        self._closed = False

    @property
    def pending(self) -> int:
        """How many look-ups are under way."""
        return len(self._pending)

    def by_name(self, name: Any) -> Hostent:
        """Do ``GetHostByName``: answer, on the loop thread at once and elsewhere in the end, or raise."""
        return self._answer(name_question(name))

    def by_address(self, addr: Any, length: Any, family: Any) -> Hostent:
        """Do ``GetHostByAddr``, as :meth:`by_name`."""
        return self._answer(address_question(addr, length, family))

    def look_up(self, name: str, done: Told) -> Callable[[], None]:
        return self._ask(name_question(name), done)

    def look_up_address(self, address: IPv4Address | IPv6Address, done: Told) -> Callable[[], None]:
        return self._ask(address_object(address), done)

    def close(self) -> None:
        """End every look-up with ``FWX_E_TERMINATING``: the session ends, or the service."""
        self._closed = True
        for pending in list(self._pending):
            self._abandon(pending)
            self._tell(pending, None, FWX_E_TERMINATING, "its owner ended")

    # Asking.

    def _answer(self, question: Question) -> Hostent:
        if threading.get_ident() != self._engine.queue.thread:
            return self._wait(question)
        verdict = self._permit(question)
        answer = self._known(question)
        if answer is None:
            if question not in self._polled:
                self._polled[question] = self._start(self._new(question, None), verdict)
            raise winsock_error(WSATRY_AGAIN, f"{question} is being looked up; ask again")
        if answer.host is None:
            self._log(question, verdict, None, HRESULT_FROM_WIN32(answer.code), "not found")
            raise winsock_error(answer.code, f"{question} was not found")
        self._log(question, verdict, answer.host, S_OK)
        return answer.host

    def _wait(self, question: Question) -> Hostent:
        """Block this thread, which is not the loop's, until there is an answer or a deadline has passed."""
        cancel: Callable[[], None] = _nothing

        def begin(tell: Callable[[tuple[Hostent | None, HRESULT]], None]) -> None:
            nonlocal cancel
            cancel = self._ask(question, lambda host, result: tell((host, result)), on_strand=False)

        try:
            host, result = self._engine.blocking.wait(begin, self._engine.connect_deadlines.seconds + _GRACE_SECONDS)
        except Empty:
            cancel()
            raise winsock_error(WSATRY_AGAIN, f"{question} was not looked up in time") from None
        if host is None:
            raise COMError(result, f"{question} was not found")
        return host

    def _ask(self, question: Question, done: Told, *, on_strand: bool = True) -> Callable[[], None]:
        if not callable(done):
            raise COMError(E_POINTER if done is None else E_INVALIDARG, "done is called with the answer")
        self._require_open()
        look_up, queue = self._new(question, done), self._engine.queue
        look_up.strand = self._engine.strands.current if on_strand else None
        queue.call(self._begin, look_up)
        return partial(self._cancel, look_up)

    def _begin(self, look_up: _LookUp) -> None:
        if look_up.done is None:
            return
        try:
            look_up.verdict = self._permit(look_up.question)
            answer = self._known(look_up.question)
            if answer is None:
                self._start(look_up, look_up.verdict)
            else:
                self._end(look_up, answer)
        except COMError as error:
            self._engine.queue.post(self._deliver, look_up, None, error.hresult)

    def _permit(self, question: Question) -> Verdict | None:
        """Ask the session's policy. What it refuses seems not to exist."""
        self._require_open()
        if self._session is None:
            return None
        verdict = self._engine.policy.judge_look_up(self._session.address.host, str(question), self._session.who)
        if not verdict.allowed:
            self._log(question, verdict, None, verdict.hresult, verdict.reason)
            raise winsock_error(WSAHOST_NOT_FOUND, f"{question} was not found")
        return verdict

    def _require_open(self) -> None:
        if self._closed:
            raise COMError(FWX_E_TERMINATING, "the session has ended" if self._session else "the service stops")

    def _known(self, question: Question) -> Answer | None:
        number = literal(question) if isinstance(question, str) else None
        if number is not None:
            return Answer(Hostent(str(question), (), (number,)))
        return self._engine.resolver.known(question)

    # Looking up.

    def _new(self, question: Question, done: Told | None) -> _LookUp:
        return _LookUp(question, done, self._engine.clock())

    def _start(self, look_up: _LookUp, verdict: Verdict | None) -> _LookUp:
        engine, question = self._engine, look_up.question
        if len(self._pending) >= MOST_LOOK_UPS:
            reason = f"{len(self._pending)} look-ups are pending"
            self._log(question, verdict, None, FWX_E_DNS_QUOTA_EXCEEDED, reason)
            raise COMError(FWX_E_DNS_QUOTA_EXCEEDED, reason)
        look_up.verdict = verdict
        look_up.cancel = engine.resolver.look_up(question, partial(self._resolved, look_up))
        look_up.deadline = engine.connect_deadlines.add(partial(self._too_late, look_up))
        self._pending.add(look_up)
        return look_up

    def _resolved(self, look_up: _LookUp, answer: Answer) -> None:
        if look_up in self._pending:
            self._settle(look_up)
            self._end(look_up, answer)

    def _too_late(self, look_up: _LookUp) -> None:
        self._abandon(look_up)
        self._tell(look_up, None, HRESULT_FROM_WIN32(WSATRY_AGAIN), "not answered in time")

    def _end(self, look_up: _LookUp, answer: Answer) -> None:
        if answer.host is not None:
            self._tell(look_up, answer.host, S_OK)
        else:
            self._tell(look_up, None, HRESULT_FROM_WIN32(answer.code), "not found")

    def _settle(self, look_up: _LookUp) -> None:
        self._pending.discard(look_up)
        if look_up.polled:
            self._polled.pop(look_up.question, None)
        if look_up.deadline is not None:
            look_up.deadline.cancel()

    def _abandon(self, look_up: _LookUp) -> None:
        self._settle(look_up)
        if look_up.cancel is not None:
            look_up.cancel()

    def _cancel(self, look_up: _LookUp) -> None:
        look_up.done = None
        self._engine.queue.call(self._drop, look_up)

    def _drop(self, look_up: _LookUp) -> None:
        if look_up in self._pending:
            self._abandon(look_up)

    # Telling.

    def _tell(self, look_up: _LookUp, host: Hostent | None, result: HRESULT, reason: str = "") -> None:
        # The filter that asks again is told, and the log with it, then; but of a failure that nobody remembers, now.
        if look_up.polled and self._known(look_up.question) is not None:
            return
        seconds = self._engine.clock() - look_up.started
        self._log(look_up.question, look_up.verdict, host, result, reason, seconds)
        if look_up.done is not None:
            self._engine.queue.post(self._deliver, look_up, host, result)

    def _deliver(self, look_up: _LookUp, host: Hostent | None, result: HRESULT) -> None:
        done, look_up.done = look_up.done, None
        if done is None:
            return
        if look_up.strand is not None:
            look_up.strand.tell(done, "__call__", (host, result), self._failed)
            return
        _, error = attempt(done, "__call__", host, result)
        if error is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._engine.faults.report("a look-up's owner", "done", error)

    def _log(
        self,
        question: Question,
        verdict: Verdict | None,
        host: Hostent | None,
        result: HRESULT,
        reason: str = "",
        seconds: float = 0.0,
    ) -> None:
        if self._session is not None and verdict is not None and verdict.log:
            self._engine.write_record(record_of(self._session, question, verdict, host, result, reason, seconds))


def _nothing() -> None:
    """There is nothing to cancel."""
