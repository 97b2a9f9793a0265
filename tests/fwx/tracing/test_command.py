"""``fwx trace`` against a control socket whose firewall is in memory."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fwx import sdk
from fwx.commands.trace import trace
from fwx.config import load
from fwx.control.server import ControlServer, Lines
from fwx.testing import MemoryFirewall
from fwx.tracing.control import ENDED, TraceControl
from fwx.tracing.conversation import SERVICE_GONE

CONFIG = f"""
[service]
state_dir = "{{folder}}"

[[filter]]
name = "noise"
use = "{__name__}:Noise"
everywhere = true
"""


class Noisy(sdk.DataPump):
    """Puts something else in the place of what the client says each time."""

    def __init__(self, firewall: Any) -> None:
        super().__init__()
        self._firewall = firewall

    def inspect(self, to_server: bool, buffer: Any) -> Any:
        size = len(buffer.GetBufferAndSize())
        return self._firewall.CreateConstBuffer(os.urandom(size)) if size and to_server else buffer


@sdk.implementer(sdk.IFWXFilter)
class Noise(sdk.ConnectionFilter):
    def data_filter(self, asked: sdk.AskedConnection) -> Any:
        return Noisy(self.firewall) if asked.target.port == 666 else None


Act = Callable[[MemoryFirewall, ControlServer], Any]


def say(memory: MemoryFirewall, port: int = 80, *, ends: bool = True) -> None:
    """Have a client say something, and leave."""
    client, server = memory.open(sdk.SocketAddress("198.51.100.1", port)).established()
    client.send(b"hello")
    assert len(server.receive()) == 5
    if ends:
        client.reset()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    """Run the command; the function happens once it records, on the thread of the service."""
    state = tmp_path / "state"
    state.mkdir()
    config = tmp_path / "fwx.toml"
    config.write_text(CONFIG.format(folder=state))

    @contextmanager
    def serving(act: Act) -> Iterator[None]:
        begun, failures = threading.Event(), []

        async def serve() -> None:
            memory = MemoryFirewall()
            memory.load(f"{__name__}:Noise", {}, "noise")
            control = TraceControl(SimpleNamespace(configuration=load(config)), memory.engine)
            records, over = asyncio.Event(), asyncio.Event()

            async def answer(request: Any, lines: Lines) -> None:
                asyncio.get_running_loop().call_soon(records.set)  # when it waits for what there is to tell
                try:
                    await control.trace(request, lines)
                finally:
                    over.set()

            made = ControlServer(state, {}, {"trace": answer})
            try:
                made.open()
                await made.start()
                begun.set()
                await records.wait()
                outcome = act(memory, made)
                if outcome is not None:
                    await outcome
                await over.wait()
                assert memory.engine.tracer is None
            finally:
                await made.stop()
                memory.close()

        def main() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:  # the test is on another thread
                failures.append(error)
                begun.set()

        thread = threading.Thread(target=main)
        thread.start()
        begun.wait(10)
        yield
        thread.join(20)
        assert failures == []

    def start(act: Act, *arguments: str) -> Result:
        with serving(act):
            return CliRunner().invoke(
                trace, ["--config", str(config), "--seconds", "20", "-o", str(tmp_path / "out"), *arguments]
            )

    return start


def written(result: Result, tmp_path: Path) -> list[Path]:
    paths = sorted((tmp_path / "out").glob("*"))
    assert all(str(path) in result.output for path in paths)
    return paths


def test_a_connection(run: Any, tmp_path: Path) -> None:
    result = run(lambda memory, _: say(memory))
    assert (result.exit_code, result.exception) == (0, None), result.output
    (path,) = written(result, tmp_path)
    assert path.name == "test_198_51_100_1_80_1.py"
    assert 'book.server_gets(b"hello")' in path.read_text()


def test_one_name_is_given_once(run: Any, tmp_path: Path) -> None:
    for _ in range(2):
        assert run(lambda memory, _: say(memory), "--to", "198.51.100.1:80").exit_code == 0
    assert [path.name for path in sorted((tmp_path / "out").glob("*"))] == [
        "test_198_51_100_1_80_1.py",
        "test_198_51_100_1_80_1_2.py",
    ]


def test_a_filter_that_does_not_do_the_same_again(run: Any, tmp_path: Path) -> None:
    result = run(lambda memory, _: say(memory, 666))
    assert result.exit_code == 1
    assert "  it goes otherwise when it is played:\n" in result.output
    assert "    ! << server gets b" in result.output
    (path,) = written(result, tmp_path)
    assert "# It went otherwise when it was played at once:\n" in path.read_text()


def test_so_many_and_no_more(run: Any, tmp_path: Path) -> None:
    def three(memory: MemoryFirewall, _: ControlServer) -> None:
        for port in (80, 81, 82):
            say(memory, port)

    result = run(three, "--count", "2")
    assert result.exit_code == 0, result.output
    assert [path.name for path in written(result, tmp_path)] == [
        "test_198_51_100_1_80_1.py",
        "test_198_51_100_1_81_2.py",
    ]


def test_when_the_time_is_up(run: Any, tmp_path: Path) -> None:
    result = run(lambda memory, _: say(memory, ends=False), "--seconds", "0.2")
    assert result.exit_code == 1
    assert f"  not whole, the test is skipped: {ENDED}\n" in result.output
    (path,) = written(result, tmp_path)
    assert 'book.server_gets(b"hello")' in path.read_text()
    result = run(lambda *_: None, "--seconds", "0.05")
    assert result.exit_code == 1
    assert "no connection was recorded: none that fits was opened" in result.output


def test_a_service_that_stops(run: Any, tmp_path: Path) -> None:
    def stop(memory: MemoryFirewall, server: ControlServer) -> Any:
        async def later() -> None:
            say(memory, ends=False)
            for _ in range(10):  # so that it is on its way to the command
                await asyncio.sleep(0)
            await server.stop()

        return later()

    result = run(stop)
    assert result.exit_code == 1
    assert f"  not whole, the test is skipped: {SERVICE_GONE}\n" in result.output
    assert 'book.server_gets(b"hello")' in written(result, tmp_path)[0].read_text()


def test_a_service_that_fails(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded until then is kept."""
    from fwx.tracing import control

    line_of = control.line_of

    def stumble(item: Any) -> Any:
        if item.what == "server gets":
            raise KeyError("on the way")
        return line_of(item)

    monkeypatch.setattr(control, "line_of", stumble)
    result = run(lambda memory, _: say(memory))
    assert result.exit_code == 1
    assert "  not whole, the test is skipped: the recording failed: KeyError: 'on the way'\n" in result.output
    assert 'book.client_sends(b"hello")' in written(result, tmp_path)[0].read_text()
