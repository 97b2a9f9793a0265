"""A connection that was diverted to the service: it goes on to where it was going."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from fwx.impl.logrecord import Action
from fwx.impl.request import Request
from fwx.interfaces import SocketAddress
from fwx.interfaces.enums import fwxSourceNAT
from fwx.interfaces.hresult import FWX_E_POLICY_RULES_DENIED
from fwx.transparent.kernel import redirected_from

if TYPE_CHECKING:
    from fwx.entrance import Arrival, Entrance
    from fwx.impl.departure import Departure

Mode = Literal["tproxy", "redirect"]


class TransparentEntry:
    """A SecureNAT client's connection (``fwxSourceNAT``): the service knows its address, no user and no name."""

    __slots__ = ("_client",)

    def __init__(
        self,
        entrance: Entrance,
        arrival: Arrival,
        mode: Mode,
        is_own_listener: Callable[[SocketAddress, str], bool],
        leave_from: Callable[[SocketAddress], Departure] | None = None,
    ) -> None:
        """:param is_own_listener: tells whether an address over ``TCP`` is a port of this service, where nothing that
        was diverted was going. :param leave_from: gives what has the server see the client's address.
        """
        self._client = arrival.client
        source = arrival.address
        try:
            target = arrival.destination if mode == "tproxy" else redirected_from(self._client, source.family)
        except OSError as error:
            self._turn_away(entrance, source, f"nothing redirected the connection: {error.strerror}")
            return
        if is_own_listener(target, "TCP"):
            self._turn_away(entrance, source, f"nothing diverted the connection: it is for {target}, a listener's port")
            return
        entrance.gateway.open(
            Request(
                self,
                arrival.client,
                source,
                target,
                source=fwxSourceNAT,
                interface=entrance.name,
                early=arrival.early,
                on_ended=partial(entrance.release, source),
                diverted=True,
                departure=None if leave_from is None else leave_from(source),
            )
        )

    def connected(self, bound: SocketAddress) -> bool:  # noqa: ARG002  the client knows nothing of the service
        return True

    def refused(self, result: int) -> None:  # noqa: ARG002  it is reset, as by the server
        self._client.close(True)

    def _turn_away(self, entrance: Entrance, source: SocketAddress, reason: str) -> None:
        self._client.close(True)
        entrance.log(source, Action.Denied, FWX_E_POLICY_RULES_DENIED, reason)
        entrance.release(source)
