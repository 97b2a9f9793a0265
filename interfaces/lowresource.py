"""Help after a lack of resources."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import DWORD, UNMARKED, IUnknown, Out
from fwx.interfaces.hresult import HRESULT


class IFWXLowResourceRecoveryOperation(IUnknown):
    """What failed for want of resources and can be tried again. Implemented by a filter."""

    taggedValue("iid", UUID("76FE2997-7913-4C57-B23B-9A0ECA05A54E"))

    def Recover(UserData: Annotated[DWORD, UNMARKED]) -> HRESULT | None:
        """Try again. Called by the service after ``SignalLowResourceFailure`` (B11.11), repeatedly while it fails.
        Interval and end are not documented; this implementation waits longer each time and stops at ``S_OK`` (B11.12).

        :param UserData: what was given at the registration.
        :returns: ``None`` or ``S_OK``, done.
        :raises COMError: any failure, raised or returned: not yet.
        """


class IFWXLowResourceRecoverer(IUnknown):
    """Registers what to try again after a lack of resources (B11.10). Had by ``IFWXFirewall2.GetLowResourceRecoverer``;
    implemented by the service.
    """

    taggedValue("iid", UUID("1220422A-60B5-42CC-997D-DECB2DC357C6"))

    def RegisterForLowResourceRecovery(
        pIFWXLowResourceRecoveryOperation: IFWXLowResourceRecoveryOperation, UserData: DWORD
    ) -> Annotated[DWORD, Out("Cookie")]:
        """Register an operation. Called by a filter before it may signal a failure (B11.10).

        :param pIFWXLowResourceRecoveryOperation: the operation; kept until the registration ends.
        :param UserData: handed to its ``Recover``.
        :returns: *Cookie*, which tells this registration from others and is what the other two methods take.
        :raises COMError: the SDK names no code; here ``E_POINTER``, no operation; ``E_INVALIDARG``, something else;
            ``FWX_E_TERMINATING``, the service stops.
        """

    def UnregisterFromLowResourceRecovery(dwCookie: DWORD) -> None:
        """End a registration (B11.11). Called by the filter that made it. ``Recover`` is not called again.

        :param dwCookie: from ``RegisterForLowResourceRecovery``.
        :raises COMError: not specified; here ``E_INVALIDARG``, there is no such registration.
        """

    def SignalLowResourceFailure(hCookie: DWORD) -> None:
        """Say that the registered operation failed for want of resources (B11.11). Called by the filter, which judges
        by itself that it was so. ``Recover`` follows, not inside this call; while the service itself lacks descriptors
        it waits for them first. A signal while ``Recover`` is due already changes nothing.

        :param hCookie: from ``RegisterForLowResourceRecovery``.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, there is no such registration.
        """
