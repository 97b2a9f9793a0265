"""The tests of upper-case: no network, no service, no root. Run them with pytest."""

from __future__ import annotations

from typing import Any

import pytest
from fwx_upper_case import UpperCase
from fwx_upper_case.upper_case import UpperCaseOptions

from fwx.testing import Dialogue, MemoryConnection, MemoryFirewall, check_filter


@pytest.mark.parametrize("direction", ["to client", "to server", "both"])
def test_the_filter_keeps_the_contract(direction: str) -> None:
    check_filter(UpperCase, {"direction": direction}, dialogue=Dialogue(changes_data=True)).require()


@pytest.mark.parametrize(
    ("options", "server_gets", "client_gets"),
    [
        ({}, b"abc", b"XYZ"),
        ({"direction": "to server"}, b"ABC", b"xyz"),
        ({"direction": "both"}, b"ABC", b"XYZ"),
    ],
)
def test_whose_data_changes(fwx_playbook: Any, options: dict[str, Any], server_gets: bytes, client_gets: bytes) -> None:
    book = fwx_playbook(UpperCase, options)
    book.client_sends(b"abc").server_gets(server_gets)
    book.server_sends(b"xyz").client_gets(client_gets)
    book.play()


def test_a_letter_that_comes_in_two_buffers_is_put_together(fwx_playbook: Any) -> None:
    book = fwx_playbook(UpperCase, {"append": "."})
    book.server_sends(b"stra\xc3").client_gets(b"STRA")
    book.server_sends(b"\x9fe").client_gets(b"SSE")
    book.server_ends().client_gets(b".").client_sees_end()
    book.client_sends(b"still open").server_gets(b"still open")
    book.play()


@pytest.fixture
def started(fwx_firewall: MemoryFirewall) -> None:
    fwx_firewall.start(lambda: UpperCase(UpperCaseOptions()), "upper-case")


@pytest.mark.usefixtures("started")
def test_a_client_that_does_not_read_costs_a_bounded_number_of_bytes(fwx_connection: MemoryConnection) -> None:
    _, server = fwx_connection.established()
    with pytest.raises(AssertionError, match="the other side takes no more"):
        server.send(bytes(100_000_000))


@pytest.mark.usefixtures("started")
def test_the_log_names_the_filter(fwx_connection: MemoryConnection, fwx_firewall: MemoryFirewall) -> None:
    client, _ = fwx_connection.established()
    client.reset()
    fwx_firewall.loop.run()
    (record,) = (record for record in fwx_firewall.records if record.filters)
    assert record.filters == "upper-case"
