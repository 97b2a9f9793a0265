"""Playing what was recorded at once: what passes now is how the test is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from fwx.filter_loader import FilterLoadError, FilterOptionsError
from fwx.interfaces import FwxFirewallEventSource
from fwx.testing import MemoryFirewall, Playbook, PlaybookError
from fwx.tracing.conversation import Conversation
from fwx.tracing.script import Script
from fwx.tracing.text import own_folder

_WAYS: tuple[dict[str, bool], ...] = (
    {"has_calls": True},
    {},
    {"has_times": True},
    {"timely": False},
    {"has_times": True, "timely": False},
)
"""The ways to write a conversation down, the strictest first."""


def script_of(conversation: Conversation) -> tuple[Script, str]:
    """Return the strictest script that *conversation* goes by when it is played now, and nothing; or one that it does
    not go by, and why."""
    failure = ""
    for way in _WAYS:
        if way.get("has_calls") and conversation.transport == "udp":
            continue  # nobody watches the sockets of datagrams
        script = Script(conversation, **way)
        try:
            _try(script)
        except PlaybookError as error:
            failure = failure or str(error)
        except (FilterLoadError, FilterOptionsError, AssertionError, OSError, RuntimeError) as error:
            return Script(conversation), f"it cannot be played here: {error}"
        else:
            return script, ""
    return Script(conversation), failure


def _try(script: Script) -> None:
    """Play *script*, and expect the alerts that there were. :raises PlaybookError: it went otherwise."""
    with _played(script) as book:
        try:
            book.play(timely=script.timely)
        except PlaybookError:
            if not any(book.alerts_raised):
                raise
        else:
            return
        script.expect_alerts(book.alerts_raised)
    with _played(script) as book:
        book.play(timely=script.timely)


@contextmanager
def _played(script: Script) -> Iterator[Any]:
    """Give the playbook of *script*, with its filters started."""
    conversation = script.conversation
    memory = MemoryFirewall()
    try:
        with TemporaryDirectory(prefix="fwx-trace-") as folder:
            for table in conversation.filters:
                options = {key: folder if own_folder(key, value) else value for key, value in table.options.items()}
                memory.load(table.use, options, table.name, opens_on_error=table.opens)
            if conversation.address is not None and conversation.target.address is None:
                memory.names.table[conversation.target.host] = [conversation.address.host]
            book = Playbook(
                memory,
                target=conversation.target,
                client=conversation.client,
                transport="udp" if conversation.transport == "udp" else "tcp",
                source=FwxFirewallEventSource(conversation.source),
                user=conversation.user,
                groups=conversation.groups,
            )
            for method, arguments in script.steps:
                getattr(book, method)(*arguments)
            yield book
            memory.close()
            if memory.faults:
                raise PlaybookError(f"a filter failed: {'; '.join(memory.faults)}")
    finally:
        memory.close()
