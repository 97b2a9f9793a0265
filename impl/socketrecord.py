"""What the firewall log says of the network sockets that filters make (B4.7, topic 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwx.impl.connectionrecord import noted
from fwx.impl.logrecord import Action, LogRecord
from fwx.impl.route import path_of

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.interfaces import SocketAddress

FIREWALL_SOCKET = "the firewall's socket"
SESSION_SOCKET = "a session's socket"


@dataclass(slots=True)
class SocketTraffic:
    """One exchange of a socket with one peer: a TCP connection, or the datagrams to and from one address.

    :ivar protocol: ``TCP`` or ``UDP``. :ivar started: when it began, by the engine's clock.
    :ivar verdict: what the policy said; ``None`` where nobody asked, on the firewall's own sockets.
    :ivar application_protocol: the name of the protocol that the filter associated with the socket.
    """

    protocol: str
    started: float
    local: SocketAddress | None = None
    remote: SocketAddress | None = None
    verdict: Verdict | None = None
    sent: int = 0
    received: int = 0
    application_protocol: str = ""


class SocketLog:
    """Writes the records of one socket: as its session's client's, or as the service's own (B4.6, B4.7)."""

    __slots__ = ("_engine", "_session")

    def __init__(self, engine: Engine, session: FWXSession | None) -> None:
        self._engine = engine
        self._session = session

    @property
    def owner_name(self) -> str:
        return FIREWALL_SOCKET if self._session is None else SESSION_SOCKET

    def write(self, action: Action, traffic: SocketTraffic, result: int = 0, reason: str = "") -> None:
        """Write one record, unless the rule that decided says that nothing is to be logged."""
        engine, session = self._engine, self._session
        verdict, local, remote = traffic.verdict, traffic.local, traffic.remote
        if verdict is not None and not verdict.log:
            return
        source = local if session is None else session.address
        literal = remote is not None and remote.address is not None
        engine.write_record(
            LogRecord(
                time=engine.wall_clock(),
                action=action,
                servername=engine.server_name,
                protocol=traffic.protocol,
                source_ip="" if source is None else source.host,
                source_port=0 if local is None else local.port,
                destination_ip=remote.host if remote is not None and literal else "",
                destination_port=0 if remote is None else remote.port,
                destination_name="" if remote is None or literal else remote.host,
                source_network="" if verdict is None else verdict.source_network,
                destination_network="" if verdict is None else verdict.destination_network,
                resultcode=int(result),
                rule="" if verdict is None else verdict.rule,
                application_protocol=traffic.application_protocol or ("" if verdict is None else verdict.protocol),
                bytes_sent=traffic.sent,
                bytes_received=traffic.received,
                connection_time=int((engine.clock() - traffic.started) * 1000),
                destination_proxy="" if verdict is None else path_of(engine, verdict),
                username="" if session is None else session.user_name,
                session_id=0 if session is None else session.id,
                connection_id=next(engine.connection_ids),
                interface=self.owner_name,
                reason=noted(reason, verdict),
            )
        )
