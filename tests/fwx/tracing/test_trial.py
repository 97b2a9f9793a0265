"""The strictest script that a recording goes by is the one that is written."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fwx import sdk
from fwx.testing import MemoryFirewall
from fwx.tracing.conversation import Conversation, Event
from fwx.tracing.ends import RecordedTransport
from fwx.tracing.feed import Feed
from fwx.tracing.recording import Recording
from fwx.tracing.script import Script
from fwx.tracing.trial import script_of
from tests.fwx.tracing.conftest import Traced, played
from tests.fwx.tracing.test_text import conversation

WATCHED = '[[filter]]\nname = "watch"\nuse = "data-monitor"\neverywhere = true\n'
THROTTLED = '[[filter]]\nname = "slow"\nuse = "throttle"\noptions = { up = 1000, burst = 600 }\neverywhere = true\n'


def methods(script: Script) -> list[str]:
    return [method for method, _ in script.steps]


def test_two_things_before_the_filters_were_told_of_the_first() -> None:
    """What comes of each is written behind it, since it is the same in all."""
    made = conversation(
        ("client sends", b"a"), ("server sends", b"b"), ("server gets", b"a"), ("client gets", b"b"),
        ("server ends", b""), ("client ends", b""), ("client sees the end", b""), ("server sees the end", b""),
    )  # fmt: skip
    script = played(made)
    assert script.timely
    assert methods(script) == [
        "client_sends", "server_gets", "server_sends", "client_gets",
        "server_ends", "client_sees_end", "client_ends", "server_sees_end",
    ]  # fmt: skip


def test_the_same_in_all_is_not_enough_where_it_is_not_the_same() -> None:
    made = conversation(("client sends", b"a"), ("server sends", b"b"), ("server gets", b"A"), ("client gets", b"b"))
    script, complaint = script_of(made)
    assert "! << server gets b'A'" in complaint
    assert "| << server gets b'a'" in complaint
    assert methods(script) == ["client_sends", "server_sends", "client_gets", "server_gets"]


@pytest.fixture
def watched(memory: MemoryFirewall, configuration: Callable[[str], Any]) -> Conversation:
    """A connection through data-monitor, recorded."""
    memory.load("data-monitor", {}, "watch")
    traced = Traced(memory, configuration(WATCHED))
    client, server = memory.open().established()
    for data in (b"one", b"two"):
        client.send(data)
        assert server.receive() == data
    client.reset()
    return traced.one()


def test_calls_are_expected_where_they_are_made_again(watched: Conversation) -> None:
    script = played(watched)
    assert script.has_calls
    assert ("calls", ("external.Send(3)", "internal.Recv")) in list(script.steps)


def test_calls_that_are_not_made_again_are_not_expected(watched: Conversation) -> None:
    watched.events = [
        event._replace(words="external.Send(7)") if event.words == "external.Send(3)" else event
        for event in watched.events
    ]
    script = played(watched)
    assert not script.has_calls
    assert "server_gets" in methods(script)


def test_calls_of_pieces_that_came_together_stay(watched: Conversation) -> None:
    """Both pieces had come before the filter got the first."""
    events = watched.events
    first, second = (place for place, event in enumerate(events) if event.what == "client sends")
    events.insert(first + 1, events.pop(second))
    script = played(watched)
    assert (script.has_calls, script.timely) == (True, True)
    assert [arguments for method, arguments in script.steps if method == "server_gets"] == [(b"one",), (b"two",)]


def test_time_passes_where_the_filter_needs_it(memory: MemoryFirewall, configuration: Callable[[str], Any]) -> None:
    memory.load("throttle", {"up": 1000, "burst": 600}, "slow")
    traced = Traced(memory, configuration(THROTTLED))
    client, server = memory.open().established()
    client.send(bytes(1000))
    got = len(server.receive())
    for _ in range(8):
        memory.loop.advance(0.25)
        got += len(server.receive())
    client.reset()
    assert got == 1000
    script = played(traced.one())
    assert (script.has_times, script.timely) == (True, True)
    assert methods(script).count("passes") > 1
    fast = played(conversation(("client sends", b"x"), ("server gets", b"x")))
    assert not fast.has_times


class Later(sdk.DataPump):
    """Passes on what the client says when it likes: each one in pieces of another size."""

    made = 0

    def __init__(self, firewall: Any) -> None:
        super().__init__()
        type(self).made += 1
        self._size = type(self).made
        self._firewall = firewall
        self._held = b""

    def inspect(self, to_server: bool, buffer: Any) -> Any:
        data = bytes(buffer.GetBufferAndSize())
        if not to_server:
            return buffer
        self._held += data
        if data and len(self._held) < self._size:
            return None
        held, self._held = self._held, b""
        return self._firewall.CreateConstBuffer(held) if held else buffer


@sdk.implementer(sdk.IFWXFilter)
class Moody(sdk.ConnectionFilter):
    def data_filter(self, asked: sdk.AskedConnection) -> Any:
        return Later(self.firewall)


def test_what_comes_when_it_likes(memory: MemoryFirewall, configuration: Callable[[str], Any]) -> None:
    """Each play is another one: only what each side gets in all is sure."""
    table = f'[[filter]]\nname = "moody"\nuse = "{__name__}:Moody"\neverywhere = true\n'
    memory.load(f"{__name__}:Moody", {}, "moody")
    traced = Traced(memory, configuration(table))
    Later.made = 1
    client, server = memory.open().established()
    for letter in b"a moody filter":
        client.send(bytes([letter]))
    client.shutdown()
    assert server.receive() == b"a moody filter"
    server.shutdown()
    script = played(traced.one())
    assert not script.timely


# ---- the ends --------------------------------------------------------------------------------------------------------


class Failing:
    """A transport whose every call fails as it is told to."""

    fault = ""

    def __init__(self, number: int) -> None:
        self.error = OSError(number, "as told")

    def recv(self, size: int) -> bytes:
        raise self.error

    def send(self, data: Any) -> int:
        raise self.error

    def take_error(self) -> int:
        return self.error.errno or 0

    def has_data(self) -> bool:
        return False


def ends(transport: Any, early: bytes = b"") -> tuple[RecordedTransport, Callable[[], list[str]]]:
    feed = Feed()
    memory = MemoryFirewall()
    recording = Recording(1, None, feed, 1000, lambda: 0.0)

    def whats() -> list[str]:
        memory.close()
        return [item.what for item in iter(feed.take, None)]

    return RecordedTransport(transport, recording, "client", early, memory.loop.queue), whats


@pytest.mark.parametrize(
    "use",
    [
        lambda transport: transport.recv(10),
        lambda transport: transport.recv_into(bytearray(10)),
        lambda transport: transport.send(b"x"),
    ],
)
@pytest.mark.parametrize(("number", "noted"), [(errno.ECONNRESET, ["client resets"]), (errno.EAGAIN, [])])
def test_a_failing_call_is_a_reset_unless_it_would_block(use: Any, number: int, noted: list[str]) -> None:
    transport, whats = ends(Failing(number))
    with pytest.raises(OSError, match="as told"):
        use(transport)
    assert whats() == noted


def test_an_error_that_is_asked_for_is_a_reset() -> None:
    transport, whats = ends(Failing(errno.ECONNRESET))
    assert transport.take_error() == errno.ECONNRESET
    assert whats() == ["client resets"]


def test_what_came_ahead_is_received_in_pieces() -> None:
    transport, whats = ends(Failing(errno.EAGAIN), b"abcdef")
    assert transport.has_data()
    assert transport.recv(4) == b"abcd"
    block = bytearray(4)
    assert (transport.recv_into(block), block) == (2, b"ef\0\0")
    assert not transport.has_data()
    assert transport.fault == ""
    with pytest.raises(BlockingIOError):
        transport.recv(4)
    assert whats() == ["client sends", "client sends"]


def test_calls_of_another_thread_are_noted_in_their_order(
    memory: MemoryFirewall, configuration: Callable[[str], Any]
) -> None:
    """Of a filter that sends from a thread: the call stands before what comes of it."""
    sockets: list[Any] = []

    class Handed(sdk.DataPump):
        def SetSockets(self, piInternalSocket: Any, *rest: Any) -> None:
            sockets.append(piInternalSocket)
            super().SetSockets(piInternalSocket, *rest)

    @sdk.implementer(sdk.IFWXFilter)
    class Filter(sdk.ConnectionFilter):
        def data_filter(self, asked: sdk.AskedConnection) -> Any:
            return Handed()

    memory.start(Filter)
    traced = Traced(memory, configuration('[[filter]]\nname = "filter"\nuse = "x:Y"\neverywhere = true\n'))
    client, _ = memory.open().established()
    thread = threading.Thread(
        target=lambda: sockets[0].Send(memory.firewall.CreateConstBuffer(b"from afar", None), None, None)
    )
    thread.start()
    thread.join()
    assert client.receive() == b"from afar"
    events = [event.words or event.what for event in traced.one().events]
    assert events[-2:] == ["internal.Send(9)", "client gets"]
    sockets.clear()


def test_an_event_has_no_more_than_it_needs() -> None:
    assert Event(0.5, "client ends") == (0.5, "client ends", b"", "")
