"""IFWXFirewallAction: what a filter asked for in advance, until it is used up, cancelled, or out of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXFirewallAction
from fwx.interfaces.hresult import FWX_E_TERMINATING, COMError

if TYPE_CHECKING:
    from fwx.impl.session import FWXSession


@implementer(IFWXFirewallAction)
class FWXFirewallAction(Unknown):
    """A request that stands until it ends, once, whoever ends it. Its session keeps it: a filter that drops it has not
    cancelled it (B6.11).
    """

    __slots__ = ("_session", "_withdraw")

    def __init__(self, session: FWXSession, withdraw: Callable[[], object]) -> None:
        """Made on the loop thread by the method that the filter asked.

        :param withdraw: undoes the request; called once, on the loop thread, when the action ends.
        """
        self._session = session
        # A list, since its pop is one step: two threads never both end an action.
        self._withdraw = [withdraw]
        session.actions.add(self)

    @property
    def _registry(self) -> object:
        return self._session.engine.registry

    @property
    def stands(self) -> bool:
        """Whether it has not ended. Asked before the request is acted upon: another thread may have cancelled it."""
        return bool(self._withdraw)

    def end(self) -> bool:
        """End it for the service: it is used up, its time has run out, or its session ends.

        ``False``: it had ended before. Otherwise the request is withdrawn when this returns; on the loop thread only.
        """
        return self._end()

    def Cancel(self) -> None:
        """Withdraw the request (B2.43); any thread may call, and nothing is done for it from then on.

        :raises COMError: ``FWX_E_TERMINATING`` it has ended: by an earlier call, or by the service.
        """
        if not self._end():
            raise COMError(FWX_E_TERMINATING, "the action has been cancelled before, or is over")

    def _end(self) -> bool:
        try:
            withdraw = self._withdraw.pop()
        except IndexError:
            return False
        self._session.engine.queue.call(self._undo, withdraw)
        return True

    def _undo(self, withdraw: Callable[[], object]) -> None:
        self._session.actions.discard(self)
        withdraw()
