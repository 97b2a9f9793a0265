"""The class factory of COM, by which the service makes data filters."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import BOOL, Idl, IUnknown, Out, T
from fwx.interfaces.hresult import HRESULT


class IClassFactory(IUnknown):
    """The class factory of COM. Implemented by a filter for ``IFWXSession.SetDataFilterFactory`` (B1.28)."""

    taggedValue("iid", UUID("00000001-0000-0000-C000-000000000046"))

    def CreateInstance(
        pUnkOuter: IUnknown | None,
        riid: Annotated[type[T] | UUID, Idl("REFIID")],
    ) -> Annotated[T, Out("ppvObject", "void**")]:
        """Make one object. Called by the service when the event comes (B1.28).

        :param pUnkOuter: ``None``; aggregation is not used.
        :param riid: the interface wanted, or its IID; the service asks for ``IFWXDataFilter``.
        :returns: *ppvObject*; on the COM face it carries a reference, and is NULL on failure.
        :raises COMError: ``CLASS_E_NOAGGREGATION``, *pUnkOuter* is given; ``E_NOINTERFACE``, the objects lack *riid*;
            ``E_OUTOFMEMORY``.
        """

    def LockServer(fLock: BOOL) -> HRESULT | None:
        """Keep the server of the class loaded, or let it go. Called by the service in COM; it has no effect on Python
        objects.

        :param fLock: true counts up, false counts down.
        :returns: ``None`` or ``S_OK``.
        :raises COMError: not specified; nothing depends on it here.
        """
