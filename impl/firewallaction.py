"""IFWXFirewallAction: what a filter has asked for in advance, as a thing that can be cancelled (B2.43, B6.11)."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXFirewallAction
from fwx.interfaces.hresult import FWX_E_TERMINATING, COMError


@implementer(IFWXFirewallAction)
class FWXFirewallAction(Unknown):
    """The filter's hold on what it asked for. Letting go of it changes nothing (B6.11)."""

    __slots__ = ("_withdraw",)

    def __init__(self, withdraw: Callable[[], bool]) -> None:
        """*withdraw* ends what was asked for, and tells whether it had not ended before; from any thread."""
        self._withdraw = withdraw

    def Cancel(self) -> None:
        """Withdraw what was asked for; what has come of it already goes on.

        :raises COMError: ``FWX_E_TERMINATING`` it was cancelled before, or has been used up, has lapsed, or has ended
            with its session.
        """
        if not self._withdraw():
            raise COMError(FWX_E_TERMINATING, "it has been cancelled, used up, or has lapsed")
