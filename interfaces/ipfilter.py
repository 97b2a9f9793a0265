"""A set of addresses for which a socket or a connection may work."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import IN_ADDR, IUnknown, Out
from fwx.interfaces.hresult import HRESULT


class IFWXIpFilter(IUnknown):
    """A set of IPv4 ranges (B6.31). Made by ``IFWXFirewall.CreateIpFilter``; implemented by the service.

    It only describes: sockets and connections take a copy, a source outside it is rejected with
    ``FWX_E_ADDRESS_NOT_ALLOWED`` (B6.34). Give one to every secondary and emulated connection (B6.32). Where one is
    asked for, ``None`` means everyone and an empty one means nobody (B6.33).

    The SDK leaves open how a new set begins and what a range holds; a new one is empty here, and both ends of a range
    belong to it.
    """

    taggedValue("iid", UUID("CE53B05B-F152-4DDC-B6C7-486D7556633F"))

    def IncludeRange(IP_From: IN_ADDR, IP_To: IN_ADDR) -> None:
        """Add a range. Called by the filter that made the set.

        :param IP_From: its lowest address.
        :param IP_To: its highest address.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, the highest is below the lowest, or not an IPv4
            address.
        """

    def ExcludeRange(IP_From: IN_ADDR, IP_To: IN_ADDR) -> None:
        """Take a range out. Called by the filter that made the set. What is not in the set stays out of it, without
        error.

        :param IP_From: its lowest address.
        :param IP_To: its highest address.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, the highest is below the lowest, or not an IPv4
            address.
        """

    def IncludeFilter(pIpFilter: IFWXIpFilter) -> None:
        """Add all ranges of another set. Called by the filter that made this one.

        :param pIpFilter: the other set, which stays as it is.
        :raises COMError: the SDK names no code; here ``E_POINTER``, there is no other set;
            ``E_INVALIDARG``, it is none of the service's.
        """

    def ExcludeFilter(pIpFilter: IFWXIpFilter) -> None:
        """Take all ranges of another set out. Called by the filter that made this one.

        :param pIpFilter: the other set, which stays as it is.
        :raises COMError: the SDK names no code; here ``E_POINTER``, there is no other set;
            ``E_INVALIDARG``, it is none of the service's.
        """

    def IsIncluded(IP: IN_ADDR) -> HRESULT:
        """Tell whether an address belongs to the set. Called by any holder, at any time; the answer changes no
        connection.

        :param IP: the address.
        :returns: ``S_OK``, it does; ``S_FALSE``, it does not. Both are successes: compare, never test for truth.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, not an IPv4 address.
        """

    def Compare(pIpFilter: IFWXIpFilter) -> HRESULT:
        """Tell whether another set holds the same addresses. Called by any holder, at any time.

        :param pIpFilter: the other set.
        :returns: ``S_OK``, the same; ``S_FALSE``, different. Both are successes: compare, never test for truth.
        :raises COMError: the SDK names no code; here ``E_POINTER``, there is no other set;
            ``E_INVALIDARG``, it is none of the service's.
        """

    def Clone() -> Annotated[IFWXIpFilter, Out("ppIpFilter")]:
        """Return a copy with a life of its own. Called by any holder, at any time.

        :returns: *ppIpFilter*, a new object with the same ranges.
        :raises COMError: the SDK names no code; here ``E_OUTOFMEMORY``.
        """
