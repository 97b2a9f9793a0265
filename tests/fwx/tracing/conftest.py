"""A firewall in memory whose connections are recorded, as ``fwx trace`` has it done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fwx.config import Configuration, load
from fwx.testing import MemoryFirewall
from fwx.tracing.control import line_of
from fwx.tracing.conversation import Conversation, Conversations
from fwx.tracing.criteria import Criteria
from fwx.tracing.feed import Feed
from fwx.tracing.recorder import Recorder, Recorders
from fwx.tracing.script import Script
from fwx.tracing.text import TestText
from fwx.tracing.trial import script_of


class Traced:
    """A recorder on a firewall in memory.

    :ivar lines: what the command has got so far.
    """

    def __init__(self, memory: MemoryFirewall, configuration: Configuration, **request: Any) -> None:
        self.memory = memory
        self.recorders = Recorders(memory.engine)
        self.recorder = Recorder(
            memory.engine, SimpleNamespace(configuration=configuration), Criteria.of(request, configuration)
        )
        self.recorders.add(self.recorder)
        self.lines: list[dict[str, Any]] = []

    def take(self) -> Conversations:
        """Let the command have what there is; return what it makes of all of it."""
        self.memory.loop.run()
        feed: Feed = self.recorder.feed
        while (item := feed.take()) is not None:
            self.lines.append(json.loads(json.dumps(line_of(item))))
        conversations = Conversations()
        for line in self.lines:
            conversations.take(line)
        return conversations

    def one(self) -> Conversation:
        (conversation,) = self.take().values()
        return conversation


@pytest.fixture
def configuration(tmp_path: Path) -> Callable[[str], Configuration]:
    def make(text: str = "") -> Configuration:
        path = tmp_path / "fwx.toml"
        path.write_text(text)
        return load(path)

    return make


@pytest.fixture
def memory() -> Iterator[MemoryFirewall]:
    firewall = MemoryFirewall()
    yield firewall
    firewall.close()


def run_text(text: TestText, folder: Path, name: str = "test_recorded.py") -> MemoryFirewall:
    """Write *text*, and run the test that it is; return the firewall that it was given, which is closed."""
    path = folder / name
    text.write(path)
    namespace: dict[str, Any] = {"__file__": str(path), "__name__": "test_recorded"}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    firewall = MemoryFirewall()
    try:
        namespace["test_recorded_connection"](firewall)
    finally:
        firewall.close()
    return firewall


def played(conversation: Conversation) -> Script:
    """Return the script of *conversation*, which must go by it."""
    script, complaint = script_of(conversation)
    assert complaint == ""
    return script
