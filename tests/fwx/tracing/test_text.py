"""The file that a recording becomes: readable, whatever was said and however things are called; and nobody else's."""

from __future__ import annotations

import resource
import stat
from pathlib import Path
from typing import Any

import pytest

from fwx.interfaces import SocketAddress, fwxSourceNAT
from fwx.tracing.conversation import Conversation, Event, FilterTable
from fwx.tracing.script import Script
from fwx.tracing.text import TestText, literal, own_folder
from fwx.tracing.trial import script_of
from tests.fwx.tracing.conftest import run_text

HOSTILE = 'a"b\'c\\d\n"""\nimport os\r\u2028\x1b[31m'


def conversation(*events: tuple[str, bytes], **facts: Any) -> Conversation:
    made = Conversation("192.0.2.1", SocketAddress("198.51.100.1", 80), source=0x4000_0000, is_over=True, **facts)
    made.events += [Event(0.0, what, data) for what, data in events]
    return made


def text_of(made: Conversation, **ways: Any) -> str:
    return TestText(Script(made, **ways)).text


def test_lines_stay_lines() -> None:
    assert literal(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == ['b"GET / HTTP/1.1\\r\\n"', 'b"Host: x\\r\\n"', 'b"\\r\\n"']
    assert literal(b"") == ['b""']
    assert literal(b'"\\\x00\xff') == ['b"\\"\\\\\\x00\\xff"']
    assert literal(b"x" * 1000) == ['b"x" * 1000']
    assert literal(b"head\n" + b"\x00" * 100 + b"tail") == ['b"head\\n"', '+ b"\\x00" * 100', '+ b"tail"']
    assert literal(b"x" * 47) == [f'b"{"x" * 47}"']


def test_names_are_names_whatever_is_in_them(tmp_path: Path) -> None:
    made = conversation(
        ("client sends", b"x"),
        ("server gets", b"x"),
        rule=HOSTILE,
        reason=HOSTILE,
        notes=[HOSTILE],
        user=HOSTILE,
        groups=(HOSTILE,),
        filters=(FilterTable(HOSTILE, "data-monitor", {"alert_on": HOSTILE}, opens=True),),
    )
    text = TestText(Script(made), HOSTILE)
    assert all(line.isprintable() for line in text.text.split("\n"))
    assert run_text(text, tmp_path).faults == ()


def test_who_the_client_is(tmp_path: Path) -> None:
    made = conversation(user="ann", groups=("a", "b"))
    made.source = int(fwxSourceNAT)
    made.target, made.address = SocketAddress("www.example", 80), SocketAddress("192.0.2.80", 80)
    text = text_of(made)
    assert "from fwx.interfaces import SocketAddress, fwxSourceNAT\n" in text
    assert 'fwx_firewall.names.table["www.example"] = ["192.0.2.80"]' in text
    assert '    target=SocketAddress("www.example", 80),\n' in text.replace("        ", "    ")
    assert "groups=('a', 'b')" in text
    run_text(TestText(Script(made)), tmp_path)


def test_a_folder_of_the_service_is_not_written_to(tmp_path: Path) -> None:
    """Neither when it is tried nor by the test."""
    folder = tmp_path / "captures"
    folder.mkdir()
    made = conversation(filters=(FilterTable("all", "capture", {"folder": str(folder)}),))
    script, complaint = script_of(made)
    assert complaint == ""
    text = TestText(script).text
    assert 'fwx_firewall.load("capture", {"folder": str(tmp_path)}, "all")' in text
    assert "def test_recorded_connection(fwx_firewall: MemoryFirewall, tmp_path: Path) -> None:" in text
    assert "from pathlib import Path\n" in text
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value", "is_one"),
    [
        ("folder", "/var/x", True),
        ("spool_dir", "/var/x", True),
        ("folder", "x", False),
        ("folder", 7, False),
        ("folders", "/var/x", False),
        ("direction", "/var/x", False),
    ],
)
def test_which_options_are_folders(key: str, value: object, is_one: bool) -> None:
    assert own_folder(key, value) == is_one


def test_what_is_long_is_beside_the_test_once(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40
    made = conversation(("client sends", data), ("server gets", data), ("server sends", data[::-1]))
    made.events.append(Event(0.0, "client gets", data[::-1]))
    text = TestText(Script(made))
    assert text.data == data + data[::-1]
    assert "book.client_sends(DATA[0:10240])" in text.text
    run_text(text, tmp_path)
    for name in ("test_recorded.py", "test_recorded.bin"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        text.write(tmp_path / "test_recorded.py")


@pytest.mark.parametrize("there", ["test_other.py", "test_other.bin"])
def test_nothing_is_left_of_a_test_whose_place_is_taken(tmp_path: Path, there: str) -> None:
    text = TestText(Script(conversation(("client sends", bytes(range(256)) * 40))))
    (tmp_path / there).write_text("another's")
    with pytest.raises(FileExistsError):
        text.write(tmp_path / "test_other.py")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "another's")]


def test_nothing_is_left_of_a_test_for_which_there_is_no_room(tmp_path: Path) -> None:
    text = TestText(Script(conversation(("client sends", bytes(range(256)) * 400))))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for size in (10, 10000):  # there is none for the test, and then none for what belongs beside it
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
            with pytest.raises(OSError, match="File too large"):
                text.write(tmp_path / "test_recorded.py")
            assert list(tmp_path.iterdir()) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_not_whole_is_skipped() -> None:
    text = text_of(conversation(("client sends", b"x"), ("server gets", b"x"), cut='it has "much"'))
    assert "import pytest\n" in text
    assert "@pytest.mark.skip(reason='the recording is not whole: it has \"much\"')\ndef test_" in text
    assert '# NOT WHOLE: it has "much".' in text


# ---- scripts ---------------------------------------------------------------------------------------------------------


def steps(made: Conversation, **ways: Any) -> list[Any]:
    return list(Script(made, **ways).steps)


def test_pieces_that_nothing_comes_between_are_one() -> None:
    made = conversation(("client sends", b"a"), ("client sends", b"b"), ("server gets", b"a"), ("server gets", b"b"))
    assert steps(made) == [("client_sends", (b"ab",)), ("server_gets", (b"ab",))]
    made.transport = "udp"
    assert steps(made) == [
        ("client_sends", (b"a",)),
        ("client_sends", (b"b",)),
        ("server_gets", (b"a",)),
        ("server_gets", (b"b",)),
    ]


def test_calls_keep_pieces_apart() -> None:
    made = conversation(("client sends", b"a"), ("client sends", b"b"), ("server gets", b"ab"))
    made.events.append(Event(0.0, "call", words="external.Send(2)"))
    assert steps(made, has_calls=True) == [
        ("calls", ()),
        ("client_sends", (b"a",)),
        ("calls", ()),
        ("client_sends", (b"b",)),
        ("server_gets", (b"ab",)),
        ("calls", ("external.Send(2)",)),
    ]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        # A reset with an end is a reset; one after an end nobody sees.
        (["server ends", "client sees the end", "client sees a reset"], ["server_ends", "client_sees_reset"]),
        (
            ["server ends", "client sees the end", "client ends", "client sees a reset"],
            ["server_ends", "client_sees_end", "client_ends"],
        ),
        # Who has left sees nothing, and does nothing.
        (["client resets", "client sees a reset", "client ends"], ["client_resets"]),
        (["client sees the end", "client gets"], ["client_sees_end"]),
    ],
)
def test_ends(events: list[str], expected: list[str]) -> None:
    assert [method for method, _ in steps(conversation(*((event, b"") for event in events)))] == expected


def test_time() -> None:
    made = conversation(("client sends", b"a"))
    made.events += [
        Event(0.005, "server gets", b"a"),
        Event(1.5, "server sends", b"b"),
        Event(3.0004, "client gets", b"b"),
    ]
    assert steps(made, has_times=True) == [
        ("client_sends", (b"a",)),
        ("server_gets", (b"a",)),
        ("passes", (1.5,)),
        ("server_sends", (b"b",)),
        ("passes", (1.5,)),
        ("client_gets", (b"b",)),
        ("passes", (1.0,)),
    ]
