"""The IP filter of a connection: with whom it may deal (B6.31 to B6.34)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.emulation import Emulable
from fwx.impl.ipfilter import require_ip_filter
from fwx.impl.loopthread import on_loop
from fwx.interfaces.hresult import FWX_E_NOT_SUPPORTED, FWX_E_TERMINATING, COMError

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.impl.ipfilter import FWXIpFilter
    from fwx.interfaces import IFWXIpFilter, SocketAddress


class Restrictable(Emulable):
    """The methods of ``IFWXConnection`` that say with whom the connection may deal, and who asks for that."""

    __slots__ = ("_ip_filter",)

    # Of the connection.
    engine: Engine

    _ip_filter: FWXIpFilter | None

    def SetIpFilter(self, pIpFilter: IFWXIpFilter | None) -> None:
        """Have the connection deal with these addresses alone (B6.32), ``None`` lifts that (B6.33). A copy is kept.

        Who is outside is dropped at once (B6.34): a TCP connection to it ends, of a UDP connection the destination.
        Whom an upstream has found by name is outside every filter. From any thread.

        :raises COMError: ``E_INVALIDARG`` it is none of the service's; ``FWX_E_NOT_SUPPORTED`` a filter emulates the
            connection, whose peer nobody knows (B3.39); ``FWX_E_TERMINATING``. None of them for ``None``.
        """
        ip_filter = None if pIpFilter is None else require_ip_filter(pIpFilter).Clone()
        on_loop(self.engine.queue, self._restrict, ip_filter)

    def GetIpFilter(self) -> IFWXIpFilter | None:
        """Return a copy of the filter, ``None`` for everyone (B4.11)."""
        return None if self._ip_filter is None else self._ip_filter.Clone()

    # The service's side.

    def admits(self, address: SocketAddress | None) -> bool:
        """Tell whether the connection may deal with *address*; with no name, and none that is not known, once there is
        an IP filter.
        """
        if self._ip_filter is None:
            return True
        return address is not None and address.address is not None and self._ip_filter.admits(address.host)

    def admitted(self, addresses: list[SocketAddress] | None) -> list[SocketAddress] | None:
        """Return those of *addresses* that it may deal with; without an IP filter all of them, and ``None`` for a name
        that an upstream looks up.
        """
        return addresses if self._ip_filter is None else [each for each in addresses or () if self.admits(each)]

    def _restrict(self, ip_filter: FWXIpFilter | None) -> None:
        if ip_filter is not None:
            if self.terminating:
                raise COMError(FWX_E_TERMINATING, "the connection has ended")
            if self.emulation is not None:
                raise COMError(FWX_E_NOT_SUPPORTED, "a filter emulates the connection, and knows its peer")
        self._ip_filter = ip_filter
        if not self.terminating:
            self._judge_peers()

    def _judge_peers(self) -> None:
        """Drop whom the IP filter does not include; it has just been set or lifted."""
        raise NotImplementedError
