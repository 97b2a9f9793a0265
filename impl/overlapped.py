"""IFWXOverlapped, and the OVERLAPPED structure that a filter passes to ReadFile and WriteFile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXExternalIOCompletion, IFWXOverlapped
from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, COMError

if TYPE_CHECKING:
    from fwx.impl.externalio import ExternalIO, Transfer

STATUS_PENDING = 0x103
"""What ``Internal`` holds while an operation is under way; Windows' number."""


class OVERLAPPED:
    """One operation on a hooked handle, as Windows spells it; ``IFWXOverlapped.GetOverlapped`` makes the only ones.

    ``Offset`` and ``OffsetHigh`` are the filter's to set before an operation: the low and the high half of the place in
    a file where it begins, in bytes; nothing but files looks at them. Both 0xFFFFFFFF mean, for a write, behind what
    the file holds. ``hEvent`` stays ``None``: it is the callback that tells the end. ``Internal`` is 0x103 while the
    operation is under way and its Windows error afterwards, ``InternalHigh`` the number of bytes that were moved; a
    filter may read them and is told the same.
    """

    __slots__ = ("Internal", "InternalHigh", "Offset", "OffsetHigh", "_owner", "hEvent")

    def __init__(self, owner: FWXOverlapped) -> None:
        self.Internal = 0
        self.InternalHigh = 0
        self.Offset = 0
        self.OffsetHigh = 0
        self.hEvent: object = None
        self._owner = owner


@implementer(IFWXOverlapped)
class FWXOverlapped(Unknown):
    """The overlapped object of one operation after another; made by ``IFWXFirewall.CreateOverlapped`` (B5.18).

    :ivar told: the callback for the next operation, and its user data.
    :ivar transfer: the operation that is pending, or ``None``.
    """

    __slots__ = ("external", "structure", "told", "transfer")

    def __init__(self, external: ExternalIO) -> None:
        self.external = external
        self.structure = OVERLAPPED(self)
        self.told: tuple[IFWXExternalIOCompletion, object] | None = None
        self.transfer: Transfer | None = None

    def GetOverlapped(self) -> OVERLAPPED:
        """Return the structure, the same one at every call."""
        return self.structure

    def SetNotificationInterface(self, piExternalIOCompletion: IFWXExternalIOCompletion, UserData: object) -> None:
        """Have *piExternalIOCompletion* told of the end of every operation that begins from now on.

        :raises COMError: ``E_POINTER`` no completion; ``E_INVALIDARG`` something else.
        """
        if piExternalIOCompletion is None:
            raise COMError(E_POINTER, "SetNotificationInterface needs a completion")
        if not IFWXExternalIOCompletion.providedBy(piExternalIOCompletion):
            raise COMError(
                E_INVALIDARG, f"an IFWXExternalIOCompletion is needed, not {type(piExternalIOCompletion).__name__}"
            )
        self.told = piExternalIOCompletion, UserData


def owner_of(structure: object) -> FWXOverlapped:
    """Return the object that *structure* belongs to.

    :raises COMError: ``E_POINTER`` there is none; ``E_INVALIDARG`` it did not come from ``GetOverlapped``.
    """
    if structure is None:
        raise COMError(E_POINTER, "an OVERLAPPED is needed: GetOverlapped of an object from CreateOverlapped gives it")
    owner = structure._owner if type(structure) is OVERLAPPED else None
    if owner is None or owner.structure is not structure:
        raise COMError(E_INVALIDARG, "only an OVERLAPPED from IFWXOverlapped.GetOverlapped can be used")
    return owner
