"""What the tests of TLS share: conversations over sockets in memory, of which nothing may be left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fwx.testing import MemoryFirewall
from tests.impl.tls.parts import Conversation, Wire


@pytest.fixture
def memory() -> Iterator[MemoryFirewall]:
    memory = MemoryFirewall()
    yield memory
    memory.close()
    assert not memory.network.open_transports
    assert not memory.firewall._sockets
    assert not memory.faults


@pytest.fixture
def wire(memory: MemoryFirewall) -> Iterator[Callable[[], Wire]]:
    """Makes sockets of the service whose other end is the test's."""
    made: list[Wire] = []

    def make() -> Wire:
        made.append(Wire(memory))
        return made[-1]

    yield make
    memory.close()
    for each in made:
        each.peer.close()
    memory.loop.run()


@pytest.fixture
def talk() -> Iterator[Callable[..., Conversation]]:
    """Makes conversations; when the test is over nothing of them may be left."""
    made: list[Conversation] = []

    def make(*args: Any, **options: Any) -> Conversation:
        made.append(Conversation(*args, **options))
        made[-1].loop.run()
        return made[-1]

    yield make
    for each in made:
        each.close()
        assert not each.memory.network.open_transports
        assert not each.memory.firewall._sockets
