"""Whatever is posted, from whatever thread, in whatever order, and however it ends: each completes once, in order."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from zope.interface import implementer

from fwx.data_pump import DataPump
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.junction import junction
from fwx.impl.sockets import FWXSocket
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXDataFilter
from fwx.interfaces.hresult import FWX_E_TERMINATING, WSAECONNABORTED, COMError
from fwx.testing import (
    AttachingFilter,
    MemoryFirewall,
    MemoryLoop,
    PlainBuffer,
    SocketPair,
    memory_pair,
    neighbour_pair,
)
from fwx.testing.sockets import SocketOwner
from tests.impl.ledger import BUFFERS, Ledger, Operation

# The largest is over what one direction in memory and the high water mark take together.
SIZES = st.sampled_from([0, 1, 3, 1000, 70_000, 600_000])
SETTINGS = settings(
    max_examples=60, stateful_step_count=80, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
# A failure is made small before it is told.
pytestmark = pytest.mark.timeout(400)
RECEIVERS = {
    "the service's": lambda: None,
    "allocated": lambda: FWXIOBuffer.allocated(500),
    "large": lambda: FWXIOBuffer.allocated(200_000),
    "a filter's own": lambda: PlainBuffer(70),
}


def chain_pair() -> SocketPair:
    """Two sockets with a chain of three pumps between them, each the neighbour of the next."""
    loop, owner = MemoryLoop(), SocketOwner()
    links = [junction(loop.queue) for _ in range(4)]
    pumps = [DataPump() for _ in range(3)]
    for pump, (_, inner), (outer, _) in zip(pumps, links, links[1:], strict=False):
        internal, external = (FWXSocket(loop.queue, owner, end) for end in (inner, outer))
        internal.pair_with(external)
        external.pair_with(internal)
        pump.SetSockets(internal, external, None, None)
    left, right = FWXSocket(loop.queue, owner, links[0][0]), FWXSocket(loop.queue, owner, links[-1][1])

    def close() -> None:
        for pump in pumps:
            pump.Detach()
        assert owner.failures == []

    return SocketPair(left, right, loop.run, close)


class Machine(RuleBasedStateMachine):
    """What both machines post, and what must hold after every step.

    :ivar sockets: those that are posted to, by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.sockets: dict[str, Any] = {}

    def post(self, name: str, method: str, buffer: Any, in_thread: bool) -> COMError | None:
        call = getattr(self.sockets[name], method)
        operation = Operation((name, method), buffer)
        return self.ledger.post(lambda each: call(buffer, self.ledger, each), operation, in_thread=in_thread)

    def call(self, name: str, method: str, abortive: bool, in_thread: bool) -> None:
        refused: list[BaseException] = []

        def run() -> None:
            try:
                getattr(self.sockets[name], method)(abortive)
            except COMError as error:
                refused.append(error)

        if in_thread:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        else:
            run()
        assert not (refused and method == "Close"), "Close never fails"

    @invariant()
    def nothing_is_wrong(self) -> None:
        self.ledger.expect_nothing_wrong()


class PairMachine(Machine):
    """Two sockets that face each other: through a network, as neighbours, or through three filters."""

    make = staticmethod(memory_pair)

    @initialize()
    def open(self) -> None:
        self.pair = self.make()
        self.sockets = {"left": self.pair.left, "right": self.pair.right}
        self.accepted = {"left": bytearray(), "right": bytearray()}
        self.number = 0

    @rule(
        name=st.sampled_from(["left", "right"]), size=SIZES, kind=st.sampled_from(list(BUFFERS)), thread=st.booleans()
    )
    def send(self, name: str, size: int, kind: str, thread: bool) -> None:
        self.number += 1
        data = bytes([self.number % 251]) * size
        if self.post(name, "Send", BUFFERS[kind](data), thread) is None:
            self.accepted[name] += data

    @rule(name=st.sampled_from(["left", "right"]), kind=st.sampled_from(list(RECEIVERS)), thread=st.booleans())
    def recv(self, name: str, kind: str, thread: bool) -> None:
        self.post(name, "Recv", RECEIVERS[kind](), thread)

    @rule(name=st.sampled_from(["left", "right"]), count=st.integers(1, 10))
    def recv_more(self, name: str, count: int) -> None:
        for _ in range(count):
            self.post(name, "Recv", None, False)

    @rule(name=st.sampled_from(["left", "right"]), abortive=st.sampled_from([False, False, True]), thread=st.booleans())
    def shutdown(self, name: str, abortive: bool, thread: bool) -> None:
        self.call(name, "Shutdown", abortive, thread)

    @rule(name=st.sampled_from(["left", "right"]), abortive=st.booleans(), thread=st.booleans())
    @precondition(lambda self: self.number > 5)
    def close(self, name: str, abortive: bool, thread: bool) -> None:
        self.call(name, "Close", abortive, thread)

    @rule()
    def run(self) -> None:
        self.pair.run()

    @invariant()
    def what_arrives_was_sent(self) -> None:
        for sender, receiver in (("left", "right"), ("right", "left")):
            received = self.ledger.received.get((receiver, "Recv"), b"")
            assert self.accepted_by(sender)[: len(received)] == received, "the stream is not what was sent"

    def accepted_by(self, name: str) -> bytes:
        return bytes(self.accepted[name]) if hasattr(self, "accepted") else b""

    def teardown(self) -> None:
        for name in self.sockets:
            self.call(name, "Close", False, False)
        self.pair.run()
        for sender, receiver in (("left", "right"), ("right", "left")):
            assert self.accepted[sender].startswith(self.ledger.received[receiver, "Recv"])
        for socket in self.sockets.values():
            # What is left to send waits for a side that has closed and reads no more; a connection's time ends that.
            socket._neighbour.abort(WSAECONNABORTED)
        self.pair.run()
        self.pair.close()
        self.pair.run()
        self.ledger.expect_nothing_wrong()
        self.ledger.expect_all_completed()


@pytest.mark.parametrize("make", [memory_pair, neighbour_pair, chain_pair])
def test_two_sockets(make: Any) -> None:
    """B5.3, B5.5, B3.31, DESIGN 5: exactly once, in order, never inside a call, with the caller's own user data."""

    class OfThisKind(PairMachine):
        pass

    OfThisKind.make = staticmethod(make)
    run_state_machine_as_test(OfThisKind, settings=SETTINGS)


# ---- a connection, its filters and its end ---------------------------------------------------------------------------


@implementer(IFWXDataFilter)
class Held(Unknown):
    """A data filter that does nothing by itself."""

    def __init__(self, machine: ConnectionMachine) -> None:
        self.machine = machine
        self.detached = False

    def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> None:
        number = len(self.machine.filters)
        self.machine.filters.append(self)
        self.machine.sockets[f"{number} internal"] = internal._socket
        self.machine.sockets[f"{number} external"] = external._socket

    def Detach(self) -> None:
        self.detached = True
        self.machine.ledger.over = True


class ConnectionMachine(Machine):
    """The sockets of up to three filters of one connection, whose client and server do what they like."""

    filters: list[Held]

    @initialize(count=st.integers(1, 3), injects=st.booleans())
    def open(self, count: int, injects: bool) -> None:
        # A filter that sends what nobody has said can be held back from receiving; then streams are not compared.
        self.injects = injects
        self.firewall = MemoryFirewall()
        self.filters = []
        for number in range(count):
            self.firewall.start(lambda: AttachingFilter(lambda: Held(self)), f"filter {number}")
        opened = self.firewall.open()
        self.connection = opened.connection
        client, server = opened.established()
        self.peers = {"client": client, "server": server}
        self.said = {"client": bytearray(), "server": bytearray()}
        self.heard = {"client": bytearray(), "server": bytearray()}
        self.number = self.steps = 0

    places = st.integers(0, 5)
    whos = st.sampled_from(["client", "server"])

    def at(self, place: int) -> str:
        """The name of a socket; those of one filter differ in the last bit of their places."""
        self.steps += 1
        return list(self.sockets)[place % len(self.sockets)]

    def expect_over(self, refused: COMError | None) -> None:
        if self.ledger.over:
            assert refused is not None
            assert refused.hresult == FWX_E_TERMINATING

    @rule(place=places, kind=st.sampled_from(list(RECEIVERS)), thread=st.booleans(), count=st.integers(1, 3))
    def recv(self, place: int, kind: str, thread: bool, count: int) -> None:
        for _ in range(count):
            self.expect_over(self.post(self.at(place), "Recv", RECEIVERS[kind](), thread))

    @rule(place=places, thread=st.booleans(), most=st.integers(1, 5))
    def forward(self, place: int, thread: bool, most: int) -> None:
        """Send on what was received, the same buffer objects in the same order."""
        name, other = self.at(place), self.at(place ^ 1)
        buffers = self.ledger.buffers[name, "Recv"]
        for _ in range(min(most, len(buffers))):
            refused = self.post(other, "Send", buffers.popleft(), thread)
            self.expect_over(refused)
            if refused is not None:
                buffers.clear()
                return

    @rule(place=places, kind=st.sampled_from(list(BUFFERS)), size=SIZES, thread=st.booleans())
    @precondition(lambda self: self.injects)
    def inject(self, place: int, kind: str, size: int, thread: bool) -> None:
        self.expect_over(self.post(self.at(place), "Send", BUFFERS[kind](bytes(size)), thread))

    @rule(place=places, abortive=st.sampled_from([False, False, False, True]), thread=st.booleans())
    @precondition(lambda self: self.steps > 5)
    def shutdown(self, place: int, abortive: bool, thread: bool) -> None:
        self.call(self.at(place), "Shutdown", abortive, thread)

    @rule(place=places, abortive=st.booleans(), thread=st.booleans())
    @precondition(lambda self: self.steps > 12)
    def close(self, place: int, abortive: bool, thread: bool) -> None:
        self.call(self.at(place), "Close", abortive, thread)

    @rule(who=whos, size=SIZES)
    def speak(self, who: str, size: int) -> None:
        self.number += 1
        peer = self.peers[who]
        for start in range(0, size, 10_000):
            data = bytes([self.number % 251]) * min(10_000, size - start)
            try:
                taken = peer._transport.send(data)
            except OSError:  # it takes no more, or is over
                return
            self.said[who] += data[:taken]
            self.firewall.loop.run()

    @rule(who=whos)
    def listen(self, who: str) -> None:
        self.heard[who] += self.peers[who].receive()

    @rule(who=whos, how=st.sampled_from(["shutdown", "shutdown", "close", "reset"]))
    @precondition(lambda self: self.steps > 12)
    def leave(self, who: str, how: str) -> None:
        getattr(self.peers[who], how)()

    @rule(in_thread=st.booleans())
    @precondition(lambda self: self.steps > 25)
    def kill(self, in_thread: bool) -> None:
        thread = threading.Thread(target=self.connection.Kill)
        if in_thread:
            thread.start()
            thread.join()
        else:
            self.connection.Kill()

    @rule()
    def run(self) -> None:
        self.firewall.loop.run()

    @rule()
    def wait(self) -> None:
        self.firewall.loop.advance(31.0)

    @invariant()
    def what_arrives_was_sent(self) -> None:
        compared = hasattr(self, "said") and not self.injects
        for sender, receiver in (("client", "server"), ("server", "client")) if compared else ():
            heard = self.heard[receiver]
            assert self.said[sender][: len(heard)] == heard

    def teardown(self) -> None:
        self.firewall.end_connections()
        for peer in self.peers.values():
            peer.reset()
        self.ledger.expect_nothing_wrong()
        self.ledger.expect_all_completed()
        assert all(each.detached for each in self.filters)
        self.firewall.close()
        assert self.firewall.faults == ()
        assert self.firewall.network.open_transports == set()


def test_the_sockets_of_a_connection() -> None:
    """B3.31, B5.3, B1.31: through one to three filters, until Detach, and nothing after it."""
    run_state_machine_as_test(ConnectionMachine, settings=SETTINGS)
