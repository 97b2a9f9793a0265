"""Whatever is said is recorded, written and played again, and is the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwx import sdk
from fwx.config import Configuration, load
from fwx.testing import MemoryFirewall, MemoryPeer, PlaybookError
from fwx.tracing.conversation import SIDES, Conversation
from fwx.tracing.text import TestText, literal
from tests.fwx.tracing.conftest import Traced, played, run_text

Said = tuple[str, str, bytes]
"""A side, what it does, and with which data."""

DATA = st.one_of(
    st.binary(min_size=1, max_size=64),
    st.builds(lambda byte, count: bytes([byte]) * count, st.integers(0, 255), st.integers(1, 40_000)),
    st.text(max_size=200).map(lambda text: text.encode() + b"\r\n"),
    st.binary(min_size=1, max_size=64).map(lambda data: data * 3000),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(SIDES), st.just("sends"), DATA),
        st.tuples(st.sampled_from(SIDES), st.sampled_from(["ends", "resets"]), st.just(b"")),
    ),
    max_size=8,
)


class Reverse(sdk.DataPump):
    """Turns each buffer round, and says goodbye to whoever sends no more."""

    def __init__(self, firewall: Any) -> None:
        super().__init__()
        self._firewall = firewall

    def inspect(self, to_server: bool, buffer: Any) -> Any:
        data = bytes(buffer.GetBufferAndSize())
        return self._firewall.CreateConstBuffer(data[::-1] or b"bye")


@sdk.implementer(sdk.IFWXFilter)
class Reversing(sdk.ConnectionFilter):
    def data_filter(self, asked: sdk.AskedConnection) -> Any:
        return Reverse(self.firewall)


def converse(memory: MemoryFirewall, steps: list[Said]) -> dict[str, bytes]:
    """Have *steps* happen as far as they can, then both sides end; return what each side got."""
    opened = memory.open()
    peers: dict[str, MemoryPeer] = dict(zip(SIDES, opened.established(), strict=True))
    got = dict.fromkeys(SIDES, b"")
    gone: set[str] = set()
    for side, what, data in [*steps, *((side, "ends", b"") for side in SIDES)]:
        if side in gone or any(peer.was_reset for peer in peers.values()):
            continue
        if what == "sends":
            view = memoryview(data)
            while view:
                peers[side].send(bytes(view[:16384]))
                view = view[16384:]
                for each, peer in peers.items():
                    got[each] += peer.receive()
        elif what == "ends":
            gone.add(side)
            peers[side].shutdown()
        else:
            gone.update(SIDES)
            peers[side].reset()
        for each, peer in peers.items():
            got[each] += peer.receive()
    return got


def recorded(steps: list[Said], configuration: Configuration, filters: dict[str, str]) -> Conversation:
    memory = MemoryFirewall()
    try:
        for name, use in filters.items():
            memory.load(use, {}, name)
        traced = Traced(memory, configuration, **{"max bytes": 8 << 20})
        got = converse(memory, steps)
        conversation = traced.one()
    finally:
        memory.close()
    for side in SIDES:
        told = b"".join(event.data for event in conversation.events if event.what == f"{side} gets")
        assert told == got[side]
    return conversation


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    path = tmp_path_factory.mktemp("configured") / "fwx.toml"
    path.write_text(f'[[filter]]\nname = "turn"\nuse = "{__name__}:Reversing"\neverywhere = true\n')
    return load(path)


@pytest.mark.parametrize("filters", [{}, {"turn": f"{__name__}:Reversing"}], ids=["no filter", "a filter"])
@given(steps=STEPS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_any_conversation(steps: list[Said], filters: dict[str, str], configured: Configuration) -> None:
    """Without a filter what one side gets is what the other has sent; with one the test is as strict."""
    conversation = recorded(steps, configured, filters)
    script = played(conversation)
    assert script.timely
    folder = Path(tempfile.mkdtemp())
    try:
        text = TestText(script)
        assert run_text(text, folder).faults == ()
        if filters and any(method in ("client_sends", "server_sends") for method, _ in script.steps):
            text.text = text.text.replace("fwx_firewall.load(", "str(")
            with pytest.raises((PlaybookError, TypeError)):
                run_text(text, folder, "test_without.py")
    finally:
        shutil.rmtree(folder)


@given(data=st.one_of(st.binary(max_size=3000), st.binary(max_size=3).map(lambda data: data * 200), DATA))
def test_any_data_is_an_expression(data: bytes) -> None:
    lines = literal(data)
    assert eval("(" + "\n".join(lines) + ")") == data
    assert max(map(len, lines)) <= 110
    assert all(line.isascii() and line.isprintable() for line in lines)
