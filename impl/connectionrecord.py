"""What the firewall log says of a connection (behaviour topic 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.logrecord import Action, LogRecord, unvouched
from fwx.impl.route import path_of
from fwx.interfaces.hresult import FWX_E_ADDRESS_NOT_ALLOWED

if TYPE_CHECKING:
    from fwx.impl.acceptedconnection import FWXAcceptedConnection
    from fwx.impl.connection import FWXConnection
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.datagramconnection import FWXDatagramConnection
    from fwx.impl.datagramsforclient import FWXDatagramsForClient
    from fwx.impl.emulateddatagrams import FWXEmulatedDatagrams
    from fwx.impl.listeningconnection import FWXListeningConnection
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.impl.udpdestination import Destination
    from fwx.interfaces import SocketAddress


def record_of(
    connection: FWXConnection, action: Action, filters: str, traffic: tuple[int, int], seconds: float
) -> LogRecord:
    """Make the record of *connection*, of its end or its refusal.

    :param filters: names of the filters that were attached. :param traffic: bytes sent to the server and received from
        it. :param seconds: how long it lasted.
    """
    engine, verdict, target = connection.engine, connection.verdict, connection.target
    result, reason = connection.result
    literal = target.address is not None
    reached = target if literal else connection.address
    sent, received = traffic
    reason = connection.reason_with_remarks(reason)
    source_proxy, session = connection.source_proxy, connection.session
    # In the order of the fields: to name each of them costs four times as much, for every connection.
    return LogRecord(
        engine.wall_clock(),
        action,
        engine.server_name,
        "TCP",
        connection.client_address.host,
        connection.client_address.port,
        "" if reached is None else reached.host,
        target.port,
        "" if literal else target.host,
        "",  # original_client_ip
        verdict.source_network,
        verdict.destination_network,
        int(result),
        verdict.rule,
        verdict.protocol,
        sent,
        received,
        int(seconds * 1000),
        "" if source_proxy is None else source_proxy.host,
        path_of(engine, verdict) if verdict.upstream else "",
        session.user_name or (unvouched(connection.claimed_user) if connection.claimed_user else ""),
        connection.agent,
        session.id,
        connection.id,
        connection.interface,
        filters,
        noted(reason, verdict) if verdict.shadows else reason,
        connection.nat_address,
        connection.logged_before,
    )


def listening_record(connection: FWXListeningConnection, action: Action, filters: str, seconds: float) -> LogRecord:
    """Make the record of a client that waits at an address of the firewall, of its beginning, its end or its refusal.

    The client is the source, the address the destination.
    """
    bound = connection.bound
    own = _own(connection, connection.verdict, connection.id, action, _outcome(connection))
    return own._replace(
        source_ip=connection.client_address.host,
        source_port=connection.client_address.port,
        destination_ip="" if bound is None else bound.host,
        destination_port=0 if bound is None else bound.port,
        connection_time=int(seconds * 1000),
        filters=filters,
    )


def arrival_record(
    connection: FWXAcceptedConnection, action: Action, filters: str, traffic: tuple[int, int], seconds: float
) -> LogRecord:
    """Make the record of a connection that has arrived for a client, of its end or its refusal.

    The peer is the source, the address that it has connected to the destination, the client is who is spoken for.

    :param traffic: bytes sent to the peer and received from it.
    """
    own = _own(connection, connection.verdict, connection.id, action, _outcome(connection))
    to_peer, from_peer = traffic
    return own._replace(
        source_ip=connection.target.host,
        source_port=connection.target.port,
        destination_ip=connection.local.host,
        destination_port=connection.local.port,
        original_client_ip=connection.client_address.host,
        bytes_sent=from_peer,
        bytes_received=to_peer,
        connection_time=int(seconds * 1000),
        filters=filters,
        logged_before=connection.logged_before,
    )


def turned_away_record(
    connection: FWXListeningConnection, peer: SocketAddress, local: SocketAddress, verdict: Verdict
) -> LogRecord:
    """Make the record of *peer*, who has come to *local* for a client and may not connect, as *verdict* says."""
    number = next(connection.engine.connection_ids)
    own = _own(connection, verdict, number, Action.Denied, (int(verdict.hresult), verdict.reason))
    return own._replace(
        source_ip=peer.host,
        source_port=peer.port,
        destination_ip=local.host,
        destination_port=local.port,
        original_client_ip=connection.client_address.host,
    )


def redirected_record(
    session: FWXSession,
    protocol: str,
    client: SocketAddress | None,
    port: SocketAddress,
    verdict: Verdict,
    outcome: tuple[Action, int, str],
) -> LogRecord:
    """Make the record of a *client* that got no connection at a redirected *port*, or of the port itself (``None``).

    :param outcome: the action, the result and why.
    """
    engine = session.engine
    action, result, reason = outcome
    return LogRecord(
        time=engine.wall_clock(),
        action=action,
        servername=engine.server_name,
        protocol=protocol,
        source_ip="" if client is None else client.host,
        source_port=0 if client is None else client.port,
        destination_ip=port.host,
        destination_port=port.port,
        resultcode=int(result),
        rule=verdict.rule,
        application_protocol=verdict.protocol,
        username=session.user_name,
        session_id=session.id,
        interface="redirected",
        reason=reason,
    )


def datagram_port_record(
    connection: FWXDatagramsForClient | FWXEmulatedDatagrams,
    action: Action,
    verdict: Verdict,
    outcome: tuple[int, str],
    peer: SocketAddress | None = None,
) -> LogRecord:
    """Make the record of a UDP port that a filter has bound for a client, of its beginning, its end or its refusal.

    The client is the source, the port the destination; of a *peer* that is turned away, that is the source.

    :param outcome: the result and why.
    """
    engine, session = connection.engine, connection.session
    result, reason = outcome
    source, client = peer or connection.client_address, "" if peer is None else connection.client_address.host
    return LogRecord(
        time=engine.wall_clock(),
        action=action,
        servername=engine.server_name,
        protocol="UDP",
        source_ip=source.host,
        source_port=source.port,
        destination_ip=connection.bound.host,
        destination_port=connection.bound.port,
        original_client_ip=client,
        source_network=verdict.source_network,
        destination_network=verdict.destination_network,
        resultcode=int(result),
        rule=verdict.rule,
        application_protocol=verdict.protocol,
        username=session.user_name,
        session_id=session.id,
        connection_id=connection.id,
        interface=connection.interface,
        reason=connection.reason_with_remarks(reason) if peer is None else reason,
    )


def _outcome(connection: ConnectionBase) -> tuple[int, str]:
    """Return the result of *connection* and why, with what filters have remarked."""
    result, reason = connection.result
    return result, connection.reason_with_remarks(reason)


def _own(
    connection: FWXListeningConnection | FWXAcceptedConnection,
    verdict: Verdict,
    number: int,
    action: Action,
    outcome: tuple[int, str],
) -> LogRecord:
    """Make a record of what comes in for a client, without addresses; *number* is the connection's."""
    engine, session = connection.engine, connection.session
    result, reason = outcome
    return LogRecord(
        time=engine.wall_clock(),
        action=action,
        servername=engine.server_name,
        source_network=verdict.source_network,
        destination_network=verdict.destination_network,
        resultcode=int(result),
        rule=verdict.rule,
        application_protocol=verdict.protocol,
        source_proxy="" if connection.source_proxy is None else connection.source_proxy.host,
        destination_proxy=path_of(engine, verdict),
        username=session.user_name or unvouched(connection.claimed_user),
        agent=connection.agent,
        session_id=session.id,
        connection_id=number,
        interface=connection.interface,
        reason=noted(reason, verdict),
    )


def noted(reason: str, verdict: Verdict | None) -> str:
    """Return *reason* for the log, with what shadow rules would have decided."""
    return reason if verdict is None or not verdict.shadows else "; ".join(filter(None, (reason, verdict.remark)))


def destination_record(
    connection: FWXDatagramConnection,
    destination: Destination,
    action: Action,
    outcome: tuple[int, str],
    filters: str,
    seconds: float,
) -> LogRecord:
    """Make the record of one destination of a UDP connection, of its end or its refusal.

    :param outcome: the result and why. :param filters: names of the filters that were attached for it.
    :param seconds: how long it lasted.
    """
    engine, verdict, target = connection.engine, destination.verdict, destination.target
    result, reason = outcome
    literal = target.address is not None
    reached = target if literal else destination.address
    return LogRecord(
        time=engine.wall_clock(),
        action=action,
        servername=engine.server_name,
        protocol="UDP",
        source_ip=connection.client_address.host,
        source_port=connection.client_address.port,
        destination_ip="" if reached is None else reached.host,
        destination_port=target.port,
        destination_name="" if literal else target.host,
        source_network="" if verdict is None else verdict.source_network,
        destination_network="" if verdict is None else verdict.destination_network,
        resultcode=int(result),
        rule="" if verdict is None else verdict.rule,
        application_protocol="" if verdict is None else verdict.protocol,
        bytes_sent=destination.sent,
        bytes_received=destination.received,
        connection_time=int(seconds * 1000),
        source_proxy="" if connection.source_proxy is None else connection.source_proxy.host,
        destination_proxy="" if verdict is None else path_of(engine, verdict),
        username=connection.session.user_name,
        agent=connection.agent,
        session_id=connection.session.id,
        connection_id=connection.id,
        interface=connection.interface,
        filters=filters,
        reason=noted(connection.reason_with_remarks(reason), verdict),
        logged_before=destination.logged_before,
    )


def kept_off_record(connection: FWXDatagramConnection, count: int, seconds: float) -> LogRecord:
    """Make the one record of all datagrams that have come to a UDP connection from outside its IP filter (B6.34).

    Their senders may be forged, as many as anybody likes, so they have none each.

    :param count: of the datagrams. :param seconds: how long the connection lasted.
    """
    engine, session = connection.engine, connection.session
    return LogRecord(
        time=engine.wall_clock(),
        action=Action.Denied,
        servername=engine.server_name,
        protocol="UDP",
        source_ip=connection.client_address.host,
        source_port=connection.client_address.port,
        resultcode=int(FWX_E_ADDRESS_NOT_ALLOWED),
        connection_time=int(seconds * 1000),
        source_proxy="" if connection.source_proxy is None else connection.source_proxy.host,
        username=session.user_name,
        agent=connection.agent,
        session_id=session.id,
        connection_id=connection.id,
        interface=connection.interface,
        reason=f"datagrams were dropped: {count} from outside the IP filter",
    )
