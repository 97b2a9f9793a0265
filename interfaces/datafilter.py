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
    """Moves the data of one connection between an internal and an external socket. Implemented by a filter.

    Attached by ``IFWXConnection.AttachDataFilter``, or made by a class factory (``SetDataFilterFactory``). Without any
    data filter the service moves the data itself, which is cheaper (B3.1).
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

        :param piInternalSocket: towards the client.
        :param pIExternalSocket: towards the server; ``None`` for a filter that emulates the connection (B3.6).
        :param piConnection: the connection.
        :param punkFilterContext: what was given to ``AttachDataFilter`` or ``SetDataFilterFactory`` (B1.26).
        :returns: ``None`` or ``S_OK``; a failure, returned or raised, ends the connection (``E_OUTOFMEMORY`` is the one
            that the SDK names, B1.27).
        """

    def Detach() -> HRESULT | None:
        """Release both sockets and the connection. Called by the service when the connection has ended (B1.29), after
        everything pending has completed, or before any ``SetSockets`` to clean up after a failure (B1.30).

        The order against ``FilterShutdown`` is not defined (B1.41).

        :returns: ``None`` or ``S_OK``, whatever happened (B1.31).
        """


class IFWXSlowDataFilter(IUnknown):
    """Asked before a connection ends whether data is still on its way. Optional, on the data filter object; implemented
    by a filter. Without it the connection ends at once (B1.38).
    """

    taggedValue("iid", UUID("1B2E64E0-FBD4-11D2-ACD4-00A0C9D7559D"))

    def OkToTerminate() -> HRESULT | None:
        """Tell whether all data has been dealt with. Called by the service, again and again while the answer is no.

        :returns: ``S_OK`` (or ``None``), end it; ``S_FALSE``, not yet. The filter allows for a network time-out of
            its own and says ``S_OK`` in the end.
        """
