"""The test that a recording becomes: its text, and the file that it is written to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fwx.interfaces import fwxSourceNAT

if TYPE_CHECKING:
    from fwx.interfaces import SocketAddress
    from fwx.tracing.conversation import Conversation, FilterTable
    from fwx.tracing.script import Script, Step

WIDTH = 118
# A run of one byte that is longer is written as a product, and what takes more text than this is put beside the test.
_SHORTEST_RUN = 48
_LONGEST_TEXT = 4000
_LITERAL = 96
_RUN = re.compile(rb"(.)\1{%d,}" % (_SHORTEST_RUN - 1), re.DOTALL)
_ESCAPES = {ord("\\"): r"\\", ord('"'): r"\"", ord("\n"): r"\n", ord("\r"): r"\r", ord("\t"): r"\t"}
_FOLDER = re.compile(r"(?:.*_)?(?:folder|directory|dir)")


def own_folder(key: str, value: object) -> bool:
    """Tell whether the option *key* names a folder of the service, in whose place a test has one of its own."""
    return isinstance(value, str) and value.startswith("/") and _FOLDER.fullmatch(key) is not None


class TestText:
    """A playbook as a test of pytest.

    :ivar text: the module. :ivar data: what does not fit there, for a file of the same name that ends in ``.bin``.
    """

    __test__ = False  # for pytest, which takes the name for one of its own

    def __init__(self, script: Script, complaint: str = "") -> None:
        """*complaint* says why the script is known to fail."""
        self.data = b""
        self._places: dict[bytes, int] = {}
        body = list(self._body(script))
        conversation = script.conversation
        lines = ['"""A connection through filters, recorded by fwx trace."""', "", *_remarks(conversation, complaint)]
        lines += ["", *self._imports(conversation), "", ""]
        if conversation.cut:
            lines += [f"@pytest.mark.skip(reason={_said(f'the recording is not whole: {conversation.cut}')})"]
        arguments = "fwx_firewall: MemoryFirewall" + ", tmp_path: Path" * _has_folder(conversation)
        lines += [f"def test_recorded_connection({arguments}) -> None:", *(f"    {line}".rstrip() for line in body)]
        self.text = "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        """Write the test to *path*, mode 0600, and what belongs beside it; both or nothing.

        :raises OSError: also where one of them exists.
        """
        _write(path, self.text.encode())
        if self.data:
            try:
                _write(path.with_suffix(".bin"), self.data)
            except OSError:
                path.unlink()
                raise

    def _imports(self, conversation: Conversation) -> Iterator[str]:
        if self.data or _has_folder(conversation):
            yield from ("from pathlib import Path", "")
        if conversation.cut:
            yield from ("import pytest", "")
        yield f"from fwx.interfaces import SocketAddress{', fwxSourceNAT' * _is_nat(conversation)}"
        yield "from fwx.testing import MemoryFirewall, Playbook"
        if self.data:
            yield from ("", 'DATA = Path(__file__).with_suffix(".bin").read_bytes()')

    def _body(self, script: Script) -> Iterator[str]:
        conversation = script.conversation
        for table in conversation.filters:
            yield from _call("fwx_firewall.load", _load_arguments(table))
        if conversation.address is not None and conversation.target.address is None:
            host = _said(conversation.target.host)
            yield f"fwx_firewall.names.table[{host}] = [{_said(conversation.address.host)}]"
        if len(conversation.bound) > 1:
            yield from _call("fwx_firewall.network.hand_out", list(map(_address, conversation.bound)))
        yield from _call("book = Playbook", ["fwx_firewall", *_keywords(conversation)])
        for step in script.steps:
            yield from self._step(step)
        yield "book.play()" if script.timely else "book.play(timely=False)"

    def _step(self, step: Step) -> Iterator[str]:
        method, arguments = step
        words = [self._literal(each) if isinstance(each, bytes) else [_value(each)] for each in arguments]
        if len(words) == 1 and len(words[0]) > 1:
            yield f"book.{method}("
            yield from (f"    {line}" for line in words[0])
            yield ")"
        else:
            yield from _call(f"book.{method}", [line for lines in words for line in lines])

    def _literal(self, data: bytes) -> list[str]:
        """Return *data* as an expression, in lines."""
        if len(_RUN.sub(b"", data)) <= _LONGEST_TEXT:  # each of these bytes is a character at least
            lines = literal(data)
            if sum(map(len, lines)) <= _LONGEST_TEXT:
                return lines
        start = self._places.get(data)
        if start is None:
            start = self._places[data] = len(self.data)
            self.data += data
        return [f"DATA[{start}:{start + len(data)}]"]


def literal(data: bytes) -> list[str]:
    """Return *data* as an expression of Python, in lines that fit."""
    lines: list[str] = []
    place = 0
    for run in _RUN.finditer(data):
        lines += _joined(_quoted(data[place : run.start()]), bool(lines))
        lines += _joined([f"{_quoted(run[1])[0]} * {len(run[0])}"], bool(lines))
        place = run.end()
    return lines + _joined(_quoted(data[place:]), bool(lines)) or ['b""']


def _joined(parts: list[str], behind: bool) -> list[str]:
    """Literals that follow each other are one; a product needs its sign."""
    return [f"+ {parts[0]}", *parts[1:]] if behind and parts else parts


def _quoted(data: bytes) -> list[str]:
    """Return *data* as literals that stand behind each other; each ends at the end of a line, or where it is full."""
    parts: list[str] = []
    text = ""
    for number in data:
        text += _ESCAPES.get(number) or (chr(number) if 32 <= number < 127 else f"\\x{number:02x}")
        if number == 10 or len(text) >= _LITERAL:
            parts.append(f'b"{text}"')
            text = ""
    return parts + ([f'b"{text}"'] if text else [])


def _remarks(conversation: Conversation, complaint: str) -> Iterator[str]:
    when = datetime.fromtimestamp(conversation.time, UTC)
    what = "TCP connection" if conversation.transport == "tcp" else "UDP exchange"
    client, target = _plain(conversation.client), _plain(str(conversation.target))
    yield f"# {what} {conversation.connection} of {client} with {target},"
    yield f"# {when:%Y-%m-%d %H:%M:%S} UTC, let in by rule {_plain(conversation.rule) or '-'}."
    yield "# What was said stands here in plain, passwords too: keep it as you would keep them."
    if conversation.reason:
        yield f"# How it ended: {_plain(conversation.reason)}."
    for note in conversation.notes:
        yield f"# Not recorded: {_plain(note)}."
    if conversation.cut:
        yield f"# NOT WHOLE: {_plain(conversation.cut)}."
    if complaint:
        yield "# It went otherwise when it was played at once:"
        yield from (f"#   {_plain(line)}".rstrip() for line in complaint.splitlines())


def _load_arguments(table: FilterTable) -> list[str]:
    options = (
        f"{_said(key)}: {'str(tmp_path)' if own_folder(key, value) else _value(value)}"
        for key, value in table.options.items()
    )
    return [_said(table.use), f"{{{', '.join(options)}}}", _said(table.name), *["opens_on_error=True"] * table.opens]


def _has_folder(conversation: Conversation) -> bool:
    return any(own_folder(*option) for table in conversation.filters for option in table.options.items())


def _keywords(conversation: Conversation) -> Iterator[str]:
    yield f"target={_address(conversation.target)}"
    yield f"client={_said(conversation.client)}"
    if conversation.transport == "udp":
        yield 'transport="udp"'
    if _is_nat(conversation):
        yield "source=fwxSourceNAT"
    if conversation.user:
        yield f"user={_said(conversation.user)}"
        yield f"groups={conversation.groups!r}"


def _is_nat(conversation: Conversation) -> bool:
    return conversation.source == fwxSourceNAT


def _address(address: SocketAddress) -> str:
    return f"SocketAddress({_said(address.host)}, {address.port})"


def _call(function: str, arguments: list[str]) -> Iterator[str]:
    """Write a call on one line, or an argument to each."""
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= WIDTH and "\n" not in line:
        yield line
        return
    yield f"{function}("
    for argument in arguments:
        yield from (f"    {part}" for part in f"{argument},".splitlines())
    yield ")"


def _value(value: object) -> str:
    """Return what TOML and JSON have as an expression."""
    if isinstance(value, str):
        return _said(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_said(str(key))}: {_value(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def _said(text: str) -> str:
    """Return *text* as a literal, in double quotes where that is simple."""
    quoted = repr(text)
    return quoted if '"' in quoted or "\\'" in quoted else f'"{quoted[1:-1]}"'


def _plain(text: str) -> str:
    """Return *text* on one line, whatever is in it."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
    except OSError:
        path.unlink()
        raise
