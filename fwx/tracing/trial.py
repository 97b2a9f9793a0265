"""Playing what was recorded at once: what passes now is how the test is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from fwx.filter_loader import FilterLoadError, FilterOptionsError
from fwx.interfaces import FwxFirewallEventSource
from fwx.testing import MemoryFirewall, Playbook, PlaybookError
from fwx.testing.playbook import Column
from fwx.tracing.conversation import Conversation
from fwx.tracing.script import Script
from fwx.tracing.text import own_folder


def script_of(conversation: Conversation) -> tuple[Script, str]:
    """Return the strictest script that *conversation* goes by when it is played now, and nothing; or one that it does
    not go by, and why."""
    failure = ""
    for has_times in (False, True):
        try:
            return _strictest(conversation, has_times), ""
        except PlaybookError as error:
            failure = failure or str(error)
        except (FilterLoadError, FilterOptionsError, AssertionError, OSError, RuntimeError) as error:
            return Script(conversation), f"it cannot be played here: {error}"
    return Script(conversation), failure


def _strictest(conversation: Conversation, has_times: bool) -> Script:
    """Return the strictest script there is, with calls if that can be. :raises PlaybookError: something else comes."""
    try:
        return _strict(conversation, True, has_times)
    except PlaybookError:
        """It may be the calls alone, or the places."""
    try:
        loose = _loose(conversation, has_times)
    except PlaybookError:
        loose = None
    if loose is not None and loose.has_calls and loose.timely:
        return loose
    try:
        return _strict(conversation, False, has_times)
    except PlaybookError:
        if loose is None:
            raise
        return loose


def _strict(conversation: Conversation, has_calls: bool, has_times: bool) -> Script:
    """Return a script in which everything comes where it was recorded. :raises PlaybookError: it went otherwise."""
    script = Script(conversation, has_calls=has_calls, has_times=has_times)
    _try(script)
    return script


def _loose(conversation: Conversation, has_times: bool) -> Script:
    """Return a script in which the same comes as was recorded, earlier or later.

    :raises PlaybookError: something else comes.
    """
    script = Script(conversation, has_calls=True, has_times=has_times, timely=False)
    happened = _try(script)
    settled = Script(conversation, has_calls=True, has_times=has_times)
    settled.settle(happened)
    try:
        _try(settled)
    except PlaybookError:
        return script  # it comes when it likes
    return settled


def _try(script: Script) -> Sequence[Column]:
    """Play *script*, and expect the alerts that there are; return what has happened.

    :raises PlaybookError: it went otherwise.
    """
    with _played(script) as book:
        try:
            book.play(timely=script.timely)
        except PlaybookError:
            if not any(column.alerts for column in book.happened):
                raise
        else:
            return book.happened
    script.expect_alerts(book.happened)
    with _played(script) as book:
        book.play(timely=script.timely)
    return book.happened


@contextmanager
def _played(script: Script) -> Iterator[Playbook]:
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
            if len(conversation.bound) > 1:
                memory.network.hand_out(*conversation.bound)
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
