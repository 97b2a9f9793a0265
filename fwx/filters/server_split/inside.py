"""An inside server as the firewall sees it: a client whose inbound connections this filter makes (B6.27)."""

from __future__ import annotations

from typing import Any

from fwx import sdk


class Inside:
    """One inside server: its session, and the binds that are emulated for it, one for each place outside.

    They end by themselves, a session without connections after a minute; then they are made anew.
    """

    def __init__(self, firewall: Any, server: sdk.SocketAddress, *, is_client: bool) -> None:
        """*firewall* is what ``FilterInit`` got. Of a server that *is_client* the service knows the session (B6.28),
        for another one a private one is made (B6.29)."""
        self._firewall = firewall
        self._server = server
        self._is_client = is_client
        self._session: Any = None
        self._binds: dict[sdk.SocketAddress, Any] = {}

    def connect(self, data_filter: sdk.IFWXDataFilter, client: sdk.SocketAddress, place: sdk.SocketAddress) -> None:
        """Begin a connection to the server, which comes from *client*, who has come to *place*; *data_filter* is its
        outer side. It is called ``SetSockets`` when the server is there, ``Detach`` alone if it is not to be had.

        :raises COMError: ``FWX_E_TERMINATING`` the service stops; ``FWX_E_POLICY_RULES_DENIED`` the rules do not let
            the client, or anybody, come to *place*; why else the service, or another filter, does not have it.
        """
        bind = self._binds.get(place)
        if bind is not None:
            try:
                bind.EmulateConnection(data_filter, client, None, place, None)
            except sdk.COMError as error:
                if error.hresult != sdk.FWX_E_TERMINATING:
                    raise
                # Its session has ended meanwhile.
                del self._binds[place]
            else:
                return
        bind = self._bind(place)
        bind.EmulateConnection(data_filter, client, None, place, None)
        self._binds[place] = bind

    def close(self) -> None:
        """Nobody is connected any more: end the binds, and let go of the session."""
        binds, self._binds = self._binds, {}
        for bind in binds.values():
            bind.Kill()
        self._session = self._firewall = None

    def _bind(self, place: sdk.SocketAddress) -> Any:
        if self._session is not None:
            try:
                return self._emulate(place)
            except sdk.COMError as error:
                if error.hresult != sdk.FWX_E_TERMINATING:
                    raise
        if self._is_client:
            self._session = self._firewall.GetClientSession(self._server, None)
        else:
            self._session = self._firewall.CreatePrivateSession(self._server, None, None, None, None)
        return self._emulate(place)

    def _emulate(self, place: sdk.SocketAddress) -> Any:
        tcp, null = sdk.FWX_PROTOCOL_TCP, sdk.GUID_NULL
        return self._session.EmulateClientBind(self._server, None, place, None, tcp, null, False)
