"""The filter that ships: finds its pattern however the data is cut, passes every buffer on, raises one alert."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from zope.interface.registry import Components

from fwx import sdk
from fwx.filter_loader import make_filter
from fwx.filters.data_monitor import DataMonitor, PatternWatch
from fwx.impl.alert import Alert, Alerts
from fwx.impl.alerting import IAlerts
from fwx.impl.iobuffer import FWXIOBuffer

TARGET = sdk.SocketAddress("192.0.2.1", 25)
CLIENT = sdk.SocketAddress("10.0.0.7")


# The watch.


@pytest.mark.parametrize(
    ("pattern", "pieces", "found"),
    [
        (b"abc", [b"abc"], [True]),
        (b"abc", [b"xxabcxx"], [True]),
        (b"abc", [b"ab", b"c"], [False, True]),
        (b"abc", [b"a", b"b", b"c"], [False, False, True]),
        (b"abc", [b"ab", b"", b"c"], [False, False, True]),
        (b"abc", [b"ab", b"x", b"c"], [False, False, False]),
        (b"abc", [b"abc", b"x", b"abc"], [True, False, True]),
        (b"abc", [b"aab", b"c"], [False, True]),
        (b"aab", [b"aa", b"ab"], [False, True]),
        (b"aa", [b"a", b"a", b"a"], [False, True, True]),
        (b"a", [b"b", b"a"], [False, True]),
        (b"abc", [b"abc" * 2], [True]),
        (b"", [b"abc", b""], [False, False]),
        (b"abcdefgh", [b"xabcd", b"ef", b"ghx"], [False, False, True]),
    ],
)
def test_the_pattern_is_found_in_the_piece_it_ends_in(pattern: bytes, pieces: list[bytes], found: list[bool]) -> None:
    watch = PatternWatch(pattern)
    assert [watch.feed(memoryview(piece)) for piece in pieces] == found
    assert watch.total == sum(map(len, pieces))


def ends_of(pattern: bytes, data: bytes) -> set[int]:
    """Where each occurrence of *pattern* in *data* ends, overlapping ones included."""
    ends, start = set(), data.find(pattern)
    while start >= 0:
        ends.add(start + len(pattern))
        start = data.find(pattern, start + 1)
    return ends


@pytest.mark.parametrize("wrap", [bytes, bytearray, lambda piece: b"<" + piece + b">"])
@given(
    pattern=st.text("ab", min_size=1, max_size=6).map(str.encode),
    data=st.text("ab", max_size=40).map(str.encode),
    cuts=st.lists(st.integers(0, 40), max_size=8),
)
@example(pattern=b"abab", data=b"ababab", cuts=[1, 2, 3, 4, 5])
def test_any_split_finds_what_find_finds(wrap: Any, pattern: bytes, data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    ends = ends_of(pattern, data)
    watch = PatternWatch(pattern)
    for start, stop in itertools.pairwise(edges):
        piece = memoryview(wrap(data[start:stop]))
        if len(piece) > stop - start:  # a view into a larger block
            piece = piece[1:-1]
        assert watch.feed(piece) == any(start < end <= stop for end in ends)
    assert watch.total == len(data)


# The filter, between sockets that record what it does.


class Socket:
    """One end of a stream: brings data to who asked for it, and keeps what was sent."""

    def __init__(self) -> None:
        self.asked: tuple[Any, Any] | None = None
        self.sends: list[tuple[Any, Any, Any]] = []
        self.shut: list[bool] = []
        self.closed: list[bool] = []

    def Recv(self, pIOBuffer: None, pIFWXIOCompletion: Any, UserData: Any) -> None:
        assert self.asked is None, "two receives at a time"
        self.asked = pIFWXIOCompletion, UserData

    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: Any) -> None:
        self.sends.append((pIOBuffer, pIFWXIOCompletion, UserData))

    def Shutdown(self, fAbortive: bool) -> None:
        self.shut.append(fAbortive)

    def Close(self, fAbortive: bool) -> None:
        self.closed.append(fAbortive)

    def bring(self, data: bytes) -> FWXIOBuffer:
        """Complete the pending receive with *data*."""
        assert self.asked is not None, "nothing was asked for"
        (completion, user_data), self.asked = self.asked, None
        buffer = FWXIOBuffer(data)
        completion.CompleteAsyncIO(True, 0, buffer, user_data, None, 0)
        return buffer

    def break_off(self) -> None:
        """Complete the pending receive with a reset."""
        assert self.asked is not None
        (completion, user_data), self.asked = self.asked, None
        completion.CompleteAsyncIO(False, int(sdk.WSAECONNRESET), None, user_data, None, 0)

    def take(self) -> Any:
        """Complete the oldest send and return its buffer."""
        buffer, completion, user_data = self.sends.pop(0)
        completion.CompleteAsyncIO(True, 0, buffer, user_data, None, 0)
        return buffer


class Connection(sdk.Unknown):
    """Takes the data filter and the class it asks for."""

    def __init__(self) -> None:
        self.attached: list[tuple[Any, sdk.FwxDataFilterPriorityClass]] = []

    def AttachDataFilter(self, piDataFilter: Any, PriorityClass: Any, punkFilterContext: None) -> None:
        self.attached.append((piDataFilter, PriorityClass))


class Session(sdk.Unknown):
    def GetClientAddress(self) -> sdk.SocketAddress:
        return CLIENT


class Firewall(sdk.Unknown):
    def __init__(self, alerts: Alerts) -> None:
        self._registry = Components("test")
        self._registry.registerUtility(alerts, IAlerts)


def connect_event(connection: Connection) -> sdk.FwxFirewallEvent:
    details = sdk.FwxConnectEvent(TARGET, TARGET.length, connection)  # type: ignore[arg-type]
    return event(sdk.fwx_Connect_Tcp, details)


def accept_event(connection: Connection) -> sdk.FwxFirewallEvent:
    details = sdk.FwxAcceptEvent(CLIENT, CLIENT.length, TARGET, TARGET.length, connection)  # type: ignore[arg-type]
    return event(sdk.fwx_AcceptedConnection, details)


def event(kind: sdk.FwxFirewallEventType, details: Any) -> sdk.FwxFirewallEvent:
    return sdk.FwxFirewallEvent(kind, sdk.fwxSourceWSP, sdk.FwxFirewallEventParameters.of(kind, details))


class Scene:
    """A monitor that looks for ``alert_on``, its session filter, and one connection between two sockets."""

    def __init__(self, alert_on: str = "EICAR") -> None:
        self.alerts: list[Alert] = []
        firewall: Any = Firewall(Alerts(lambda: 1000.0, [self.alerts.append]))
        self.monitor: Any = make_filter(DataMonitor, {"alert_on": alert_on})
        self.mask = int(self.monitor.FilterInit(firewall).dwGlobalEvents)
        self.session = self.monitor.AttachToSession(Session(), sdk.FwxFilterHookEvents(self.mask))
        self.client, self.server = Socket(), Socket()
        connection = Connection()
        assert self.session.FirewallEventHandler(connect_event(connection)) == sdk.S_OK
        ((self.data_filter, _),) = connection.attached
        self.data_filter.SetSockets(self.client, self.server, connection, None)

    def upload(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.client.bring(piece)
            self.server.take()

    def download(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.server.bring(piece)
            self.client.take()


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.data_filter.Detach()


def test_it_asks_for_connections_both_ways_of_every_client(scene: Scene) -> None:
    assert scene.mask == sdk.fwx_Connect_Tcp | sdk.fwx_AcceptedConnection | sdk.FWX_ALL_SOURCES


@pytest.mark.parametrize("make", [connect_event, accept_event])
def test_it_stands_in_the_middle_of_the_chain(scene: Scene, make: Any) -> None:
    connection = Connection()
    assert scene.session.FirewallEventHandler(make(connection)) == sdk.S_OK
    assert [(type(one).__name__, place) for one, place in connection.attached] == [
        ("MonitoredConnection", sdk.fwx_dfpc_Middle)
    ]


def test_other_events_pass(scene: Scene) -> None:
    ending = event(sdk.fwx_ConnectionTerminating, sdk.FwxEndConnectionEvent(Connection()))  # type: ignore[arg-type]
    assert scene.session.FirewallEventHandler(ending) == sdk.E_NOTIMPL


def test_every_buffer_is_handed_on_as_it_is(scene: Scene) -> None:
    up, down = scene.client.bring(b"a request"), scene.server.bring(b"an answer")
    assert scene.server.take() is up
    assert scene.client.take() is down


def test_the_end_of_each_direction_is_handed_on_and_both_close(scene: Scene) -> None:
    scene.client.bring(b"")
    assert (scene.server.shut, scene.server.closed) == ([False], [])
    scene.download(b"the answer to a closed request")
    scene.server.bring(b"")
    assert scene.client.shut == [False]
    assert scene.client.closed == scene.server.closed == [False]


def test_a_reset_is_handed_on(scene: Scene) -> None:
    scene.client.break_off()
    assert scene.client.closed == scene.server.closed == [True]


@pytest.mark.parametrize(
    ("up", "down", "words"),
    [
        ([b"xxEICARxx"], [], ["sent it to 192.0.2.1:25"]),
        ([b"xxEI", b"CARxx"], [], ["sent it to 192.0.2.1:25"]),
        ([b"E", b"I", b"C", b"A", b"R"], [], ["sent it to 192.0.2.1:25"]),
        ([], [b"EIC", b"AR"], ["got it from 192.0.2.1:25"]),
        ([b"EIC"], [b"AR"], []),
        ([b"EICA", b"!R"], [b"eicar"], []),
        ([b"EICAR", b"EICAR"], [b"EICAR"], ["sent it to 192.0.2.1:25"]),
    ],
)
def test_the_alert(scene: Scene, up: list[bytes], down: list[bytes], words: list[str]) -> None:
    scene.upload(*up)
    scene.download(*down)
    assert [(alert.event, alert.source, alert.key, alert.message) for alert in scene.alerts] == [
        ("Pattern found in data", "data-monitor", "10.0.0.7", f"b'EICAR': client 10.0.0.7 {text}") for text in words
    ]


def test_without_a_pattern_it_only_watches() -> None:
    scene = Scene("")
    scene.upload(b"EICAR", b"x")
    assert scene.alerts == []
    scene.data_filter.Detach()


def test_a_pattern_of_any_letters_is_looked_for_as_utf_8() -> None:
    scene = Scene("Straße")
    scene.upload("Straß".encode()[:-1], b"\x9fe")
    assert len(scene.alerts) == 1
    scene.data_filter.Detach()


@pytest.mark.parametrize("end", [lambda scene: scene.session.Detach(), lambda scene: scene.monitor.FilterShutdown()])
def test_after_the_end_of_session_or_filter_data_passes_without_an_alert(scene: Scene, end: Any) -> None:
    end(scene)
    scene.upload(b"EICAR")
    assert scene.alerts == []


def test_a_session_that_has_ended_takes_no_event(scene: Scene) -> None:
    scene.session.Detach()
    assert scene.session.FirewallEventHandler(connect_event(Connection())) == sdk.FWX_E_TERMINATING


# The filter on a whole connection.


def test_a_conversation(fwx_playbook: Any) -> None:
    """Everything passes as it came; one alert for a client, however often and however cut the pattern passes."""
    book = fwx_playbook(DataMonitor, {"alert_on": "EICAR"})
    book.calls("internal.Recv", "external.Recv")
    book.client_sends(b"an EI").server_gets(b"an EI").client_sends(b"CAR").server_gets(b"CAR").alerts(1)
    book.server_sends(b"EICAR").client_gets(b"EICAR").alerts(0)
    book.client_ends().server_sees_end().server_sends(b"late").client_gets(b"late").server_ends().client_sees_end()
    book.play()


def test_resets_of_both_sides(fwx_playbook: Any) -> None:
    fwx_playbook(DataMonitor, {}).client_sends(b"x").server_gets(b"x").client_resets().server_sees_reset().play()
    fwx_playbook(DataMonitor, {}).server_sends(b"x").client_gets(b"x").server_resets().client_sees_reset().play()
