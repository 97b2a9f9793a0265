"""What is recorded, of which connections, and how much of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fwx import sdk
from fwx.control import ControlError
from fwx.impl.request import Request
from fwx.interfaces import SocketAddress, fwxSourceNAT, fwxSourceWSP
from fwx.testing import MemoryFirewall, MemoryPeer, PlaybookError
from fwx.testing.firewall import _MemoryEntry
from fwx.tracing import LARGEST, MOST_BYTES
from fwx.tracing.conversation import Conversations, FilterTable
from fwx.tracing.criteria import Criteria
from fwx.tracing.feed import Feed, Item
from fwx.tracing.recording import TOO_SLOW
from fwx.tracing.script import Script
from fwx.tracing.text import TestText
from fwx.tracing.trial import script_of
from tests.dns_wire import query
from tests.fwx.tracing.conftest import Traced, played, run_text

Configure = Callable[..., Any]
DNS = '[[filter]]\nname = "names"\nuse = "dns"\neverywhere = true\n'
DENYING = f'[[filter]]\nname = "no"\nuse = "{__name__}:Denying"\neverywhere = true\n'


@sdk.implementer(sdk.IFWXSessionFilter)
class DenyingSession(sdk.Unknown):
    def FirewallEventHandler(self, pProxyEvent: Any) -> None:
        details = pProxyEvent.Parameters
        if pProxyEvent.EventType == sdk.fwx_Connect_Tcp:
            details.Connect.piConnection.Deny(0)
        else:
            details.UdpDest.piUdpDestination.Deny(0)

    def Detach(self) -> None:
        """Nothing to give back."""


@sdk.implementer(sdk.IFWXFilter)
class Denying(sdk.Unknown):
    def FilterInit(self, pIFWXFirewall: Any) -> sdk.FwxFilterHookEvents:
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.fwx_Udp_Destination | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession: Any, pFilterHookEvents: Any) -> DenyingSession:
        return DenyingSession()

    def FilterShutdown(self) -> None:
        """Nothing to give back."""


def whats(traced: Traced) -> list[str]:
    """What the command has been told of, in order."""
    traced.take()
    return [line["what"] for line in traced.lines]


def test_a_connection_from_begin_to_end(memory: MemoryFirewall, configuration: Configure) -> None:
    traced = Traced(memory, configuration())
    opened = memory.open(
        SocketAddress("203.0.113.9", 25), "192.0.2.7", source=fwxSourceNAT, user="ann", groups=("a", "b")
    )
    client, server = opened.established()
    memory.loop.advance(1.5)
    client.send(b"hello")
    assert server.receive() == b"hello"
    client.shutdown()
    server.shutdown()
    conversation = traced.one()
    assert conversation.is_over
    assert (conversation.client, conversation.target) == ("192.0.2.7", SocketAddress("203.0.113.9", 25))
    assert (conversation.source, conversation.user, conversation.groups) == (fwxSourceNAT, "ann", ("a", "b"))
    assert (conversation.cut, conversation.reason, conversation.filters) == ("", "", ())
    assert [(event.what, event.data) for event in conversation.events] == [
        ("client sends", b"hello"),
        ("server gets", b"hello"),
        ("client ends", b""),
        ("server sees the end", b""),
        ("server ends", b""),
        ("client sees the end", b""),
    ]
    assert [event.at for event in conversation.events][:2] == [1.5, 1.5]


def test_what_came_ahead_of_the_client_is_received_first(memory: MemoryFirewall, configuration: Configure) -> None:
    """Bytes behind a proxy request, without and with a filter: they are noted where they are received."""
    for filters in ((), ("data-monitor",)):
        for use in filters:
            memory.load(use, {}, "watch")
        traced = Traced(memory, configuration('[[filter]]\nname = "watch"\nuse = "data-monitor"\neverywhere = true\n'))
        target, address = SocketAddress("198.51.100.1", 80), SocketAddress("192.0.2.1", 7000 + len(filters))
        listener = memory.network.listen(target)
        inner, outer = memory.network.pair(target, address)
        early = b"x" * 20_000
        request = Request(
            _MemoryEntry(inner), inner, address, target, source=fwxSourceWSP, interface="memory", early=early
        )
        with memory.loop.asyncio.running():
            memory.gateway.open(request)
        memory.loop.run()
        client, server = MemoryPeer(outer), MemoryPeer(listener.accept()[0])
        listener.close(False)
        client.send(b"behind")
        assert server.receive() == early + b"behind"
        client.shutdown()
        server.shutdown()
        events = traced.one().events
        sent = b"".join(event.data for event in events if event.what == "client sends")
        assert sent == early + b"behind"
        assert played(traced.one()).timely
        traced.recorders.remove(traced.recorder)


@pytest.mark.parametrize(
    ("request_", "fits"),
    [
        ({}, True),
        ({"filter": "watch"}, True),
        ({"filter": "other"}, False),
        ({"rule": "everything"}, True),
        ({"rule": "web"}, False),
        ({"from": "192.0.2.1"}, True),
        ({"from": "192.0.2.0/24"}, True),
        ({"from": "192.0.2.2"}, False),
        ({"from": "2001:db8::/32"}, False),
        ({"host": "198.51.100.1", "port": 80}, True),
        ({"host": "198.51.100.1"}, True),
        ({"port": 80}, True),
        ({"port": 81}, False),
        ({"host": "198.51.100.2", "port": 80}, False),
    ],
)
def test_which_connections_are_wanted(
    memory: MemoryFirewall, configuration: Configure, request_: dict[str, Any], fits: bool
) -> None:
    text = "".join(f'[[filter]]\nname = "{name}"\nuse = "data-monitor"\n' for name in ("watch", "other"))
    text += "".join(
        f'[[rule]]\nname = "{name}"\naction = "allow"\nprotocols = ["any"]\nfrom = ["any"]\nto = ["any"]\n'
        for name in ("everything", "web")
    )
    memory.load("data-monitor", {}, "watch")
    traced = Traced(memory, configuration(text), **request_)
    memory.open()
    assert len(traced.take()) == fits


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"filter": "watch"}, "the service has no filter 'watch'; there are none"),
        ({"filter": 7}, "'filter' is 7; expected a text"),
        ({"rule": "web"}, "the service has no rule 'web'; there are none"),
        ({"from": "there"}, "'from' is 'there'; expected an address, or a network such as 192.0.2.0/24"),
        ({"from": "192.0.2.1/24"}, "'from' is '192.0.2.1/24'"),
        ({"host": None}, "'host' is None; expected a text"),
        ({"port": 65536}, "'port' is 65536; expected a whole number from 0 to 65535"),
        ({"count": 0}, "'count' is 0; expected a whole number from 1 to 10000"),
        ({"count": True}, "'count' is True"),
        ({"max bytes": MOST_BYTES + 1}, f"'max bytes' is {MOST_BYTES + 1}"),
    ],
)
def test_what_is_asked_for_wrongly(configuration: Configure, request_: dict[str, Any], words: str) -> None:
    with pytest.raises(ControlError) as failure:
        Criteria.of(request_, configuration())
    assert str(failure.value).startswith(words)


def test_what_is_asked_for_in_words(configuration: Configure) -> None:
    asked = Criteria.of({"from": "192.0.2.0/24", "host": "www.example"}, configuration())
    assert str(asked) == "from 192.0.2.0/24, to www.example:*"
    assert (asked.count, asked.most_bytes, str(Criteria.of({}, configuration()))) == (1, LARGEST, "any")


def test_no_more_than_were_asked_for(memory: MemoryFirewall, configuration: Configure) -> None:
    traced = Traced(memory, configuration(), count=2)
    for _ in range(3):
        memory.open()
    assert sorted(traced.take()) == [1, 2]


def test_more_bytes_than_were_asked_for(memory: MemoryFirewall, configuration: Configure) -> None:
    """They pass all the same; what was recorded before the cut is what was said."""
    traced = Traced(memory, configuration(), **{"max bytes": 10})
    client, server = memory.open().established()
    for _ in range(3):
        client.send(b"1234")
        assert server.receive() == b"1234"
    conversation = traced.one()
    assert (conversation.is_over, conversation.cut) == (True, "it has more than 10 bytes")
    assert [event.data for event in conversation.events] == [b"1234", b"1234"]
    client.reset()
    assert traced.one() == conversation


def test_a_command_that_is_too_slow(memory: MemoryFirewall, configuration: Configure) -> None:
    traced = Traced(memory, configuration(), **{"max bytes": 1 << 20})
    traced.recorder.feed._most = 4000
    client, server = memory.open().established()
    for _ in range(9):
        client.send(b"x" * 400)
        assert server.receive() == b"x" * 400
    conversation = traced.one()
    assert (conversation.is_over, conversation.cut) == (True, TOO_SLOW)
    assert 0 < len(conversation.events) < 18


def test_a_connection_that_begins_while_the_command_is_too_slow(
    memory: MemoryFirewall, configuration: Configure
) -> None:
    """The command hears of it all the same, and of those behind it when it has caught up."""
    traced = Traced(memory, configuration(), count=2)
    most, traced.recorder.feed._most = traced.recorder.feed._most, 0
    memory.open().established()
    (first,) = traced.take().values()
    assert (first.client, first.is_over, first.cut) == ("192.0.2.1", True, TOO_SLOW)
    traced.recorder.feed._most = most
    client, server = memory.open().established()
    client.close()
    server.close()
    assert [each.cut for each in traced.take().values()] == [TOO_SLOW, ""]


def test_a_feed_is_bounded() -> None:
    async def use() -> None:
        feed = Feed(1000)
        item = Item(1, "client sends", 0.0, b"x" * 200)
        assert (feed.put(item), feed.put(item), feed.put(item)) == (True, True, False)
        assert feed.put(Item(1, "cut", 0.0, "why"), always=True)
        await feed.wait()
        assert feed.take() == item
        assert feed.put(item) is False  # what must be taken counts, too
        assert feed.take() == item
        assert feed.put(item)
        assert (feed.take(), feed.take(), feed.take()) == (Item(1, "cut", 0.0, "why"), item, None)

    asyncio.run(use())


def test_nothing_is_told_once_nobody_records(memory: MemoryFirewall, configuration: Configure) -> None:
    assert memory.engine.tracer is None
    one, two = Traced(memory, configuration()), Traced(memory, configuration())
    one.recorders.remove(one.recorder)  # its own recorders: each command has its place in one in a service
    assert memory.engine.tracer is None
    two.recorders.add(one.recorder)
    client, server = memory.open().established()
    client.send(b"hello")
    assert server.receive() == b"hello"
    for traced in (one, two):
        assert whats(traced) == ["begin", "bound", "client sends", "server gets"]
        traced.recorder.stop("enough")
        two.recorders.remove(traced.recorder)
    assert (memory.engine.tracer, len(two.recorders)) == (None, 0)
    client.send(b"more")
    assert server.receive() == b"more"
    for traced in (one, two):
        assert (whats(traced)[-1], traced.one().cut) == ("cut", "enough")


def test_what_a_filter_denies(memory: MemoryFirewall, configuration: Configure) -> None:
    memory.load(f"{__name__}:Denying", {}, "no")
    traced = Traced(memory, configuration(DENYING))
    assert memory.open().refused is not None
    conversation = traced.one()
    assert (conversation.refused, conversation.reason) == (True, "denied by filter 'no'")
    assert list(played(conversation).steps) == [("refused", ())]
    assert conversation.filters[0].use == f"{__name__}:Denying"


def test_what_is_refused_for_another_reason_is_not_recorded(memory: MemoryFirewall, configuration: Configure) -> None:
    traced = Traced(memory, configuration())
    memory.open(answers=False)
    assert whats(traced) == []


def test_a_name_is_where_it_was(memory: MemoryFirewall, configuration: Configure) -> None:
    memory.names.table["www.example"] = ["192.0.2.80"]
    traced = Traced(memory, configuration(), host="www.example")
    client, server = memory.open(SocketAddress("www.example", 80)).established()
    client.send(b"x")
    assert server.receive() == b"x"
    client.reset()
    conversation = traced.one()
    assert conversation.address == SocketAddress("192.0.2.80", 80)
    assert played(conversation).timely


@sdk.implementer(sdk.IFWXDataFilter, sdk.IFWXIOCompletion)
class Teapot(sdk.Unknown):
    """Plays a server that answers whatever it is asked."""

    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> None:
        self._client = piInternalSocket
        self._client.Recv(None, self, None)

    def CompleteAsyncIO(
        self, fSuccess: bool, Win32ErrorCode: int, pIOBuffer: Any, UserData: Any, ExternalAddress: Any, Length: int
    ) -> None:
        if fSuccess and UserData is None:
            self._client.Send(pIOBuffer, None, None)
            self._client.Close(False)

    def Detach(self) -> None:
        self._client = None


@sdk.implementer(sdk.IFWXSessionFilter)
class TeapotSession(sdk.Unknown):
    def FirewallEventHandler(self, pProxyEvent: Any) -> None:
        pProxyEvent.Parameters.Connect.piConnection.EmulateForConnect(Teapot(), None)

    def Detach(self) -> None:
        """Nothing to give back."""


@sdk.implementer(sdk.IFWXFilter)
class Teapots(sdk.Unknown):
    def FilterInit(self, pIFWXFirewall: Any) -> sdk.FwxFilterHookEvents:
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession: Any, pFilterHookEvents: Any) -> TeapotSession:
        return TeapotSession()

    def FilterShutdown(self) -> None:
        """Nothing to give back."""


def test_a_server_that_a_filter_plays(memory: MemoryFirewall, configuration: Configure, tmp_path: Path) -> None:
    memory.load(f"{__name__}:Teapots", {}, "pots")
    text = f'[[filter]]\nname = "pots"\nuse = "{__name__}:Teapots"\neverywhere = true\n'
    traced = Traced(memory, configuration(text))
    opened = memory.open()
    assert (opened.server, opened.refused) == (None, None)
    opened.client.send(b"short and stout")
    assert opened.client.receive() == b"short and stout"
    script = played(traced.one())
    assert list(script.steps) == [
        ("calls", ("internal.Recv",)),
        ("client_sends", (b"short and stout",)),
        ("client_gets", (b"short and stout",)),
        ("client_sees_end", ()),
        ("calls", ("internal.Send(15)", "internal.Close(False)")),
    ]
    run_text(TestText(script), tmp_path)


FTP = '[[filter]]\nname = "files"\nuse = "ftp"\noptions = { published = PUBLISHED }\neverywhere = true\n'


@pytest.mark.parametrize(
    ("published", "said", "told", "passed_on"),
    [
        (True, "server", b"229 Entering Extended Passive Mode (|||2121|)\r\n", b"(|||7002|)"),
        (False, "client", b"EPRT |1|192.0.2.1|4000|\r\n", b"PORT 203,0,113,8,27,90\r\n"),
    ],
)
def test_ports_that_the_service_has_chosen_are_chosen_again(
    memory: MemoryFirewall,
    configuration: Configure,
    tmp_path: Path,
    published: bool,
    said: str,
    told: bytes,
    passed_on: bytes,
) -> None:
    """ftp has a port bound, inside or outside, and tells the other side of it."""
    memory.load("ftp", {"published": published}, "files")
    outside, inside = SocketAddress("203.0.113.8", 7001), SocketAddress("10.0.0.1", 7002)
    memory.network.hand_out(outside, inside)
    traced = Traced(memory, configuration(FTP.replace("PUBLISHED", str(published).lower())))
    client, server = memory.open(SocketAddress("203.0.113.9", 21)).established()
    server.send(b"220 ready\r\n")
    assert client.receive() == b"220 ready\r\n"
    if said == "server":
        client.send(b"EPSV\r\n")
        assert server.receive() == b"EPSV\r\n"
        server.send(told)
        assert passed_on in client.receive()
    else:
        client.send(told)
        assert server.receive() == passed_on
    client.reset()
    conversation = traced.one()
    assert [each.port for each in conversation.bound] == [7001, 7002]
    script = played(conversation)
    text = TestText(script)
    assert 'fwx_firewall.network.hand_out(SocketAddress("203.0.113.8", 7001), SocketAddress("' in text.text
    assert run_text(text, tmp_path).faults == ()


def test_what_is_received_after_a_filter_has_closed_is_not_noted(
    memory: MemoryFirewall, configuration: Configure
) -> None:
    """What waits in the socket then is thrown away, so that the peer sees an end and no reset."""

    class CloseAtOnce(sdk.DataPump):
        def inspect(self, to_server: bool, buffer: Any) -> Any:
            if len(buffer.GetBufferAndSize()) and to_server:
                self._internal.Close(False)
                self._external.Close(False)
            return buffer

    closing = f'[[filter]]\nname = "filter"\nuse = "{__name__}:Denying"\neverywhere = true\n'

    @sdk.implementer(sdk.IFWXFilter)
    class Filter(sdk.ConnectionFilter):
        def data_filter(self, asked: Any) -> Any:
            return CloseAtOnce()

    memory.start(Filter)
    traced = Traced(memory, configuration(closing))
    client, _ = memory.open().established()
    transport: Any = client._transport
    transport.send(b"x" * 16384)  # a block, and more behind it
    transport.send(b"and more")
    client.receive()
    sent = [event.data for event in traced.one().events if event.what == "client sends"]
    assert b"".join(sent) == b"x" * 16384


# ---- datagrams -------------------------------------------------------------------------------------------------------


def datagrams(memory: MemoryFirewall) -> None:
    opened = memory.open_datagrams(SocketAddress("198.51.100.53", 53))
    client, server = opened.established()
    client.send(b"one")
    client.send(b"two")
    assert server.receive() == [b"one", b"two"]
    server.send(b"three")
    assert client.receive() == [b"three"]
    opened.connection.end()
    memory.loop.run()


def test_datagrams_that_no_filter_looks_at(memory: MemoryFirewall, configuration: Configure) -> None:
    """For each of two commands."""
    first = Traced(memory, configuration())
    second = Traced(memory, configuration())
    second.recorders.add(first.recorder)
    datagrams(memory)
    for traced in (first, second):
        conversation = traced.one()
        assert (conversation.transport, conversation.is_over, conversation.cut) == ("udp", True, "")
        said = [(event.what, event.data) for event in conversation.events]
        assert said == [
            ("client sends", b"one"),
            ("server gets", b"one"),
            ("client sends", b"two"),
            ("server gets", b"two"),
            ("server sends", b"three"),
            ("client gets", b"three"),
        ]
        assert played(conversation).timely


def test_datagrams_have_no_end_to_wait_for(memory: MemoryFirewall, configuration: Configure) -> None:
    """What was recorded when the command has had enough is whole; of a stream it is not."""
    traced = Traced(memory, configuration(), count=2)
    for opened in (memory.open_datagrams(SocketAddress("198.51.100.53", 53)), memory.open()):
        opened.client.send(b"one")
        opened.established()[1].receive()
    traced.recorder.stop("enough")
    tcp, udp = sorted(traced.take().values(), key=lambda each: each.transport)
    assert (udp.transport, udp.is_over, udp.cut, udp.reason) == ("udp", True, "", "enough")
    assert (tcp.transport, tcp.is_over, tcp.cut) == ("tcp", True, "enough")
    assert played(udp).timely


def test_datagrams_through_a_filter(memory: MemoryFirewall, configuration: Configure) -> None:
    """dns refuses what is no query, with an answer of its own or none: the client's data goes nowhere."""
    memory.load("dns", {}, "names")
    traced = Traced(memory, configuration(DNS))
    opened = memory.open_datagrams(SocketAddress("198.51.100.53", 53))
    asked = query()
    opened.client.send(asked)
    assert opened.server.receive() == [asked]
    opened.client.send(asked + b"x")
    (answer,) = opened.client.receive()
    opened.connection.end()
    conversation = traced.one()
    assert conversation.events[-1].data == answer
    script = played(conversation)
    assert ("alerts", (1,)) in list(script.steps)
    assert script.timely


def test_a_destination_that_a_filter_denies(memory: MemoryFirewall, configuration: Configure) -> None:
    memory.load(f"{__name__}:Denying", {}, "no")
    traced = Traced(memory, configuration(DENYING))
    opened = memory.open_datagrams()
    opened.client.send(b"x")
    assert opened.refused is not None
    assert opened.server.receive() == []
    conversation = traced.one()
    assert conversation.refused
    assert list(played(conversation).steps) == [("client_sends", (b"",)), ("refused", ())]


# ---- the command's end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"recording": 1, "what": "client sends", "at": 0, "data": "aGk="},  # never begun
        {"recording": 1, "what": "begin", "at": 0, "words": {}},
        {"recording": 1, "what": "begin", "at": "soon", "words": {}},
    ],
)
def test_what_no_service_of_this_version_says(line: dict[str, Any]) -> None:
    with pytest.raises(ControlError, match="no line of a recording"):
        Conversations().take(line)


def test_data_that_is_no_base64(memory: MemoryFirewall, configuration: Configure) -> None:
    traced = Traced(memory, configuration())
    memory.open()
    conversations = traced.take()
    with pytest.raises(ControlError, match="no line of a recording"):
        conversations.take({"recording": 1, "what": "client sends", "at": 0, "data": "%%%"})


def test_a_filter_that_is_not_here(memory: MemoryFirewall, configuration: Configure) -> None:
    traced = Traced(memory, configuration())
    memory.open()
    conversation = traced.one()
    conversation.filters = (conversation_filter("no.such.module:Filter"),)
    script, complaint = script_of(conversation)
    assert complaint.startswith("it cannot be played here: filter 'no.such.module:Filter' cannot be loaded: ")
    assert isinstance(script, Script)
    conversation.filters = (conversation_filter("smtp", {"message_size": "big"}),)
    assert "message_size" in script_of(conversation)[1]


def conversation_filter(use: str, options: dict[str, Any] | None = None) -> Any:
    return FilterTable("x", use, options or {})


def test_another_filter_goes_another_way(memory: MemoryFirewall, configuration: Configure, tmp_path: Path) -> None:
    traced = Traced(memory, configuration())
    client, server = memory.open().established()
    client.send(b"hello")
    assert server.receive() == b"hello"
    conversation = traced.one()
    conversation.filters = (conversation_filter("smtp"),)
    script, complaint = script_of(conversation)
    assert "! << server gets b'hello'" in complaint
    text = TestText(script, complaint)
    assert "# It went otherwise when it was played at once:" in text.text
    with pytest.raises(PlaybookError, match="went otherwise"):
        run_text(text, tmp_path)
