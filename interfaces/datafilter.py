"""The data filter: the object that stands in the stream of one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import UNIQUE, IUnknown
from fwx.interfaces.hresult import HRESULT

if TYPE_CHECKING:
    from fwx.interfaces.connection import IFWXConnection
    from fwx.interfaces.sockets import IFWXSocket


class IFWXDataFilter(IUnknown):
    """Moves the data of one connection between an internal and an external socket (B3.3). Implemented by a filter.

    Attached by ``IFWXConnection.AttachDataFilter`` (B1.24), or made by a class factory (``SetDataFilterFactory``,
    B1.28). Without any data filter the service moves the data itself, which is cheaper (B3.1). It receives and sends by
    itself on the two sockets; the completions come to an :class:`IFWXIOCompletion` of its own.
    """

    taggedValue("iid", UUID("0CF075BA-A8F6-11D0-A7F1-0000F8750B21"))

    def SetSockets(
        piInternalSocket: IFWXSocket,
        pIExternalSocket: IFWXSocket | None,
        piConnection: IFWXConnection,
        punkFilterContext: Annotated[IUnknown | None, UNIQUE],
    ) -> HRESULT | None:
        """Take the sockets and begin to move data. Called by the service once, when the connection is there (B1.25).

        The connection's external names can be asked for from here on.

        :param piInternalSocket: towards the client; as a rule the first ``Recv`` is posted on both (B3.4).
        :param pIExternalSocket: towards the server; ``None`` for a filter that emulates the connection (B3.6).
        :param piConnection: the connection.
        :param punkFilterContext: what was given to ``AttachDataFilter`` or ``SetDataFilterFactory``; ``None`` when that
            was (B1.26).
        :returns: ``None`` or ``S_OK``.
        :raises COMError: ``E_OUTOFMEMORY``: the connection ends (B1.27). Not specified for other failures, raised or
            returned: here they end it too, are reported as the filter's fault, and ``on_error`` does not save it.
        """

    def Detach() -> HRESULT | None:
        """Release both sockets and the connection. Called by the service when the connection has ended (B1.29), after
        everything pending has completed (B3.31), or before any ``SetSockets`` to clean up after a failure (B1.30).

        The order against ``FilterShutdown`` is not defined (B1.41). The SDK lets it race with completions (B1.32); here
        it comes on the loop thread, after the last of them, and the sockets answer ``FWX_E_TERMINATING`` from then on.

        :returns: ``None`` or ``S_OK``, whatever happened (B1.31).
        :raises COMError: never documented; a failure, raised or returned, is reported as the filter's fault.
        """


class IFWXSlowDataFilter(IUnknown):
    """Asked before a connection ends whether data is still on its way. Optional, on the data filter object; implemented
    by a filter. Without it the connection ends at once (B1.38).

    The case for it: a client's program ends its use of Winsock, which closes the whole session (B1.37). The service
    looks by ``QueryInterface`` on the data filter. This version asks when it is about to end a connection of which one
    side has gone and on which nothing has moved for a while, again after each such while, twenty times at most.
    """

    taggedValue("iid", UUID("1B2E64E0-FBD4-11D2-ACD4-00A0C9D7559D"))

    def OkToTerminate() -> HRESULT | None:
        """Tell whether all data has been dealt with. Called by the service, again and again while the answer is no; how
        often and for how long is not specified.

        :returns: ``S_OK`` (or ``None``), end it; ``S_FALSE``, not yet. The filter allows for a network time-out of its
            own and says ``S_OK`` in the end.
        :raises COMError: never documented; a failure, raised or returned, lets the connection end.
        """
