"""The control socket: requests, bad requests, and what is left of it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import stat
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fwx.control import LONGEST_LINE, ControlError, server
from fwx.control.client import ask, follow
from fwx.control.server import ControlServer, text_of


async def echo(request: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"text": text_of(request, "text")}


async def fail(request: Mapping[str, Any]) -> Mapping[str, Any]:
    raise ValueError("a fault of the service")


def serving(folder: Path, act: Callable[[ControlServer], Awaitable[None]], **commands: server.Command) -> None:
    """Run *act* while the socket is there."""

    async def run() -> None:
        made = ControlServer(folder, {"echo": echo, "fail": fail, **commands})
        try:
            made.open()
            await made.start()
            await act(made)
        finally:
            await made.stop()
        assert not made.path.exists()

    asyncio.run(run())


async def say(path: Path, request: bytes, end: bool = True) -> Any:
    """Send *request* as it is, and return the answer."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(request)
    if end:
        writer.write_eof()
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert line.endswith(b"\n")
    return json.loads(line)


def test_what_was_done_comes_back(tmp_path: Path) -> None:
    async def act(made: ControlServer) -> None:
        assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
        assert await asyncio.to_thread(ask, tmp_path, "echo", text="hello") == {"text": "hello"}

    serving(tmp_path, act)


def test_a_folder_however_deep(tmp_path: Path) -> None:
    """A socket's address has 107 bytes; the folder's name does not matter."""
    folder = tmp_path / ("deep" * 30) / ("deep" * 30)
    folder.mkdir(parents=True)

    async def act(made: ControlServer) -> None:
        assert await asyncio.to_thread(ask, folder, "echo", text="hello") == {"text": "hello"}

    serving(folder, act)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"command": "ecco"}, "no command 'ecco'; expected 'echo' or 'fail'"),
        ({"command": "echo"}, "'text' is None; expected a text"),
        ({"command": "echo", "text": 7}, "'text' is 7; expected a text"),
        ({"command": "fail"}, "ValueError: a fault of the service"),
    ],
)
def test_what_was_not_done_is_an_error(tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    async def act(made: ControlServer) -> None:
        with pytest.raises(ControlError) as failure:
            await asyncio.to_thread(ask, tmp_path, **arguments)
        assert str(failure.value) == words
        assert await asyncio.to_thread(ask, tmp_path, "echo", text="still there") == {"text": "still there"}

    serving(tmp_path, act)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (b"", "the request is not complete"),
        (b'{"command": "echo"', "the request is not complete"),
        (b"\n", "the request is no JSON: "),
        (b"\xff\xfe\x00\n", "the request is no JSON: "),
        (b"[" * 60_000 + b"\n", "the request is no JSON: "),
        (b"[]\n", "the request is no JSON object"),
        (b'{"command": ["echo"]}\n', "no command ['echo']"),
        (b"x" * (LONGEST_LINE + 10), f"the request is longer than {LONGEST_LINE} bytes"),
    ],
)
def test_what_is_no_request(tmp_path: Path, request_: bytes, words: str) -> None:
    async def act(made: ControlServer) -> None:
        assert (await say(made.path, request_))["failed"].startswith(words)

    serving(tmp_path, act)


def test_who_says_nothing_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.01)

    async def act(made: ControlServer) -> None:
        assert (await say(made.path, b"{", end=False)) == {"failed": "no request came within 0.01 s"}

    serving(tmp_path, act)


def test_only_so_many_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that wait when the service stops are left without an answer, with nothing left of them."""
    monkeypatch.setattr(server, "MOST_CLIENTS", 1)
    failures: list[ControlError] = []

    def wait() -> None:
        try:
            ask(tmp_path, "wait")
        except ControlError as error:
            failures.append(error)

    thread = threading.Thread(target=wait)

    async def act(made: ControlServer) -> None:
        thread.start()
        await begun.wait()
        assert await say(made.path, b'{"command": "echo", "text": "x"}\n') == {
            "failed": "1 other requests are under way"
        }

    async def for_ever(request: Mapping[str, Any]) -> Mapping[str, Any]:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    begun = asyncio.Event()
    serving(tmp_path, act, wait=for_ever)
    thread.join(5)
    assert [str(each) for each in failures] == ["the service ended before it answered"]


def test_nobody_is_there(tmp_path: Path) -> None:
    words = f"no service runs with the state folder {tmp_path}"
    with pytest.raises(ControlError, match=words):
        ask(tmp_path, "echo")
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "control"))
    with pytest.raises(ControlError, match=words):
        ask(tmp_path, "echo")
    (tmp_path / "control").unlink()
    (tmp_path / "control").write_text("")
    with pytest.raises(ControlError, match="no service runs"):
        ask(tmp_path, "echo")


@pytest.mark.parametrize(
    ("answer", "words"),
    [(b"nonsense\n", "the service answered b'nonsense"), (b'{"failed": 7}\n', "the service answered"), (b"", "ended")],
)
def test_an_answer_that_is_none(tmp_path: Path, answer: bytes, words: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control"))
        listener.listen()

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(100)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ControlError, match=words):
            ask(tmp_path, "echo")
        thread.join(5)


def test_no_answer_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control"))
        listener.listen()
        with pytest.raises(ControlError, match=r"has not answered within 0\.01 s"):
            ask(tmp_path, "echo", seconds=0.01)


def try_to_open(folder: Path) -> None:
    made = ControlServer(folder, {})
    try:
        made.open()
    finally:
        asyncio.run(made.stop())


def test_one_that_never_answers_leaves_nothing(tmp_path: Path) -> None:
    """The service could not start after all."""
    try_to_open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    """By another service: it stays; by what was left behind: that makes room; by something else: it stays."""

    async def act(made: ControlServer) -> None:
        other = ControlServer(tmp_path, {})
        with pytest.raises(ControlError, match="another service runs with the state folder"):
            other.open()
        await other.stop()
        assert await asyncio.to_thread(ask, tmp_path, "echo", text="hello") == {"text": "hello"}

    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "control"))
    serving(tmp_path, act)
    (tmp_path / "control").write_text("precious")
    with pytest.raises(ControlError, match=r"the control socket .*control cannot be made: Address already in use"):
        try_to_open(tmp_path)
    assert (tmp_path / "control").read_text() == "precious"


def test_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="cannot be made: No such file or directory"):
        try_to_open(tmp_path / "none")


def test_a_server_that_never_started_stops(tmp_path: Path) -> None:
    asyncio.run(ControlServer(tmp_path, {}).stop())


# ---- answers that go on ----------------------------------------------------------------------------------------------


async def count(request: Mapping[str, Any], lines: server.Lines) -> None:
    """Count to *most*; then wait for the end."""
    most = request.get("most")
    if not isinstance(most, int):
        raise ControlError("'most' is no number")
    await lines.send({"done": {}})
    for number in range(most):
        await lines.send({"number": number})
    await lines.ended()
    await lines.send({"last": True})


def counting(folder: Path, use: Callable[[], None], stream: server.Stream = count) -> None:
    """Run *use*, on a thread, while the socket answers ``count``."""

    async def run() -> None:
        made = ControlServer(folder, {"echo": echo}, {"count": stream})
        try:
            made.open()
            await made.start()
            await asyncio.to_thread(use)
        finally:
            await made.stop()

    asyncio.run(run())


def test_an_answer_that_goes_on(tmp_path: Path) -> None:
    def use() -> None:
        with follow(tmp_path, "count", most=3) as answer:
            assert [answer.line(5) for _ in range(3)] == [{"number": 0}, {"number": 1}, {"number": 2}]
            with pytest.raises(TimeoutError):
                answer.line(0.01)
            answer.enough()
            assert (answer.line(5), answer.line(5), answer.line(5)) == ({"last": True}, None, None)
        assert ask(tmp_path, "echo", text="still there") == {"text": "still there"}

    counting(tmp_path, use)


def test_an_answer_that_does_not_begin(tmp_path: Path) -> None:
    def use() -> None:
        for arguments, words in (
            ({"command": "count"}, "'most' is no number"),
            ({"command": "cuont"}, "no command 'cuont'; expected 'count' or 'echo'"),
        ):
            with pytest.raises(ControlError) as failure, follow(tmp_path, **arguments):
                raise AssertionError
            assert str(failure.value) == words

    counting(tmp_path, use)
    with pytest.raises(ControlError, match="no service runs"), follow(tmp_path, "count"):
        raise AssertionError


def test_an_answer_that_fails_on_the_way(tmp_path: Path) -> None:
    async def stumble(request: Mapping[str, Any], lines: server.Lines) -> None:
        await lines.send({"done": {}})
        raise KeyError("on the way")

    def use() -> None:
        with follow(tmp_path, "count") as answer, pytest.raises(ControlError, match="KeyError: 'on the way'"):
            answer.line(5)

    counting(tmp_path, use, stumble)


def test_an_answer_that_is_no_answer(tmp_path: Path) -> None:
    async def mumble(request: Mapping[str, Any], lines: server.Lines) -> None:
        await lines.send({"done": {}})
        lines._writer.write(b"[1]\n[2\nhalf")

    def use() -> None:
        with follow(tmp_path, "count") as answer:
            for words in ("[1]", "[2"):
                with pytest.raises(ControlError, match=re.escape(f"the service answered b'{words}\\n'")):
                    answer.line(5)
            # It was ended in the middle of a line.
            assert answer.line(5) is None

    counting(tmp_path, use, mumble)


def test_a_client_that_goes_away_in_the_middle(tmp_path: Path) -> None:
    """The answer's next line says so to who gives it."""
    ended: list[BaseException | None] = []

    async def go_on(request: Mapping[str, Any], lines: server.Lines) -> None:
        await lines.send({"done": {}})
        await lines.ended()
        try:
            while True:
                await lines.send({"number": 0})
                await asyncio.sleep(0)
        except OSError as error:
            ended.append(error)

    def use() -> None:
        with follow(tmp_path, "count"):
            """It goes at once."""
        with follow(tmp_path, "count") as answer:
            answer._sock.shutdown(socket.SHUT_RDWR)
            answer.enough()

    counting(tmp_path, use, go_on)
    assert len(ended) >= 1


@pytest.mark.parametrize("ends", [True, False])
def test_a_client_that_is_stopped_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """It takes nothing, and is not told the rest when the answer *ends*, or the service: nothing is kept for it."""
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.05)

    async def flood(request: Mapping[str, Any], lines: server.Lines) -> None:
        begun.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05 if ends else None):
                while True:
                    await lines.send({"text": "x" * 10000})
        over.set()

    async def act() -> None:
        loop = asyncio.get_running_loop()
        made = ControlServer(tmp_path, {}, {"flood": flood})
        made.open()
        await made.start()
        await loop.sock_connect(client, str(made.path))
        await loop.sock_sendall(client, b'{"command": "flood"}\n')
        await begun.wait()
        if ends:
            await over.wait()
            (task,) = made._clients
            await task
        await made.stop()
        while await asyncio.wait_for(loop.sock_recv(client, 1 << 16), 5):
            """What was in the socket comes, and then its end, or this would wait."""

    begun, over = asyncio.Event(), asyncio.Event()
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        asyncio.run(act())
