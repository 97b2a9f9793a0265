"""Playbooks: what they compare, what they print when it went otherwise, and that none is forgotten."""

from __future__ import annotations

import gc
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fwx import sdk
from fwx.data_pump import DataPump
from fwx.filter_loader import FilterLoadError, FilterOptionsError, filter_clsid
from fwx.filters.data_monitor import DataMonitor, DataMonitorOptions
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import SocketAddress, fwxSourceNAT
from fwx.testing import AttachingFilter, MemoryFirewall, Playbook, PlaybookError
from tests.dns_wire import message, query, question


@pytest.fixture
def firewall() -> Iterator[MemoryFirewall]:
    firewall = MemoryFirewall()
    yield firewall
    firewall.close()


class Upper(DataPump):
    def inspect(self, to_server: bool, buffer: Any) -> Any:
        return FWXIOBuffer(buffer.ReadAt(0, 1 << 16).upper())


@pytest.fixture
def upper(firewall: MemoryFirewall) -> MemoryFirewall:
    firewall.start(lambda: AttachingFilter(Upper))
    return firewall


def test_a_conversation_through_a_filter(upper: MemoryFirewall) -> None:
    opened = (
        Playbook(upper)
        .client_sends(b"hello ")
        .server_gets(b"HELLO ")
        .client_sends(b"world")
        .server_gets(b"WORLD")
        .server_sends(b"yes")
        .client_gets(b"Y")
        .client_gets(b"ES")
        .client_ends()
        .server_sees_end()
        .server_ends()
        .client_sees_end()
        .play()
    )
    assert opened.refused is None
    assert opened.connection is not None


def test_the_order_of_what_is_expected_of_one_step_does_not_matter(upper: MemoryFirewall) -> None:
    for write in (
        lambda book: book.server_gets(b"HI").alerts(0).calls("external.Send(2)", "internal.Recv"),
        lambda book: book.calls("external.Send(2)", "internal.Recv").server_gets(b"HI"),
    ):
        write(Playbook(upper).client_sends(b"hi")).play()


def test_resets(upper: MemoryFirewall) -> None:
    Playbook(upper).client_resets().server_sees_reset().play()
    Playbook(upper).server_resets().client_sees_reset().play()


def test_the_calls_of_a_data_filter(upper: MemoryFirewall) -> None:
    (
        Playbook(upper)
        .calls("internal.Recv", "external.Recv")
        .client_sends(b"hello")
        .server_gets(b"HELLO")
        .calls("external.Send(5)", "internal.Recv")
        .client_ends()
        .server_sees_end()
        .calls("external.Shutdown(False)")
        .server_ends()
        .client_sees_end()
        .play()
    )


def test_refused_alerts_and_time(firewall: MemoryFirewall) -> None:
    firewall.start(lambda: DataMonitor(DataMonitorOptions(alert_on="EICAR")))
    (
        Playbook(firewall)
        .client_sends(b"EIC")
        .server_gets(b"EIC")
        .client_sends(b"AR")
        .server_gets(b"AR")
        .alerts()
        .passes(3600)
        .client_sends(b"EICAR")
        .server_gets(b"EICAR")
        .alerts(1)
        .play()
    )

    class Denies(DataPump):
        def __init__(self) -> None:
            raise OSError("no")

    firewall.start(lambda: AttachingFilter(Denies), "second")
    with pytest.raises(PlaybookError) as failure:
        Playbook(firewall, target=SocketAddress("203.0.113.9", 25), client="192.0.2.7").play()
    text = str(failure.value)
    assert "  >> client 192.0.2.7 asks for 203.0.113.9:25" in text
    assert "| << refused" in text
    assert "| !! a filter failed: FirewallEventHandler: OSError: no" in text


DIFFERENT: tuple[tuple[Callable[[Playbook], Playbook], str], ...] = (
    (lambda book: book.client_sends(b"hi").server_gets(b"hi"), "! << server gets b'hi' | << server gets b'HI'"),
    (lambda book: book.client_sends(b"hi"), "! | << server gets b'HI'"),
    (lambda book: book.server_gets(b"more"), "! << server gets b'more' |"),
    (lambda book: book.client_ends(), "! | << server sees the end"),
    (lambda book: book.client_resets().server_sees_end(), "! << server sees the end | << server sees a reset"),
    (lambda book: book.refused(), "! << refused |"),
    (lambda book: book.alerts(2), "! << 2 alerts |"),
    (lambda book: book.calls("external.Recv"), "! | internal.Recv"),
    (
        lambda book: book.client_ends().server_sees_end().client_sends(b"x"),
        "! | !! client sends b'x' was not possible: [Errno 32] Broken pipe",
    ),
)


@pytest.mark.parametrize(("write", "row"), DIFFERENT)
def test_what_differs_stands_side_by_side(
    write: Callable[[Playbook], Playbook], row: str, upper: MemoryFirewall
) -> None:
    book = write(Playbook(upper))
    with pytest.raises(PlaybookError) as failure:
        book.play()
    lines = [" ".join(line.split()) for line in str(failure.value).splitlines()]
    assert lines[0] == "the conversation went otherwise than written"
    assert row in lines


def test_a_playbook_that_is_never_played_is_an_error(firewall: MemoryFirewall, monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", lambda failure: caught.append(failure.exc_value))
    book = Playbook(firewall).client_sends(b"x")
    del book
    gc.collect()
    (error,) = caught
    assert isinstance(error, PlaybookError)
    assert "never played: call play()" in str(error)


def test_more_than_the_network_holds_passes_at_once(upper: MemoryFirewall) -> None:
    """Each side reads while the other sends, as peers do."""
    data = b"x" * 1_000_000
    book = Playbook(upper).client_sends(data).server_gets(data.upper())
    book.server_sends(data).client_gets(data.upper()).play()


class Late(AttachingFilter):
    """Holds back what the client says until the server has said something."""

    class Data(DataPump):
        def __init__(self) -> None:
            super().__init__()
            self._held = b""

        def inspect(self, to_server: bool, buffer: Any) -> Any:
            data = bytes(buffer.ReadAt(0, 1 << 16))
            if to_server and data:
                self._held += data
                return None
            if self._held:
                self._external.Send(FWXIOBuffer(self._held), None, None)
                self._held = b""
            return buffer

    def __init__(self) -> None:
        super().__init__(self.Data)


def test_what_comes_later_than_written_is_right_where_time_does_not_matter(firewall: MemoryFirewall) -> None:
    firewall.start(Late)

    def book(said: bytes = b"one") -> Playbook:
        return Playbook(firewall).client_sends(b"one").server_gets(said).server_sends(b"two").client_gets(b"two")

    with pytest.raises(PlaybookError):
        book().play()
    book().play(timely=False)
    with pytest.raises(PlaybookError) as failure:
        book(b"other").play(timely=False)
    lines = [" ".join(line.split()) for line in str(failure.value).splitlines()]
    assert "! << server gets b'other' | << server gets b'one'" in lines
    # What is expected stands behind all that happens.
    assert lines.index("! << server gets b'other' | << server gets b'one'") == len(lines) - 1
    with pytest.raises(PlaybookError):
        book().client_resets().play(timely=False)


def test_what_happened_can_be_asked_for(upper: MemoryFirewall) -> None:
    book = Playbook(upper).client_sends(b"hi").server_gets(b"HI").client_ends().server_sees_end()
    book.play()
    assert [column.data["server"] for column in book.happened] == [[], [b"HI"], []]
    assert [column.calls for column in book.happened][1] == ["external.Send(2)", "internal.Recv"]
    assert [column.events for column in book.happened] == [set(), set(), {"server sees the end"}]


def test_long_lines_are_shown_where_they_differ(upper: MemoryFirewall) -> None:
    data = b"X" * 5000 + b"here" + b"X" * 5000
    with pytest.raises(PlaybookError) as failure:
        Playbook(upper).client_sends(data).server_gets(data).play()
    text = str(failure.value)
    assert max(map(len, text.splitlines())) < 600
    assert re.search(r"! << server gets b'\.\.\.X{40}here.*\| << server gets b'\.\.\.X{40}HERE", text), text
    assert "(10022 characters)" in text


def test_datagrams(firewall: MemoryFirewall) -> None:
    """They stay apart, and those to the server come from the port that it answers."""
    target = SocketAddress("198.51.100.53", 53)
    book = Playbook(firewall, target=target, transport="udp", client="192.0.2.7", source=fwxSourceNAT, user="ann")
    book.client_sends(b"one").server_gets(b"one").client_sends(b"two").server_gets(b"two")
    book.server_sends(b"three").client_gets(b"three").server_sends(b"").client_gets(b"")
    opened = book.play()
    assert opened.connection.session.user_name == "ann"
    with pytest.raises(PlaybookError) as failure:
        Playbook(firewall, target=target.with_port(54), transport="udp").server_sends(b"unasked").play()
    assert "!! server sends b'unasked' was not possible: nobody has sent anything to the server" in str(failure.value)


def test_datagrams_that_are_refused(firewall: MemoryFirewall) -> None:
    firewall.load("dns", {"refuse_names": ["bad"]})
    book = Playbook(firewall, target=SocketAddress("198.51.100.53", 53), transport="udp")
    answer = message(question("www.bad"), number=7, flags=0x8105)
    book.client_sends(query("www.bad")).client_gets(answer).alerts().client_sends(query()).server_gets(query()).play()
    firewall.load(f"{__name__}:NoDatagrams", {}, "no")
    Playbook(firewall, transport="udp").client_sends(b"x").refused().play()


@sdk.implementer(sdk.IFWXFilter)
class NoDatagrams(sdk.Unknown):
    def FilterInit(self, pIFWXFirewall: Any) -> sdk.FwxFilterHookEvents:
        return sdk.FwxFilterHookEvents(sdk.fwx_Udp_Destination | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession: Any, pFilterHookEvents: Any) -> Any:
        @sdk.implementer(sdk.IFWXSessionFilter)
        class Session(sdk.Unknown):
            def FirewallEventHandler(self, pProxyEvent: Any) -> None:
                pProxyEvent.Parameters.UdpDest.piUdpDestination.Deny(0)

            def Detach(self) -> None: ...

        return Session()

    def FilterShutdown(self) -> None: ...


def test_a_filter_as_a_configuration_has_it(firewall: MemoryFirewall) -> None:
    assert firewall.load("data-monitor", {"alert_on": "x"}, "watch").clsid == filter_clsid("watch")
    with pytest.raises(FilterLoadError, match="no distribution offers it"):
        firewall.load("data-minotaur", {})
    with pytest.raises(FilterOptionsError, match="alert_on"):
        firewall.load("data-monitor", {"alert_on": 7})
    with pytest.raises(AssertionError, match="is failed: "):
        firewall.load("capture", {"folder": "/no/such/folder"})


def test_a_server_that_is_called_by_a_name(firewall: MemoryFirewall) -> None:
    firewall.names.table["www.example"] = ["192.0.2.80"]
    Playbook(firewall, target=SocketAddress("www.example", 80)).client_sends(b"x").server_gets(b"x").play()


def test_ports_that_are_handed_out(firewall: MemoryFirewall) -> None:
    network, inside = firewall.network, SocketAddress("10.0.0.1", 7002)
    network.hand_out(SocketAddress("192.0.2.200", 7001), inside, SocketAddress("192.0.2.200", 7003))
    opened = firewall.open()
    assert opened.connection.GetExternalSocketName() == SocketAddress("192.0.2.200", 7001)
    probe = network.datagram(socket.AF_INET)
    probe.connect(("192.0.2.1", 9))
    name = SocketAddress.from_sockaddr(probe.getsockname())
    assert (name.host, name.port > 49152) == ("10.0.0.1", True)
    assert network.free_address(socket.AF_INET6).host == "::1"
    for port in (7002, 7003):
        bound = network.stream(socket.AF_INET)
        bound.bind(("10.0.0.1", 0))
        assert bound.getsockname() == ("10.0.0.1", port)
        bound.close(False)
    assert network.free_port() > 49152
