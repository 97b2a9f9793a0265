"""One command's recording: which connections it takes, and where it listens to them."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

from fwx.impl.acceptedconnection import FWXAcceptedConnection
from fwx.impl.connection import FWXConnection
from fwx.impl.observedsocket import ObservedSocket
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import COMError
from fwx.tracing.ends import DirectChain, RecordedChain, RecordedExit, RecordedTransport
from fwx.tracing.feed import Feed
from fwx.tracing.recording import MemberWatcher, Recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwx.change.running import Running
    from fwx.config_model import Filter
    from fwx.impl.chain import Member
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.engine import Engine
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.impl.tracing import Ends, Passed
    from fwx.impl.udpdestination import Destination
    from fwx.tracing.criteria import Criteria

logger = logging.getLogger("fwx.tracing")


class Recorder:
    """Records the next connections that fit.

    :ivar feed: what has been noted. Of those that a filter has announced, and those from outside to a client, it says
        that they were there, in the recordings of their session.
    """

    def __init__(self, engine: Engine, running: Running, criteria: Criteria) -> None:
        """*running* says what the filters are."""
        self.feed = Feed()
        self._engine = engine
        self._running = running
        # Also those that are in force no more: connections may still have them.
        self._tables: dict[str, Filter] = {table.name: table for table in running.configuration.filters}
        self._criteria = criteria
        self._numbers = itertools.count(1)
        self._left = criteria.count
        self._recordings: dict[object, Recording] = {}

    def stop(self, reason: str) -> None:
        """Record nothing any more; what is not over is cut."""
        self._left = 0
        for recording in self._recordings.values():
            recording.stop(reason)
        self._recordings.clear()

    # What the engine tells, by way of Recorders.

    def established(self, connection: FWXConnection, ends: Ends) -> None:
        if connection.is_secondary or isinstance(connection, FWXAcceptedConnection):
            self._note(connection, connection.target)
            return
        recording = self._begin(connection, connection, connection.verdict, (connection.target, connection.address))
        if recording is None:
            return
        if ends.server is not None:
            recording.bound(SocketAddress.from_sockaddr(ends.server.getsockname()))
        queue = self._engine.queue
        client: Any = RecordedTransport(ends.client, recording, "client", ends.prefix, queue)
        ends.client, ends.prefix = client, b""
        if ends.server is not None:
            server: Any = RecordedTransport(ends.server, recording, "server", ends.answer, queue)
            ends.server, ends.answer = server, b""

    def sockets(self, connection: ConnectionBase, member: Member, made: tuple[Any, Any]) -> tuple[Any, Any]:
        recording = self._recordings.get(connection)
        if recording is None:
            return made
        members = connection.members
        sides = {"internal": "client"} if member is members[0] else {}
        sides |= {"external": "server"} if member is members[-1] else {}
        watcher = MemberWatcher(recording, self._engine.queue, sides)
        internal, external = made
        return (
            ObservedSocket(watcher, internal, "internal"),
            None if external is None else ObservedSocket(watcher, external, "external"),
        )

    def destination(self, connection: ConnectionBase, destination: Destination, inward: Passed) -> Passed:
        """*destination* is open; return what takes its datagrams to the client in the place of *inward*."""
        recording = self._begin_destination(connection, destination)
        if recording is None:
            return inward

        def noted(data: Any, source: SocketAddress) -> None:
            recording.side("client", "gets", bytes(data))
            inward(data, source)

        return noted

    def destination_ready(self, destination: Destination) -> None:
        """Stand in front of the chain and the exit of *destination*, which are there."""
        recording, exit_, chain = self._recordings.get(destination), destination.exit, destination.chain
        if recording is not None and exit_ is not None and chain is not None:
            destination.exit = RecordedExit(exit_, recording)
            recorded: Any = RecordedChain(chain, recording)
            destination.chain = recorded

    def is_recording(self, key: object) -> bool:
        return key in self._recordings

    def destination_denied(self, connection: ConnectionBase, destination: Destination, filter_name: str) -> None:
        recording = self._begin_destination(connection, destination) if filter_name else None
        if recording is not None:
            recording.refused()
            recording.end(f"denied by filter {filter_name!r}")

    def bound(self, session: FWXSession, address: SocketAddress) -> None:
        for recording in self._recordings.values():
            if recording.connection.session is session:
                recording.bound(address)

    def ended(self, connection: ConnectionBase, denied_by: str) -> None:
        if denied_by and type(connection) is FWXConnection and not connection.is_secondary:
            refused = self._begin(connection, connection, connection.verdict, (connection.target, connection.address))
            if refused is not None:
                refused.refused()
        for key, recording in list(self._recordings.items()):
            if recording.connection is connection:
                recording.end(connection.result[1])
            if recording.is_over:
                del self._recordings[key]

    # Beginning.

    def _begin_destination(self, connection: ConnectionBase, destination: Destination) -> Recording | None:
        targets = (destination.target, destination.address)
        if destination.secondary or destination.verdict is None:
            self._note(connection, destination.target)
            return None
        return self._begin(destination, connection, destination.verdict, targets)

    def _begin(
        self, key: object, connection: ConnectionBase, verdict: Verdict, targets: tuple[SocketAddress | None, ...]
    ) -> Recording | None:
        """Begin to record what *key* stands for, if it is wanted."""
        hosts = self._engine.gateway.hosts_of(verdict)
        names = [host.name for host in hosts]
        if not self._left or not self._criteria.fits(connection.client_address, verdict.rule, names, targets):
            return None
        self._left -= 1
        recording = Recording(
            next(self._numbers),
            connection,
            self.feed,
            self._criteria.most_bytes,
            self._engine.clock,
            has_end=key is connection,
        )
        self._recordings[key] = recording
        target, address = targets
        session = connection.session
        user: Any = session.user
        recording.begin(
            {
                "connection": connection.id,
                "time": self._engine.wall_clock(),
                "transport": "tcp" if key is connection else "udp",
                "client": connection.client_address.host,
                "target": _pair(target),
                "address": _pair(address),
                "source": int(session.source),
                "user": session.user_name,
                "groups": [] if user is None else _groups(user),
                "rule": verdict.rule,
                "filters": list(self._filters(names)),
            }
        )
        return recording

    def _filters(self, names: list[str]) -> Iterator[dict[str, Any]]:
        self._tables.update((table.name, table) for table in self._running.configuration.filters)
        for name in names:
            table = self._tables[name]
            yield {
                "name": name,
                "use": table.use,
                "options": dict(table.options),
                "opens": table.on_error == "open",
            }

    def _note(self, connection: ConnectionBase, target: SocketAddress) -> None:
        """Say in the recordings of its session that a connection was there that is not recorded."""
        for recording in self._recordings.values():
            if recording.connection.session is connection.session:
                recording.note(f"a secondary connection, with {target}")


def _nowhere(data: Any, address: SocketAddress) -> None:
    raise AssertionError(f"a datagram of {address} before its destination was open: {data!r}")


_NOWHERE = (_nowhere, _nowhere)


class Recorders:
    """Every command's recorder; the engine has a tracer while there is one (:class:`fwx.impl.tracing.Tracer`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._all: list[Recorder] = []
        # How the destination that is being opened goes on to the server, and to the client.
        self._ways: tuple[Passed, Passed] = _NOWHERE

    def __len__(self) -> int:
        return len(self._all)

    def add(self, recorder: Recorder) -> None:
        self._all.append(recorder)
        self._engine.tracer = self

    def remove(self, recorder: Recorder) -> None:
        """Forget *recorder*, which has stopped."""
        self._all.remove(recorder)
        if not self._all:
            self._engine.tracer = None

    def established(self, connection: FWXConnection, ends: Ends) -> None:
        for each in self._all:
            each.established(connection, ends)

    def sockets(self, connection: ConnectionBase, member: Member, made: tuple[Any, Any]) -> tuple[Any, Any]:
        for each in self._all:
            made = each.sockets(connection, member, made)
        return made

    def destination(
        self, connection: ConnectionBase, destination: Destination, outward: Passed, inward: Passed
    ) -> Passed:
        for each in self._all:
            inward = each.destination(connection, destination, inward)
        self._ways = (outward, inward)
        return inward

    def destination_ready(self, destination: Destination) -> None:
        (outward, inward), self._ways = self._ways, _NOWHERE
        recorders = [each for each in self._all if each.is_recording(destination)]
        if recorders and destination.chain is None:
            direct: Any = DirectChain(outward, inward)
            destination.chain = direct
        for each in recorders:
            each.destination_ready(destination)

    def destination_denied(self, connection: ConnectionBase, destination: Destination, filter_name: str) -> None:
        for each in self._all:
            each.destination_denied(connection, destination, filter_name)

    def bound(self, session: FWXSession, address: SocketAddress) -> None:
        for each in self._all:
            each.bound(session, address)

    def ended(self, connection: ConnectionBase, denied_by: str) -> None:
        for each in self._all:
            each.ended(connection, denied_by)


def _pair(address: SocketAddress | None) -> list[Any] | None:
    return None if address is None else [address.host, address.port]


def _groups(user: Any) -> list[str]:
    """Return the groups of a user who may be a plugin's, which need not say them."""
    try:
        return [name for name in str(getattr(user, "UserGroups", "")).split(";") if name]
    except COMError as error:
        logger.debug("the groups of user %s are not known: %s", user.Username, error)
        return []
