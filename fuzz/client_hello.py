"""The first bytes of a TLS client, from the first one."""

from __future__ import annotations

from fwx.impl.clienthello import read_greeting


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does."""
    whole = read_greeting(data)
    seen = False
    for end in range(len(data) + 1):
        part = read_greeting(data[:end])
        # What has been decided stays so, however much follows; the words of a fault may tell more then.
        assert not seen or (part.name, bool(part.fault)) == (whole.name, bool(whole.fault)), data
        seen = seen or part.complete
    assert seen == whole.complete, data
    assert whole.fault.isprintable(), whole.fault
    assert not (whole.fault and whole.name), whole
    assert whole.complete or (whole.name is None and not whole.fault), whole
