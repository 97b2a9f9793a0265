"""Time for a stop that takes longer (behaviour B1.13); tests/integration has it with a service manager."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fwx.impl.raw import raw
from fwx.interfaces import E_INVALIDARG, S_OK, COMError, IFWXFirewall2
from fwx.testing import MemoryFirewall


@pytest.fixture
def memory() -> Iterator[MemoryFirewall]:
    memory = MemoryFirewall()
    yield memory
    memory.close()


def test_the_host_is_asked(memory: MemoryFirewall) -> None:
    """B1.13: by both faces."""
    asked: list[int] = []
    memory.engine.more_time = asked.append
    memory.firewall.UpdateServiceStatus(1500)
    assert raw(memory.firewall, IFWXFirewall2).UpdateServiceStatus(0xFFFFFFFF) == S_OK
    assert asked == [1500, 0xFFFFFFFF]


def test_nobody_is_there_to_ask(memory: MemoryFirewall) -> None:
    memory.firewall.UpdateServiceStatus(1500)


@pytest.mark.parametrize("hint", [-1, 1 << 32, None, "1500", 1.5])
def test_what_is_no_time(memory: MemoryFirewall, hint: Any) -> None:
    with pytest.raises(COMError) as caught:
        memory.firewall.UpdateServiceStatus(hint)
    assert caught.value.hresult == E_INVALIDARG
