"""IFWXGetXByY: a client's look-up in the hands of the filters."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import Hostent as Host
from fwx.interfaces import IFWXGetXByY
from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, FWX_E_BAD_CONTEXT, FWX_E_TERMINATING, COMError


@implementer(IFWXGetXByY)
class FWXGetXByY(Unknown):
    """One look-up, before or after the resolution (B2.26). It is of use inside the handler of its event.

    :ivar answer: what the client is going to be told; ``None`` where nobody has set it. :ivar denied: a filter refuses.
    """

    __slots__ = ("_by_name", "_valid", "answer", "denied")

    def __init__(self, by_name: bool, answer: Host | None) -> None:
        """*by_name*: addresses are looked for, else the name of one. *answer* is what is known already."""
        self._by_name = by_name
        self._valid = True
        self.answer = answer
        self.denied = False

    def Deny(self, Reserved: int) -> None:
        """Refuse the look-up: to the client there is no such host (B2.28).

        :raises COMError: ``E_INVALIDARG`` *Reserved* is not 0; ``FWX_E_BAD_CONTEXT`` outside the handler of its event.
        """
        if Reserved != 0:
            raise COMError(E_INVALIDARG, "Reserved must be 0")
        if not self._valid:
            raise COMError(FWX_E_BAD_CONTEXT, "Deny is for the handler of fwx_GetHostByName or fwx_GetHostByAddr")
        self.denied = True

    def SetResult(self, Hostent: Host) -> None:
        """Give the client this answer instead (B2.28); before the resolution there is none then.

        :raises COMError: ``E_POINTER`` no answer; ``E_INVALIDARG`` something else than a ``Hostent``, or one without
            what is looked for: an address, or the name; ``FWX_E_TERMINATING`` outside the handler of its event.
        """
        if not self._valid:
            raise COMError(FWX_E_TERMINATING, "the look-up is over")
        if Hostent is None:
            raise COMError(E_POINTER, "SetResult needs an answer")
        if not isinstance(Hostent, Host):
            raise COMError(E_INVALIDARG, f"SetResult takes a Hostent, not {type(Hostent).__name__}")
        if not all(isinstance(address, IPv4Address | IPv6Address) for address in Hostent.addresses):
            raise COMError(E_INVALIDARG, "the addresses of a Hostent are IPv4Address and IPv6Address objects")
        if not (Hostent.addresses if self._by_name else Hostent.name):
            raise COMError(E_INVALIDARG, "the answer has no address" if self._by_name else "the answer has no name")
        self.answer = Hostent

    def invalidate(self) -> None:
        """The event is over."""
        self._valid = False
