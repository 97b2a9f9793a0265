"""The service's end of ``fwx explain --connection``: the command ``explain`` of the control socket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fwx.control import ControlError
from fwx.explanation import Asked, Explainer, places_of
from fwx.impl.acceptedconnection import FWXAcceptedConnection
from fwx.impl.connection import FWXConnection
from fwx.impl.datagramconnection import FWXDatagramConnection

if TYPE_CHECKING:
    from fwx.change.running import Running
    from fwx.control.server import Lines
    from fwx.impl.chain import Member
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.engine import Engine
    from fwx.impl.policy import Verdict
    from fwx.interfaces import SocketAddress


class ExplainControl:
    """Explains live connections: how they began, and what the rules say to them now."""

    def __init__(self, running: Running, engine: Engine) -> None:
        self._running = running
        self._engine = engine

    async def explain(self, request: Mapping[str, Any], lines: Lines) -> None:
        """Do the command ``explain``: a line for the connection whose number ``connection`` is, and for a UDP one a
        line for each of its destinations.

        :raises ControlError: there is no such connection.
        """
        number = request.get("connection")
        connection = next((each for each in self._engine.sessions.connections() if each.id == number), None)
        if connection is None or connection.terminating:
            raise ControlError(f"there is no live connection {number!r}; the log has the numbers of those that ended")
        told = list(self._told(connection))
        await lines.send({"done": {}})
        for line in told:
            await lines.send(line)

    def _told(self, connection: ConnectionBase) -> Iterator[dict[str, Any]]:
        """Say how *connection* began, with what the rules say now; the latter only where they are asked about it."""
        if isinstance(connection, FWXDatagramConnection):
            for destination in connection.destinations:
                if destination.verdict is not None:
                    target, address, members = destination.target, destination.address, destination.members
                    began = self._began(connection, destination.verdict, members, destination.secondary)
                    asked = self._asked(connection, target, address, "UDP")
                    yield {**began, **({} if destination.secondary else self._explain(asked))}
            return
        began = self._began(connection, connection.verdict, connection.members, connection.is_secondary)
        if connection.is_secondary or not isinstance(connection, FWXConnection):
            yield began
        elif isinstance(connection, FWXAcceptedConnection):
            session = connection.session
            asked = Asked(connection.target, connection.local, who=session.who, user=session.user_name, arrives=True)
            yield {**began, **self._explain(asked)}
        else:
            yield {**began, **self._explain(self._asked(connection, connection.target, connection.address, "TCP"))}

    def _explain(self, asked: Asked) -> dict[str, Any]:
        engine = self._engine
        everywhere = (host.name for host in engine.gateway.hosts_everywhere)
        return Explainer(engine.policy, everywhere, places_of(self._running.configuration), engine.routes).explain(
            asked
        )

    def _asked(
        self, connection: ConnectionBase, target: SocketAddress, address: SocketAddress | None, transport: str
    ) -> Asked:
        resolved = "" if address is None or target.address is not None else address.host
        session = connection.session
        web = connection.web if isinstance(connection, FWXConnection) else None
        return Asked(connection.client_address, target, transport, resolved, session.who, session.user_name, web=web)

    def _began(
        self, connection: ConnectionBase, verdict: Verdict, members: list[Member], secondary: bool
    ) -> dict[str, Any]:
        return {
            "connection": connection.id,
            "began": {
                "client": str(connection.client_address),
                "rule": verdict.rule,
                "place": places_of(self._running.configuration).get(verdict.rule, ""),
                "upstream": verdict.upstream,
                "filters": [member.host.name for member in members],
                "announced": secondary,
                "interface": connection.interface,
            },
        }
