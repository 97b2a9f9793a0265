"""The rules for data filters: what holds for whatever a filter puts into a stream."""

# ruff: noqa: N802, N803, ARG002  the SDK's spelling, letter for letter

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from zope.interface import implementer

from fwx.impl.boundary import attempt
from fwx.impl.connection import MOST_ASKED
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    S_FALSE,
    S_OK,
    FwxDataFilterPriorityClass,
    FwxFilterHookEvents,
    FwxFirewallEvent,
    IFWXFilter,
    IFWXFirewall,
    IFWXSession,
    IFWXSessionFilter,
    IFWXSlowDataFilter,
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_dfpc_Middle,
)
from fwx.testing.battery import (
    Battery,
    BreachError,
    ConformanceError,
    NotApplicable,
    Rule,
    expect,
    expect_equal,
    run_rules,
)
from fwx.testing.firewall import LINGER_SECONDS, MemoryConnection, MemoryFirewall
from fwx.testing.memory import MemoryPeer
from fwx.testing.sockets import SERVER

_PIECES = (1, 2, 3, 5, 64, 1000)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What the two sides of a connection say while a filter is tried.

    :ivar to_server: what the client sends; :attr:`to_client`, what the server sends. Neither is empty.
    :ivar target: what the client asks for.
    :ivar changes_data: it is the filter's purpose to change what passes, so the bytes are not compared.
    :ivar opening: what is said first, for a filter that wants to hear its protocol: pairs of ``"client"`` or
        ``"server"`` and the bytes. What comes of it is not looked at.
    :ivar elsewhere: what the client sends on another connection; empty for :attr:`to_server` backwards.
    """

    to_server: bytes = b"hello server, \x00\xff\x80\r\n" * 40
    to_client: bytes = b"hello client, \r\n\xfe\x01\x00" * 60
    target: SocketAddress = SERVER
    changes_data: bool = False
    opening: tuple[tuple[Literal["client", "server"], bytes], ...] = ()
    elsewhere: bytes = b""


class Stage:
    """One filter in a firewall of its own, its data filters' sockets observed.

    :ivar filter: the filter object; ``None`` where it could not be made.
    :ivar host: the service's side of it, which knows whether it has started.
    :ivar threads: those that ran before.
    """

    def __init__(self, factory: Callable[[], Any], dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        self.threads = frozenset(threading.enumerate())
        self.firewall = MemoryFirewall()
        self.observer = self.firewall.observer
        self.filter: Any = None
        self._factory = factory
        self.host = self.firewall.start(self._make)

    def open(self, *, answers: bool = True, **keys: Any) -> MemoryConnection:
        """Open a connection through the filter. :raises NotApplicable: the filter refuses it, or stands aside."""
        if self.host.state != "ready":
            raise NotApplicable(f"the filter does not start: {self.host.reason}")
        opened = self.firewall.open(self.dialogue.target, answers=answers, **keys)
        if not answers:
            if not any(record.filters for record in self.firewall.records):
                self.expect_no_fault("opening a connection")
                raise NotApplicable("it attaches no data filter")
            return opened
        if opened.server is None:
            self.expect_no_fault("opening a connection")
            raise NotApplicable(f"it refuses a connection to {self.dialogue.target}: {opened.refused}")
        if not self.observer.sockets:
            raise NotApplicable("it attaches no data filter")
        self.say_the_opening(*opened.established())
        return opened

    def say_the_opening(self, client: MemoryPeer, server: MemoryPeer) -> None:
        """Say what comes before anything is looked at."""
        for side, data in self.dialogue.opening:
            sender, receiver = (client, server) if side == "client" else (server, client)
            sender.send(data)
            receiver.receive()

    def established(self) -> tuple[MemoryPeer, MemoryPeer]:
        """Open a connection and return the client and the server."""
        return self.open().established()

    def settle(self) -> None:
        """Let happen what is ready to happen."""
        self.firewall.loop.run()

    def expect_no_fault(self, when: str) -> None:
        """:raises BreachError: a method of the filter has raised or returned a failure."""
        if self.firewall.faults:
            raise BreachError(f"{when}: {'; '.join(self.firewall.faults)}")

    def judge(self, received: bytes, sent: bytes, where: str) -> None:
        """Compare what came with what was sent, unless the filter is there to change it."""
        if self.dialogue.changes_data or received == sent:
            return
        at = next((place for place, pair in enumerate(zip(received, sent, strict=False)) if pair[0] != pair[1]), None)
        place = f"they differ at byte {at}" if at is not None else "one is the beginning of the other"
        raise BreachError(
            f"{where}: {len(received)} of {len(sent)} bytes came and {place} (if the filter is there to change the "
            "data, declare it: changes_data)"
        )

    def close(self) -> None:
        self.firewall.close()

    def _make(self) -> Any:
        self.filter = self._factory()
        return self.filter


def check_data_filter(maker: Callable[[], Any], *, dialogue: Dialogue | None = None) -> Battery:
    """Try a data filter: *maker*, its class for one, returns a fresh one each time, for one connection.

    It is attached at ``fwx_dfpc_Middle`` to connections of the real engine over a memory network. *dialogue* says what
    passes, and declares whether the filter is there to change it.
    """
    subject = getattr(maker, "__qualname__", type(maker).__qualname__)
    return run_rules(subject, DATA_RULES, stage_maker(lambda: AttachingFilter(maker), dialogue or Dialogue()))


def stage_maker(factory: Callable[[], Any], dialogue: Dialogue) -> Callable[[], AbstractContextManager[Stage]]:
    """Return what opens a fresh :class:`Stage` for every rule; *factory* makes the filter."""

    @contextmanager
    def make() -> Iterator[Stage]:
        stage = Stage(factory, dialogue)
        try:
            yield stage
        finally:
            stage.close()

    return make


@implementer(IFWXFilter)
class AttachingFilter(Unknown):
    """A filter that attaches what *maker* returns to every connection; for trying a data filter by itself."""

    def __init__(self, maker: Callable[[], Any], priority: FwxDataFilterPriorityClass = fwx_dfpc_Middle) -> None:
        self.maker = maker
        self.priority = priority

    def FilterInit(self, pIFWXFirewall: IFWXFirewall) -> FwxFilterHookEvents:
        return FwxFilterHookEvents(fwx_Connect_Tcp | FWX_ALL_SOURCES)

    def AttachToSession(self, piSession: IFWXSession, pFilterHookEvents: FwxFilterHookEvents) -> IFWXSessionFilter:
        return _AttachingSession(self)

    def FilterShutdown(self) -> None:
        """Nothing to give back."""


@implementer(IFWXSessionFilter)
class _AttachingSession(Unknown):
    def __init__(self, owner: AttachingFilter) -> None:
        self._owner = owner

    def FirewallEventHandler(self, pProxyEvent: FwxFirewallEvent) -> None:
        connection = pProxyEvent.Parameters.Connect.piConnection
        connection.AttachDataFilter(self._owner.maker(), self._owner.priority, None)

    def Detach(self) -> None:
        """Nothing to give back."""


# ---- the rules -------------------------------------------------------------------------------------------------------


def _has_its_shape(stage: Stage) -> None:
    stage.established()
    if stage.observer.breaches:
        raise ConformanceError("the data filter", dict.fromkeys(stage.observer.breaches))


def _detaches_without_sockets(stage: Stage) -> None:
    stage.open(answers=False)
    stage.expect_no_fault("Detach before any SetSockets")


def _passes(stage: Stage, count: int | None) -> None:
    client, server = stage.established()
    for sender, receiver, data, where in (
        (client, server, stage.dialogue.to_server, "from the client to the server"),
        (server, client, stage.dialogue.to_client, "from the server to the client"),
    ):
        size = count or len(data)
        received = b""
        for start in range(0, len(data), size):
            sender.send(data[start : start + size])
            received += receiver.receive()
        sender.shutdown()
        received += receiver.receive()
        expect(receiver.ended, f"{where}: the end did not come{_unless_reset(receiver)}")
        stage.judge(received, data, where)
    stage.expect_no_fault("while data passed")


def _unless_reset(peer: MemoryPeer) -> str:
    return ", the connection was reset" if peer.was_reset else ""


def _passes_pieces(stage: Stage) -> None:
    for count in _PIECES:
        _passes(stage, count)


def _passes_much(stage: Stage) -> None:
    client, server = stage.established()
    wanted = stage.dialogue.to_server * (1 + (1 << 20) // len(stage.dialogue.to_server))
    received = bytearray()
    for start in range(0, len(wanted), 32 << 10):
        client.send(wanted[start : start + (32 << 10)])
        received += server.receive()
    client.shutdown()
    received += server.receive()
    stage.judge(bytes(received), wanted, "1 MiB from the client to the server")


def _half_closes(client_first: bool) -> Callable[[Stage], None]:
    def test(stage: Stage) -> None:
        client, server = stage.established()
        first, second = (client, server) if client_first else (server, client)
        names = ("client", "server") if client_first else ("server", "client")
        late = stage.dialogue.to_client if client_first else stage.dialogue.to_server
        first.shutdown()
        second.receive()
        expect(second.ended, f"the {names[0]}'s end did not reach the {names[1]}{_unless_reset(second)}")
        second.send(late)
        received = first.receive()
        expect(not first.was_reset, f"the {names[0]}'s end reset the other direction")
        second.shutdown()
        received += first.receive()
        expect(first.ended, f"the {names[1]}'s end did not reach the {names[0]}{_unless_reset(first)}")
        stage.judge(received, late, f"from the {names[1]}, after the {names[0]}'s end")
        stage.expect_no_fault("after the ends")

    return test


def _gives_sockets_up(stage: Stage) -> None:
    client, server = stage.established()
    client.shutdown()
    server.shutdown()
    for side in sorted(stage.observer.sides, reverse=True):
        given_up = any(call.startswith((f"{side}.Close", f"{side}.Shutdown")) for call in stage.observer.calls)
        expect(given_up, f"both directions have ended, and the {side} socket saw neither Close nor Shutdown")


def _closes_on_failure(client_leaves: bool) -> Callable[[Stage], None]:
    def test(stage: Stage) -> None:
        client, server = stage.established()
        leaver, other = (client, server) if client_leaves else (server, client)
        leaver.reset()
        other.receive()
        for side in sorted(stage.observer.sides, reverse=True):
            closed = any(call.startswith(f"{side}.Close") for call in stage.observer.calls)
            who = "client" if client_leaves else "server"
            expect(closed, f"the {who} reset the connection, and the {side} socket was not closed")
        expect(other.was_reset or other.ended, "the other side still waits")
        stage.expect_no_fault("after a reset")

    return test


def _lets_go(stage: Stage) -> None:
    stage.observer.keeps_data_filters = True
    client, server = stage.established()
    client.send(stage.dialogue.to_server)
    server.receive()
    stage.firewall.end_connections()
    stage.expect_no_fault("when the connection was ended")
    gc.collect()
    sockets = [socket() for socket in stage.observer.sockets]
    expect(not any(sockets), "after Detach it still holds a socket")
    connections = [connection() for connection in stage.observer.connections]
    expect(not any(connections), "after Detach it still holds the connection")


def _minds_its_manners(stage: Stage) -> None:
    def ends(client: MemoryPeer, server: MemoryPeer) -> None:
        client.shutdown()
        server.shutdown()

    leave: tuple[Callable[[MemoryPeer, MemoryPeer], object], ...] = (
        ends,
        lambda client, _: client.reset(),
        lambda _, server: server.reset(),
        lambda client, _: client.close(),
        lambda *_: stage.firewall.end_connections(),
    )
    for leaves in leave:
        client, server = stage.established()
        client.send(stage.dialogue.to_server)
        server.send(stage.dialogue.to_client)
        server.receive()
        leaves(client, server)
        stage.firewall.end_connections()
        client.reset()
        server.reset()
    stage.expect_no_fault("while connections ended")


def _posts_nothing_late(stage: Stage) -> None:
    _minds_its_manners(stage)
    late = [fault for fault in stage.observer.faults if " after " in fault]
    expect(not late, f"it called {', '.join(dict.fromkeys(late))}")


def _receives_with_completion(stage: Stage) -> None:
    stage.established()
    wrong = [fault for fault in stage.observer.faults if "without a completion" in fault]
    expect(not wrong, f"it called {', '.join(dict.fromkeys(wrong))}")


def _leaves_buffers(stage: Stage) -> None:
    stage.observer.watches_buffers = True
    client, server = stage.established()
    client.send(stage.dialogue.to_server)
    server.receive()
    server.send(stage.dialogue.to_client)
    client.receive()
    changed = stage.observer.changed
    expect(not changed, f"it changed a buffer that it had received: {changed[:1]}")


def _stops_when_stopped(stage: Stage) -> None:
    client, _ = stage.established()
    block = stage.dialogue.to_server * (1 + (64 << 10) // len(stage.dialogue.to_server))
    for number in range(512):
        try:
            client.send(block)
        except AssertionError:
            return
        expect(number < 511, f"it took {512 * len(block) >> 20} MiB although the server does not read")


def _keeps_apart(stage: Stage) -> None:
    (one, far_one), (two, far_two) = stage.established(), stage.open(client="192.0.2.2").established()
    data = stage.dialogue.to_server
    other = stage.dialogue.elsewhere or data[::-1]
    one.send(data)
    two.send(other)
    received = [far_one.receive(), far_two.receive()]
    for client, server, place in ((one, far_one, 0), (two, far_two, 1)):
        client.shutdown()
        received[place] += server.receive()
    stage.judge(received[0], data, "on the first of two connections")
    stage.judge(received[1], other, "on the second of two connections")
    expect_equal((far_one.ended, far_two.ended), (True, True), "the ends of two connections")


def _agrees_in_the_end(stage: Stage) -> None:
    stage.observer.keeps_data_filters = True
    client, server = stage.established()
    slow = [each for each in stage.observer.data_filters if IFWXSlowDataFilter.providedBy(each)]
    if not slow:
        raise NotApplicable("it is no IFWXSlowDataFilter")
    client.send(stage.dialogue.to_server)
    server.receive()
    for each in slow:
        result, error = attempt(each, "OkToTerminate")
        expect(error is None, f"OkToTerminate, while data passes: {error!r}")
        expect(result in (None, S_OK, S_FALSE), f"OkToTerminate returned {result!r}, expected S_OK or S_FALSE")
    client.reset()
    server.reset()
    stage.firewall.loop.advance(LINGER_SECONDS * MOST_ASKED)
    for each in slow:
        result, _ = attempt(each, "OkToTerminate")
        expect(result in (None, S_OK), "OkToTerminate does not agree, long after both sides have gone")
    stage.expect_no_fault("OkToTerminate")


DATA_RULES: tuple[Rule[Stage], ...] = (
    Rule("the data filter and its completions have every member to the letter", ("B1.25", "B5.2"), _has_its_shape),
    Rule("Detach may come before SetSockets", ("B1.30", "B1.31"), _detaches_without_sockets),
    Rule("data passes whole, both ways", ("B3.3",), lambda stage: _passes(stage, None)),
    Rule("data passes whole in whatever pieces it comes", ("B3.3",), _passes_pieces),
    Rule("much data passes whole", ("B3.3", "B3.14"), _passes_much),
    Rule("the client's end leaves the other direction open", ("B3.25", "B3.29"), _half_closes(client_first=True)),
    Rule("the server's end leaves the other direction open", ("B3.25", "B3.29"), _half_closes(client_first=False)),
    Rule("both sockets get Close or Shutdown when both directions end", ("B3.28", "B3.29"), _gives_sockets_up),
    Rule("a client that resets has both sockets closed", ("B3.30",), _closes_on_failure(client_leaves=True)),
    Rule("a server that resets has both sockets closed", ("B3.30",), _closes_on_failure(client_leaves=False)),
    Rule("OkToTerminate agrees in the end", ("B1.38",), _agrees_in_the_end),
    Rule("Detach lets go of the sockets and the connection", ("B1.31", "B1.35"), _lets_go),
    Rule("methods and completions succeed however a connection ends", ("B1.31", "B5.9"), _minds_its_manners),
    Rule("posts nothing after Shutdown, Close or Detach", ("B3.25", "B3.26", "B3.31"), _posts_nothing_late),
    Rule("every Recv has a completion", ("B3.13",), _receives_with_completion),
    Rule("leaves the buffers that it receives as they are", ("B3.12", "B3.14"), _leaves_buffers),
    Rule("a reader that stops holds the sender back", ("B3.14",), _stops_when_stopped),
    Rule("keeps connections apart", ("B1.24",), _keeps_apart),
)
