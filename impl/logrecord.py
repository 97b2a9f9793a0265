"""One record of the firewall log: what the service knows about a connection, a denial or a failure."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Action(IntEnum):
    """What a record reports; the numbers of the ``Action`` column (B9.10).

    ``Establish`` and ``Terminate`` bracket a connection, ``Denied`` and ``Failed`` are single records (B9.11),
    ``GHBN`` and ``GHBA`` are name look-ups by host name and by address (B9.12).
    """

    NotLogged = 0
    Bind = 1
    Listen = 2
    GHBN = 3
    GHBA = 4
    RedirectBind = 5
    Establish = 6
    Terminate = 7
    Denied = 8
    Allowed = 9
    Failed = 10
    Intermediate = 11
    SuccessfulConnection = 12
    UnsuccessfulConnection = 13
    Disconnection = 14
    UserclearedQuarantine = 15
    Quarantinetimeout = 16
    UserQuarantined = 17


class LogRecord(NamedTuple):
    """What the service hands to the log, once or twice per connection.

    It is made on the per-connection path, so it only holds what is there already; the log's writer formats it.

    :ivar time: when it happened, seconds since the epoch.
    :ivar action: see :class:`Action`.
    :ivar servername: the firewall's name.
    :ivar protocol: the transport, ``TCP`` or ``UDP``.
    :ivar source_ip: the client's address, with *source_port*.
    :ivar destination_ip: the target's address, with *destination_port*; empty while a name is unresolved.
    :ivar destination_name: the name that the client asked for, empty when it gave an address.
    :ivar original_client_ip: the requesting client's own address where another host spoke for it: of a
        connection that has arrived for a client, that client's.
    :ivar source_network: the network that the request came from.
    :ivar destination_network: the network that it went to.
    :ivar resultcode: 0, a Windows error number or an HRESULT (B9.13).
    :ivar rule: the rule that allowed or denied.
    :ivar application_protocol: the protocol definition's name.
    :ivar bytes_sent: bytes from the client to the server.
    :ivar bytes_received: bytes from the server to the client.
    :ivar connection_time: how long the connection has lasted, milliseconds.
    :ivar source_proxy: who spoke for the client, by a PROXY header (B8.10).
    :ivar destination_proxy: the upstreams on the way to the target, the nearest first (B8.10).
    :ivar username: the session's user (B9.16), or whom the client claims to be (:func:`unvouched`).
    :ivar agent: the client program.
    :ivar session_id: the session's number, with *connection_id*, the connection's.
    :ivar interface: the listener's name.
    :ivar filters: names of the filters that were attached, joined by a comma and a space.
    :ivar reason: why, in words for people.
    :ivar nat_address: the firewall's own address that the connection left from (``NATAddress``, B9.9); empty where
        nothing has left.
    :ivar logged_before: *bytes_sent*, *bytes_received* and *connection_time* of the last record of the connection, for
        the columns that tell what has come since.
    """

    time: float
    action: Action
    servername: str = ""
    protocol: str = "TCP"
    source_ip: str = ""
    source_port: int = 0
    destination_ip: str = ""
    destination_port: int = 0
    destination_name: str = ""
    original_client_ip: str = ""
    source_network: str = ""
    destination_network: str = ""
    resultcode: int = 0
    rule: str = ""
    application_protocol: str = ""
    bytes_sent: int = 0
    bytes_received: int = 0
    connection_time: int = 0
    source_proxy: str = ""
    destination_proxy: str = ""
    username: str = ""
    agent: str = ""
    session_id: int = 0
    connection_id: int = 0
    interface: str = ""
    filters: str = ""
    reason: str = ""
    nat_address: str = ""
    logged_before: tuple[int, int, int] = (0, 0, 0)


def unvouched(name: str) -> str:
    """Return how the log names a user that nobody has authenticated: with a question mark; empty for no name."""
    return f"{name} (?)" if name else ""
