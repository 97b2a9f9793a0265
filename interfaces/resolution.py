"""The name look-up of a client, which a filter can answer or refuse."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import DWORD, LPHOSTENT, UNMARKED, IUnknown


class IFWXGetXByY(IUnknown):
    """A Firewall client's look-up of a name or an address; comes in ``piGetXByY`` of the two events (B2.25).
    Implemented by the service, for use inside ``FirewallEventHandler`` only. Each look-up raises two events, before and
    after (B2.26).

    Here the look-ups are those of names that clients of the proxy port ask for, where this service resolves them; none
    of the protocols of the port asks for the name of an address.
    """

    taggedValue("iid", UUID("56A7AD70-0C21-11D3-ACD7-00A0C9D7559D"))

    def Deny(Reserved: Annotated[DWORD, UNMARKED]) -> None:
        """Refuse the look-up; the client is told that there is no such host (B2.28). Called inside
        ``FirewallEventHandler`` for ``fwx_GetHostByName`` or ``fwx_GetHostByAddr``.

        :param Reserved: 0.
        :raises COMError: not specified; as with the other ``Deny`` methods ``E_INVALIDARG``, *Reserved* is not 0, and
            ``FWX_E_BAD_CONTEXT``, called at another time.
        """

    def SetResult(Hostent: Annotated[LPHOSTENT, UNMARKED]) -> None:
        """Give the client this answer in the place of the true one (B2.28). Called inside ``FirewallEventHandler`` for
        ``fwx_GetHostByName`` or ``fwx_GetHostByAddr``.

        :param Hostent: the answer; never ``None``.
        :raises COMError: ``FWX_E_TERMINATING``, the look-up is over; here also ``E_POINTER``, no answer.
        """
