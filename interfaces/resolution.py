"""The name look-up of a client, which a filter can answer or refuse."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import DWORD, LPHOSTENT, UNMARKED, IUnknown


class IFWXGetXByY(IUnknown):
    """A Firewall client's look-up of a name or an address; comes in ``piGetXByY`` of the two events. Implemented by the
    service, for use inside ``FirewallEventHandler`` only. Each look-up raises two events, before and after (B2.26).
    """

    taggedValue("iid", UUID("56A7AD70-0C21-11D3-ACD7-00A0C9D7559D"))

    def Deny(Reserved: Annotated[DWORD, UNMARKED]) -> None:
        """Refuse the look-up; the client is told that there is no such host (B2.28).

        :param Reserved: 0.
        :raises COMError: ``E_INVALIDARG``, *Reserved* is not 0.
        """

    def SetResult(Hostent: Annotated[LPHOSTENT, UNMARKED]) -> None:
        """Give the client this answer in the place of the true one (B2.28).

        :param Hostent: the answer.
        :raises COMError: ``FWX_E_TERMINATING``, the look-up is over.
        """
