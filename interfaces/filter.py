"""The filter, the session filter, and the filter that is told of policy changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import Idl, IUnknown, Out
from fwx.interfaces.hresult import HRESULT

if TYPE_CHECKING:
    from fwx.interfaces.firewall import IFWXFirewall
    from fwx.interfaces.session import IFWXSession
    from fwx.interfaces.structs import FwxFilterHookEvents, FwxFirewallEvent


class IFWXFilter(IUnknown):
    """The filter itself: one object for each filter that is installed and enabled, for one run of the service (B1.3,
    B1.4). Implemented by a filter.
    """

    taggedValue("iid", UUID("FC5F4665-0110-40F9-8188-5A62A29462DE"))

    def FilterInit(
        pIFWXFirewall: IFWXFirewall,
    ) -> Annotated[FwxFilterHookEvents, Out("pFilterHookEvents", "FwxFilterHookEvents*")]:
        """Get ready, and say which events to be told of. Called by the service once, after it has made the object
        (B1.6).

        Configuration, global objects and listening sockets belong here (B1.9). When the method returns, traffic comes:
        nothing may be left to finish later (B1.10). A filter that cannot get ready is best to ask for no event rather
        than to fail (B1.11). Ask for as little as possible (B2.6). ``fwx_ConnectionTerminating`` attaches nobody and
        has no use here (B2.30); ``fwx_EstablishedConnection`` cannot be asked for (B2.32).

        :param pIFWXFirewall: the service's functions that belong to no session; keep it.
        :returns: *pFilterHookEvents*, its mask an OR of event types, sources and protocol sources (B1.7, B1.8).
        :raises COMError: the SDK wants ``S_OK`` always (B1.11). Here a failure, raised or returned, makes the filter
            *failed*: an alert is raised, and the connections that name it are denied with
            ``FWX_E_FILTER_NOT_REGISTERED`` unless its configuration says ``on_error = "open"`` (B1.12).
        """

    def FilterShutdown() -> HRESULT | None:
        """Finish. Called by the service once, when it stops (B1.39).

        Work on threads of the filter's own is done before this returns (B1.43). A session filter's or data filter's
        ``Detach`` may come before or after (B1.41); then the service lets go of all the filter's objects (B1.40).

        :returns: ``None`` or ``S_OK``; the filter deals with its errors itself.
        :raises COMError: never documented; a failure, raised or returned, is reported as the filter's fault.
        """

    def AttachToSession(
        piSession: IFWXSession,
        pFilterHookEvents: Annotated[FwxFilterHookEvents, Idl("PFwxFilterHookEvents", direction="inout")],
    ) -> Annotated[IFWXSessionFilter, Out("piSessionFilter", before="pFilterHookEvents")]:
        """Make the session filter of one session. Called by the service when an event that the filter asked for happens
        in a session where it has none yet (B1.17), or by ``IFWXSession.AttachFilter`` (B1.23).

        From then on the session's events go to ``IFWXSessionFilter.FirewallEventHandler`` (B1.22).

        :param piSession: the session.
        :param pFilterHookEvents: filled in place with the events that this session filter handles, in this session
            only. Not specified on entry; here it comes with the mask of ``FilterInit``, from which it may differ
            (B1.18, B1.19).
        :returns: *piSessionFilter*, at most one for each session (B1.20). The event that caused the call is its first.
        :raises COMError: ``E_OUTOFMEMORY``: the request that caused the event fails (B1.21). Not specified for other
            failures, raised or returned: here they do the same, unless ``on_error = "open"``; the next event tries
            again. An answer that is no session filter counts as a failure.
        """


class IFWXSessionFilter(IUnknown):
    """Handles the events of one session (B1.14, B1.20). Implemented by a filter."""

    taggedValue("iid", UUID("0CF075B1-A8F6-11D0-A7F1-0000F8750B21"))

    def FirewallEventHandler(
        pProxyEvent: Annotated[FwxFirewallEvent, Idl("const FwxFirewallEvent*", "ref")],
    ) -> HRESULT | None:
        """Handle one event, by its ``EventType``. Called by the service for every event in the mask (B2.5).

        Here a data filter is attached, a connection emulated or denied (B2.14). The network connection does not exist
        yet: ``GetExternalSocketName`` and ``GetExternalPeerName`` are not for use here.

        :param pProxyEvent: the event; valid during the call.
        :returns: ``None`` or ``S_OK``, handled. A *returned* ``E_NOTIMPL``, not handled: the event passes (B2.38).
        :raises COMError: ``E_OUTOFMEMORY``: the request that raised the event fails, its ``fwx_ConnectionTerminating``
            still comes (B2.38). Not specified for other failures, raised or returned (B2.39): here they do the same,
            unless ``on_error = "open"``, and what the handler attached is detached again. A raised ``E_NOTIMPL`` is a
            failure.
        """

    def Detach() -> HRESULT | None:
        """Release everything held of the session. Called by the service once, when the session ends (B1.33).

        The order against ``FilterShutdown`` is not defined: it may come after that (B1.41). An event after this is
        answered ``FWX_E_TERMINATING`` (B1.34).

        :returns: ``None`` or ``S_OK``.
        :raises COMError: ``E_FAIL`` or any other failure, raised or returned: an alert is raised.
        """


class IFWXPolicyChangeNotification(IUnknown):
    """Told that a changed configuration has been put into effect. Optional, on the filter object; implemented by a
    filter (B7.15).
    """

    taggedValue("iid", UUID("74465D64-6A2E-486E-A1CE-A7F2140868B4"))

    def ReloadConfiguration() -> HRESULT | None:
        """Read the filter's configuration again. Called by the service after it has reloaded itself, filter by filter,
        never at the same time as this filter's ``FilterInit`` or ``FilterShutdown`` (B7.15). Here it comes after each
        change that is applied, whatever that is about; new data of the rules has been made before (B7.12).

        The documented sample loads its policy for the first time in ``FilterInit`` (B7.16).

        :returns: ``None`` or ``S_OK``, the configuration is in use.
        :raises COMError: any Windows error as an HRESULT: a part could not be read. It is shown to whoever applied the
            change; the details are for the filter to log.
        """
