"""The beginning of a TLS client, read for the host name that it asks for."""

from __future__ import annotations

import ssl

from fwx.impl.clienthello import Greeting, read_greeting

_LONGEST_FAULT = 200


def at_every_length(data: bytes) -> Greeting:
    """Return what is known in the end, when each byte comes by itself; once it is known, more changes nothing."""
    known: Greeting | None = None
    for length in range(len(data) + 1):
        greeting = read_greeting(data[:length])
        # Until the last byte is there, it may be found out earlier or later that it is none, not that it is another.
        if known is not None:
            assert (greeting.complete, greeting.name) == (known.complete, known.name), data
        if greeting.complete:
            known = greeting
        else:
            assert (greeting.name, greeting.fault) == (None, ""), data
    return known or Greeting(False, None)


def name_by_openssl(data: bytes) -> tuple[bool, str | None]:
    """Return whether OpenSSL got as far as the extensions, and the host name that it read."""
    seen: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def ask(_tls: object, name: str | None, _context: object) -> None:
        seen.append(name)

    context.sni_callback = ask
    incoming = ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(data)
    try:
        tls.do_handshake()
    except (ssl.SSLError, UnicodeError, ValueError):
        pass
    return bool(seen), seen[0] if seen else None


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does, or reads another name than OpenSSL."""
    greeting = at_every_length(data) if len(data) < 1024 else read_greeting(data)
    assert greeting.fault.isprintable(), greeting
    assert len(greeting.fault) < _LONGEST_FAULT, greeting
    assert not (greeting.fault and greeting.name), greeting
    if "more than" in greeting.fault or (greeting.name is not None and not greeting.name.isascii()):
        return  # limits of ours, and a name at which Python's ssl stumbles
    reached, name = name_by_openssl(data)
    if reached and name is not None:
        assert greeting == Greeting(True, name), (greeting, name)
