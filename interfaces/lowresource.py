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
        """Try again. Called by the service after ``SignalLowResourceFailure`` (B11.11), repeatedly while it fails
        (B11.12).

        :param UserData: what was given at the registration.
        :returns: ``None`` or ``S_OK``, done; a failure, not yet.
        """


class IFWXLowResourceRecoverer(IUnknown):
    """Registers what to try again after a lack of resources (B11.10). Implemented by the service."""

    taggedValue("iid", UUID("1220422A-60B5-42CC-997D-DECB2DC357C6"))

    def RegisterForLowResourceRecovery(
        pIFWXLowResourceRecoveryOperation: IFWXLowResourceRecoveryOperation, UserData: DWORD
    ) -> Annotated[DWORD, Out("Cookie")]:
        """Register an operation.

        :param pIFWXLowResourceRecoveryOperation: the operation.
        :param UserData: handed to its ``Recover``.
        :returns: *Cookie*, which tells this registration from others.
        :raises COMError: ``E_POINTER``, no operation.
        """

    def UnregisterFromLowResourceRecovery(dwCookie: DWORD) -> None:
        """End a registration.

        :param dwCookie: from ``RegisterForLowResourceRecovery``.
        :raises COMError: ``E_INVALIDARG``, there is no such registration.
        """

    def SignalLowResourceFailure(hCookie: DWORD) -> None:
        """Say that the registered operation failed for want of resources. The filter judges by itself that it was so.

        :param hCookie: from ``RegisterForLowResourceRecovery``.
        :raises COMError: ``E_INVALIDARG``, there is no such registration.
        """
