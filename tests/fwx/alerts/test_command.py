"""Running the command of an alert: what it gets, what is told of it, and that nothing of it is left (B9.24)."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from fwx.alerts.command import KEPT_VARIABLES, run_command

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
SECONDS = 20.0


@pytest.fixture(params=sorted(LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on a loop of each kind."""

    def running(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(coroutine)

    return running


def shell(script: str, *, message: str = "it broke", seconds: float = SECONDS, **variables: str) -> Any:
    return run_command(["/bin/sh", "-c", script], variables, message, seconds)


def ends(pid: int, seconds: float = 5.0) -> bool:
    """Tell whether the process ends, which one that was killed does a moment later; a zombie has."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.005)
    return False


def test_it_gets_the_message_and_the_variables_and_little_else(run: Any, tmp_path: Path) -> None:
    found = tmp_path / "found"
    assert run(shell(f"{{ pwd; cat; env; }} > {found}", message="it broke: \u00fc", FWX_ALERT_NAME="tell")) == ""
    folder, message, *variables = found.read_text().splitlines()
    assert (folder, message) == ("/", "it broke: \u00fc")
    assert "FWX_ALERT_NAME=tell" in variables
    names = {variable.partition("=")[0] for variable in variables}
    assert names - {"FWX_ALERT_NAME", "PWD", "OLDPWD", "SHLVL", "_"} <= set(KEPT_VARIABLES)


def test_it_gets_no_descriptor_of_the_service(run: Any, tmp_path: Path) -> None:
    found = tmp_path / "found"
    with (tmp_path / "open").open("w") as opened:
        os.set_inheritable(opened.fileno(), True)
        assert run(shell(f"ls /proc/$$/fd > {found}")) == ""
        assert str(opened.fileno()) not in found.read_text().split()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 0", ""),
        ("echo fine", ""),
        ("echo no route; echo to host >&2; exit 3", "'/bin/sh' ended with exit code 3: no route\\nto host"),
        ("printf '\\033[2J'; false", "'/bin/sh' ended with exit code 1: \\x1b[2J"),
        ("kill -9 $$", "'/bin/sh' was ended by signal 9"),
        ("head -c 300000 /dev/zero | tr '\\0' x; exit 1", "'/bin/sh' ended with exit code 1: " + "x" * 1000),
    ],
)
def test_how_it_ends(run: Any, script: str, told: str) -> None:
    assert run(shell(script)) == told


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["/nowhere/page"], "'/nowhere/page' cannot be run: No such file or directory"),
        (["/etc/passwd"], "'/etc/passwd' cannot be run: Permission denied"),
        (["no-such-program-of-fwx"], "'no-such-program-of-fwx' cannot be run: No such file or directory"),
        (["/bin/echo", "a\0b"], "'/bin/echo' cannot be run: embedded null byte"),
    ],
)
def test_what_cannot_be_run(run: Any, argv: list[str], told: str) -> None:
    assert run(run_command(argv, {}, "m", SECONDS)) == told


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The process groups that are killed."""
    killed: list[int] = []
    kill = os.killpg

    def killpg(group: int, number: int) -> None:
        killed.append(group)
        kill(group, number)

    monkeypatch.setattr(os, "killpg", killpg)
    return killed


def test_one_that_takes_too_long_is_killed_with_all_that_it_started(run: Any, groups: list[int]) -> None:
    told = run(shell("trap '' TERM; sleep 100 & wait", seconds=0.3))
    assert told == "'/bin/sh' has not ended after 0.3 s and was killed"
    (group,) = groups
    assert not Path(f"/proc/{group}").exists()
    assert all(ends(pid) for pid in members(group))


def members(group: int) -> list[int]:
    """The processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(text.rpartition(")")[2].split()[2]) == group:
            found.append(int(stat.parent.name))
    return found


def test_what_a_command_leaves_in_the_background_ends_with_it(run: Any, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    assert run(shell(f"sleep 100 & echo $! > {pid}")) == ""
    assert ends(int(pid.read_text()))


def test_one_that_is_called_off_is_killed_and_waited_for(run: Any, tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)

    async def call_off() -> int:
        task = asyncio.create_task(shell(f"echo $$ > {told}; sleep 100"))
        pid = int(await asyncio.to_thread(told.read_text))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    with pytest.raises(ProcessLookupError):
        os.kill(run(call_off()), 0)


def test_one_that_cannot_be_killed_holds_nobody_up(
    run: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As it is with one that has another user's rights."""
    spared: list[int] = []
    kill = os.killpg

    def refused(group: int, number: int) -> None:
        spared.append(group)
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refused)
    monkeypatch.setattr("fwx.alerts.command.KILL_SECONDS", 0.01)
    assert "has not ended" in run(run_command(["/bin/sleep", "100"], {}, "m", 0.1))
    assert "cannot be killed" in caplog.text
    (waiting,) = [thread for thread in threading.enumerate() if thread.name == "fwx-alert-wait"]
    kill(spared[0], signal.SIGKILL)
    waiting.join(SECONDS)
    assert not Path(f"/proc/{spared[0]}").exists(), "it is waited for all the same"


def test_nobody_waits_for_one_that_takes_its_time_to_be_gone(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has much memory to give back, or hangs in the kernel for a while: the loop goes on meanwhile."""
    kill = os.killpg
    turns = [0]

    async def late() -> str:
        async def turn(group: int) -> None:
            for _ in range(100):
                turns[0] += 1
                await asyncio.sleep(0)
            kill(group, signal.SIGKILL)

        tasks: list[asyncio.Task[None]] = []
        monkeypatch.setattr(os, "killpg", lambda group, _: tasks.append(asyncio.create_task(turn(group))))
        return str(await run_command(["/bin/sleep", "100"], {}, "m", 0.05))

    monkeypatch.setattr("fwx.alerts.command.KILL_SECONDS", SECONDS)
    assert "has not ended" in run(late())
    assert turns == [100]
    assert not [thread for thread in threading.enumerate() if thread.name == "fwx-alert-wait"]
