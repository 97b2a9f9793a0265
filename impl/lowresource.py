"""IFWXLowResourceRecoverer: what filters could not do for want of resources, tried again (B11.10 to B11.12)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zope.interface import implementer

from fwx.impl.argument import whole
from fwx.impl.boundary import attempt
from fwx.impl.course import proceed
from fwx.impl.fault import describe
from fwx.impl.loopthread import on_loop
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXLowResourceRecoverer, IFWXLowResourceRecoveryOperation
from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, FWX_E_TERMINATING, COMError

if TYPE_CHECKING:
    from fwx.impl.deadline import Timer
    from fwx.impl.engine import Engine
    from fwx.impl.strand import Strand

logger = logging.getLogger("fwx.lowresource")

FIRST_SECONDS = 0.1
"""The pause after the first ``Recover`` that fails; each one is twice as long as the one before."""

LONGEST_SECONDS = 30.0
"""The longest pause between two calls of ``Recover``."""


class _Operation:
    """One registration.

    :ivar is_wanted: a failure has been signalled and has not been recovered from.
    :ivar is_queued: its turn comes. :ivar is_signalled: it failed again while it was asked.
    """

    __slots__ = ("is_queued", "is_signalled", "is_wanted", "pause", "strand", "target", "timer", "user_data")

    def __init__(self, target: IFWXLowResourceRecoveryOperation, user_data: int, strand: Strand | None) -> None:
        """:param strand: where a blocking filter is asked."""
        self.target = target
        self.strand = strand
        self.user_data = user_data
        self.is_wanted = self.is_queued = self.is_signalled = False
        self.pause = FIRST_SECONDS
        self.timer: Timer | None = None

    def stop(self) -> None:
        self.is_wanted = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


@implementer(IFWXLowResourceRecoverer)
class FWXLowResourceRecoverer(Unknown):
    """The one recoverer of a service. ``Recover`` is called on the loop thread.

    While the service itself runs short (:meth:`ran_short`) it asks no filter: that could only fail, and would take what
    is freed. When it has what it needs (:meth:`has_enough`) all that wait are asked at once.
    """

    __slots__ = ("_cookies", "_engine", "_is_closed", "_operations", "_short")

    # Nothing of the outside hangs on the count.
    _can_return = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._operations: dict[int, _Operation] = {}
        self._cookies = 0
        # Who has told that it runs short.
        self._short: set[object] = set()
        self._is_closed = False

    def RegisterForLowResourceRecovery(
        self, pIFWXLowResourceRecoveryOperation: IFWXLowResourceRecoveryOperation, UserData: int
    ) -> int:
        """Register an operation and return the cookie of this registration, which no other one has.

        :raises COMError: ``E_POINTER`` no operation; ``E_INVALIDARG`` something else, or *UserData* is no DWORD;
            ``FWX_E_TERMINATING`` the service stops.
        """
        target = pIFWXLowResourceRecoveryOperation
        if target is None:
            raise COMError(E_POINTER, "an operation is needed")
        if not IFWXLowResourceRecoveryOperation.providedBy(target):
            given = type(target).__name__
            raise COMError(E_INVALIDARG, f"an IFWXLowResourceRecoveryOperation is needed, not {given}")
        operation = _Operation(target, whole(UserData, "UserData"), self._engine.strands.current)
        return on_loop(self._engine.queue, self._register, operation)

    def UnregisterFromLowResourceRecovery(self, dwCookie: int) -> None:
        """End a registration; its ``Recover`` is not called again.

        :raises COMError: ``E_INVALIDARG`` there is no such registration.
        """
        on_loop(self._engine.queue, self._unregister, whole(dwCookie, "dwCookie"))

    def SignalLowResourceFailure(self, hCookie: int) -> None:
        """Have ``Recover`` called, not inside this call, and again until it succeeds. A second signal meanwhile changes
        nothing.

        :raises COMError: ``E_INVALIDARG`` there is no such registration.
        """
        on_loop(self._engine.queue, self._signal, whole(hCookie, "hCookie"))

    # The service's side, on the loop thread.

    def ran_short(self, who: object = None) -> None:
        """Take notice that the service lacks descriptors or memory; called by what has met it, as often as it does."""
        if not self._short:
            logger.warning("resources are short, %d operations of filters wait for them", self._waiting())
        self._short.add(who)

    def has_enough(self, who: object = None) -> None:
        """Take notice that *who* met the shortage has what it needs again; nobody is asked while another has not."""
        if who not in self._short:
            return
        self._short.discard(who)
        if self._short:
            return
        for cookie, operation in list(self._operations.items()):
            if operation.is_wanted:
                operation.stop()
                operation.pause = FIRST_SECONDS
                self._want(cookie, operation)

    def close(self) -> None:
        """Ask nobody any more; called when the service stops, twice does nothing."""
        self._is_closed = True
        operations, self._operations = self._operations, {}
        for operation in operations.values():
            operation.stop()

    def _waiting(self) -> int:
        return sum(operation.is_wanted for operation in self._operations.values())

    def _register(self, operation: _Operation) -> int:
        if self._is_closed:
            raise COMError(FWX_E_TERMINATING, "the service stops")
        self._cookies += 1
        self._operations[self._cookies] = operation
        return self._cookies

    def _find(self, cookie: int) -> _Operation:
        found = self._operations.get(cookie)
        if found is None:
            raise COMError(E_INVALIDARG, f"there is no registration {cookie}")
        return found

    def _unregister(self, cookie: int) -> None:
        self._find(cookie).stop()
        del self._operations[cookie]

    def _signal(self, cookie: int) -> None:
        operation = self._find(cookie)
        operation.is_signalled = True
        if not operation.is_wanted:
            operation.pause = FIRST_SECONDS
            self._want(cookie, operation)

    def _want(self, cookie: int, operation: _Operation) -> None:
        operation.is_wanted = True
        if not operation.is_queued:
            operation.is_queued = True
            self._engine.queue.post(self._recover, cookie, operation)

    def _recover(self, cookie: int, operation: _Operation) -> None:
        proceed(self._ask(cookie, operation))

    async def _ask(self, cookie: int, operation: _Operation) -> None:
        operation.timer = None
        operation.is_queued = False
        if self._operations.get(cookie) is not operation or not operation.is_wanted:
            return
        if self._short:
            reason = "resources are short"
        else:
            operation.is_signalled = False
            if operation.strand is not None:
                _, error = await operation.strand.ask(operation.target, "Recover", operation.user_data)
            else:
                _, error = attempt(operation.target, "Recover", operation.user_data)
            if error is None and not operation.is_signalled:
                operation.is_wanted = False
                return
            reason = "signalled again" if error is None else describe(error)
            if error is not None and not isinstance(error, COMError | MemoryError | OSError):
                self._engine.faults.report(type(operation.target).__name__, "Recover", error)
        if not operation.is_wanted:
            return  # it has ended its registration, or the service has stopped
        logger.info("Recover of %s, again in %g s: %s", type(operation.target).__name__, operation.pause, reason)
        operation.timer = self._engine.call_later(operation.pause, lambda: self._recover(cookie, operation))
        operation.pause = min(operation.pause * 2, LONGEST_SECONDS)
