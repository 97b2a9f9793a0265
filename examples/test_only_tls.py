"""The tests of only_tls.py: ``pytest examples/test_only_tls.py``. The fixture comes with fwx."""

from __future__ import annotations

from only_tls import OnlyTls

CLIENT_HELLO = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"
SERVER_HELLO = b"\x16\x03\x03\x00\x05\x02\x00\x00\x01\x03"
SSH = b"SSH-2.0-OpenSSH_9.2\r\n"


def test_tls_passes_in_whatever_pieces_it_comes(fwx_playbook):
    book = fwx_playbook(OnlyTls)
    book.client_sends(CLIENT_HELLO[:3]).client_sends(CLIENT_HELLO[3:]).server_gets(CLIENT_HELLO)
    book.server_sends(SERVER_HELLO).client_gets(SERVER_HELLO)
    book.client_ends().server_sees_end()
    book.server_ends().client_sees_end()
    book.play()


def test_neither_side_hears_another_protocol(fwx_playbook, fwx_firewall):
    book = fwx_playbook(OnlyTls)
    book.server_sends(SSH)
    book.client_sends(SSH).client_sees_reset().server_sees_reset()
    book.play()
    assert fwx_firewall.records[-1].reason == "the client does not speak TLS"


def test_a_client_that_ends_too_early(fwx_playbook):
    book = fwx_playbook(OnlyTls)
    book.client_sends(CLIENT_HELLO[:5])
    book.client_ends().client_sees_reset().server_sees_reset()
    book.play()


def test_a_client_that_says_nothing(fwx_playbook):
    book = fwx_playbook(OnlyTls)
    book.server_sends(SSH)
    book.passes(10.1).client_sees_reset().server_sees_reset()
    book.play()
