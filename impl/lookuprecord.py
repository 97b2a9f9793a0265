"""What the firewall log says of a look-up (B9.12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.logrecord import Action, LogRecord

if TYPE_CHECKING:
    from fwx.impl.engine import Question
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.interfaces import Hostent, SocketAddress


def record_of(
    session: FWXSession,
    question: Question,
    verdict: Verdict,
    host: Hostent | None,
    result: int,
    reason: str,
    seconds: float,
    *,
    client: SocketAddress | None = None,
    interface: str = "a session's look-up",
) -> LogRecord:
    """Make the record of a look-up by *session*: of its answer *host*, its failure or its denial.

    :param seconds: how long it took. :param client: who has asked, and by the listener *interface*, where it was no
        filter.
    """
    engine = session.engine
    by_name = isinstance(question, str)
    found = "" if host is None else (str(host.addresses[0]) if by_name else host.name)
    return LogRecord(
        time=engine.wall_clock(),
        action=Action.GHBN if by_name else Action.GHBA,
        servername=engine.server_name,
        protocol="",
        source_ip=session.address.host,
        source_port=0 if client is None else client.port,
        destination_ip=found if by_name else str(question),
        destination_name=str(question) if by_name else found,
        source_network=verdict.source_network,
        destination_network=verdict.destination_network,
        resultcode=int(result),
        rule=verdict.rule,
        connection_time=int(seconds * 1000),
        username=session.user_name,
        session_id=session.id,
        interface=interface,
        reason=reason,
    )
