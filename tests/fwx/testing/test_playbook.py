"""Playbooks: what they compare, what they print when it went otherwise, and that none is forgotten."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fwx.data_pump import DataPump
from fwx.filters.data_monitor import DataMonitor, DataMonitorOptions
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import SocketAddress
from fwx.testing import AttachingFilter, MemoryFirewall, Playbook, PlaybookError


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
