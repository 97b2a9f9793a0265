"""AsyncDataFilter: the same stream as through a COM data filter, and every way that its coroutine may end."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import (
    E_FAIL,
    E_UNEXPECTED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAECONNABORTED,
    WSAECONNRESET,
    COMError,
)
from fwx.sdk import AsyncDataFilter, AsyncSocket, pump, together
from fwx.testing import Dialogue, check_data_filter
from tests.fwx.aio.conftest import World

Run = Callable[[AsyncSocket, AsyncSocket], Awaitable[None]]


def making(run: Run) -> Callable[[], AsyncDataFilter]:
    """Return what makes data filters whose coroutine is *run*."""

    class Made(AsyncDataFilter):
        async def run(self, internal: AsyncSocket, external: AsyncSocket, connection: Any, context: Any) -> None:
            await run(internal, external)

    return Made


def ended(world: World, result: int, reason: str = "") -> None:
    """Judge the record of the one connection."""
    world.settle()
    (record,) = world.records
    assert (record.resultcode, record.reason) == (int(result), reason)
    assert len(world.tasks) == 0


# ---- data ------------------------------------------------------------------------------------------------------------


class Shouting(AsyncDataFilter):
    async def run(self, internal: AsyncSocket, external: AsyncSocket, connection: Any, context: Any) -> None:
        await together(self.shout(internal, external), pump(external, internal))

    async def shout(self, source: AsyncSocket, sink: AsyncSocket) -> None:
        async for buffer in source:
            await sink.send(bytes(buffer.GetBufferAndSize()).upper())
        sink.shutdown()


class OneAfterTheOther(AsyncDataFilter):
    """With a task group of asyncio's, and without iterating."""

    async def run(self, internal: AsyncSocket, external: AsyncSocket, connection: Any, context: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pass_on(internal, external))
            group.create_task(self.pass_on(external, internal))

    async def pass_on(self, source: AsyncSocket, sink: AsyncSocket) -> None:
        while len((buffer := await source.receive()).GetBufferAndSize()):
            await sink.send(buffer)
        sink.shutdown()


@pytest.mark.parametrize("filter_class", [AsyncDataFilter, Shouting, OneAfterTheOther])
def test_the_published_battery(filter_class: type[AsyncDataFilter]) -> None:
    """B1.31, B1.35, B3.14, B3.25, B3.26, B3.29, B3.30, B3.31: what holds for every data filter holds for these."""
    battery = check_data_filter(filter_class, dialogue=Dialogue(changes_data=filter_class is Shouting))
    battery.require()
    assert [check.reason for check in battery if check.outcome == "skipped"] == ["it is no IFWXSlowDataFilter"]


def test_both_directions(world: World) -> None:
    _, client, server = world.open(Shouting)
    client.send(b"hello")
    server.expect(b"HELLO")
    server.send(b"welcome")
    client.expect(b"welcome")
    client.shutdown()
    server.expect_end()
    server.send(b"more")
    client.expect(b"more")
    server.shutdown()
    client.expect_end()
    ended(world, S_OK)


def test_a_chain(world: World) -> None:
    """Neighbours hand on the same stream; a COM filter would not know."""
    _, client, server = world.open(Shouting, AsyncDataFilter)
    client.send(b"hello")
    server.expect(b"HELLO")
    server.shutdown()
    client.expect_end()
    client.send(b"late")
    server.expect(b"LATE")
    client.shutdown()
    server.expect_end()
    ended(world, S_OK)


def test_returning_closes_both_sides(world: World) -> None:
    """What was sent still goes out; then both sides end."""

    async def run(internal: AsyncSocket, external: AsyncSocket) -> None:
        await internal.send(b"go away\n")

    _, client, server = world.open(making(run))
    client.expect(b"go away\n")
    client.expect_end()
    server.expect_end()
    ended(world, S_OK)


def test_the_context_and_the_connection_come_along(world: World) -> None:
    seen: list[Any] = []

    class Looking(AsyncDataFilter):
        async def run(self, internal: AsyncSocket, external: AsyncSocket, connection: Any, context: Any) -> None:
            seen.extend((connection, context, internal.socket, external.socket))
            await super().run(internal, external, connection, context)

    connection, client, server = world.open(Looking)
    client.send(b"x")
    server.expect(b"x")
    assert seen[:2] == [connection, None]
    client.reset()
    server.expect_reset()
    world.settle()
    # The record's result is the peer's, not a fault's.
    ended(world, HRESULT_FROM_WIN32(WSAECONNRESET), "reset by a peer")


# ---- ends by the peers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filter_class", [AsyncDataFilter, OneAfterTheOther])
@pytest.mark.parametrize("leaver", ["client", "server"])
def test_a_reset_is_no_fault_and_resets_the_other_side(
    world: World, leaver: str, filter_class: type[AsyncDataFilter]
) -> None:
    """B3.30; also where a task group wraps the failure."""
    _, client, server = world.open(filter_class)
    one, other = (client, server) if leaver == "client" else (server, client)
    one.reset()
    other.expect_reset()
    ended(world, HRESULT_FROM_WIN32(WSAECONNRESET), "reset by a peer")
    assert world.faults == []


def test_a_filter_may_look_at_the_reset(world: World) -> None:
    seen: list[int] = []

    async def run(internal: AsyncSocket, external: AsyncSocket) -> None:
        try:
            await internal.receive()
        except COMError as error:
            seen.append(error.hresult)
            await external.send(b"the client is gone")

    _, client, _ = world.open(making(run))
    client.reset()
    world.settle()
    assert seen == [HRESULT_FROM_WIN32(WSAECONNRESET)]
    ended(world, HRESULT_FROM_WIN32(WSAECONNRESET), "reset by a peer")
    assert world.faults == []


def test_a_connection_that_is_killed_ends_its_task(world: World) -> None:
    """B3.31, B3.32: the pending receives fail before Detach."""
    order: list[str] = []

    class Watching(AsyncDataFilter):
        async def run(self, internal: AsyncSocket, external: AsyncSocket, connection: Any, context: Any) -> None:
            try:
                await internal.receive()
            except COMError as error:
                order.append(error.hresult.name)
                raise

        def Detach(self) -> None:
            order.append("Detach")
            super().Detach()

    connection, client, server = world.open(Watching)
    connection.Kill()
    client.expect_reset()
    server.expect_reset()
    ended(world, HRESULT_FROM_WIN32(WSAECONNABORTED), "killed by a filter")
    assert order == [HRESULT_FROM_WIN32(WSAECONNABORTED).name, "Detach"]
    assert world.faults == []


def test_detach_cancels_and_finally_runs(world: World) -> None:
    """What a finally block posts fails with FWX_E_TERMINATING, which is no fault."""
    seen: list[Any] = []

    async def run(internal: AsyncSocket, external: AsyncSocket) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            for post in (internal.receive(), external.send(b"late")):
                try:
                    await post
                except COMError as error:
                    seen.append(error.hresult)
            await asyncio.sleep(0)
            await external.send(b"later")

    connection, *_ = world.open(making(run))
    connection.Kill()
    ended(world, HRESULT_FROM_WIN32(WSAECONNABORTED), "killed by a filter")
    assert seen == ["cancelled", FWX_E_TERMINATING, FWX_E_TERMINATING]
    assert world.faults == []


def test_detach_before_the_first_step(world: World) -> None:
    """The task was made and never ran: no coroutine is left that nobody awaited."""
    started: list[int] = []

    class Eager(AsyncDataFilter):
        def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> None:  # type: ignore[override]
            super().SetSockets(internal, external, connection, context)
            connection.Kill()
            self.Detach()

        async def run(self, internal: AsyncSocket, external: AsyncSocket, connection: Any, context: Any) -> None:
            started.append(1)

    world.open(Eager)
    ended(world, HRESULT_FROM_WIN32(WSAECONNABORTED), "killed by a filter")
    assert not started
    assert world.faults == []
    gc.collect()


# ---- faults ----------------------------------------------------------------------------------------------------------


async def _raises(error: BaseException) -> None:
    raise error


async def _at_once(internal: AsyncSocket, external: AsyncSocket) -> None:
    raise ValueError("boom")


async def _in_a_completion(internal: AsyncSocket, external: AsyncSocket) -> None:
    await internal.receive()
    raise ValueError("boom")


async def _in_a_timer(internal: AsyncSocket, external: AsyncSocket) -> None:
    await internal.receive()
    await asyncio.sleep(0)
    raise ValueError("boom")


async def _in_a_direction(internal: AsyncSocket, external: AsyncSocket) -> None:
    await together(_in_a_completion(internal, external), pump(external, internal))


async def _from_a_reset(internal: AsyncSocket, external: AsyncSocket) -> None:
    try:
        await internal.receive()
        internal.close(abortive=True)
        await internal.receive()
    except COMError as error:
        raise ValueError("boom") from error


async def _beside_a_reset(internal: AsyncSocket, external: AsyncSocket) -> None:
    async def fails_at_the_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("boom")

    async def closes() -> None:
        await external.receive()
        internal.close(abortive=True)

    await together(fails_at_the_end(), internal.receive(), closes())


@pytest.mark.parametrize("run", [_at_once, _in_a_completion, _in_a_timer, _in_a_direction, _from_a_reset])
def test_a_fault_ends_the_connection(world: World, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """DESIGN 5: as in a completion; reported once, with the filter's name, and the connection fails closed."""
    _, client, server = world.open(making(run))
    if run is not _at_once:
        client.send(b"x")
    client.expect_reset()
    server.expect_reset()
    name = "filter 0" if world.kind == "memory" else "filter"
    ended(world, E_UNEXPECTED, f"filter '{name}' failed in run: ValueError: boom")
    assert len(world.faults) == 1
    assert "run: ValueError: boom" in world.faults[0]
    if world.kind != "memory":
        assert "raise ValueError" in caplog.text
        assert world.faults[0].startswith("filter 'filter' failed in run")


def test_a_fault_beside_a_reset_is_a_fault(world: World) -> None:
    """In a group of failures one is enough."""
    _, client, server = world.open(making(_beside_a_reset))
    server.send(b"x")
    client.expect_reset()
    server.expect_reset()
    world.settle()
    (fault,) = world.faults
    assert "ExceptionGroup" in fault


def test_a_side_that_the_filter_closes_under_a_receive_resets_the_other(world: World) -> None:
    """B3.30: the receive fails, and what fails is not passed off as whole."""

    async def run(internal: AsyncSocket, external: AsyncSocket) -> None:
        async def closes() -> None:
            await external.receive()
            internal.close()

        await together(pump(internal, external), closes())

    _, client, server = world.open(making(run))
    server.send(b"x")
    client.expect_end()
    server.expect_reset()
    assert world.faults == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
        (asyncio.CancelledError(), "CancelledError: "),
        (COMError(E_FAIL, "no"), "COMError: E_FAIL (0x80004005): no"),
        (COMError(FWX_E_TERMINATING, "no"), "COMError: FWX_E_TERMINATING (0xC0040001): no"),
        (BaseExceptionGroup("two", [ValueError(), SystemExit()]), "BaseExceptionGroup: two (2 sub-exceptions)"),
    ],
)
def test_whatever_it_raises_is_a_fault_and_stops_nothing_else(world: World, error: BaseException, words: str) -> None:
    _, client, server = world.open(making(lambda *_: _raises(error)))
    client.expect_reset()
    server.expect_reset()
    name = "filter 0" if world.kind == "memory" else "filter"
    ended(world, E_UNEXPECTED, f"filter '{name}' failed in run: {words}")


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_sys_exit_in_a_direction_is_a_fault(world: World, error: type[BaseException]) -> None:
    async def run(internal: AsyncSocket, external: AsyncSocket) -> None:
        await together(_raises(error()), pump(external, internal))

    world.open(making(run))
    name = "filter 0" if world.kind == "memory" else "filter"
    ended(world, E_UNEXPECTED, f"filter '{name}' failed in run: RuntimeError: a coroutine raised {error.__name__}")


async def _sends_after_close(internal: AsyncSocket, external: AsyncSocket) -> None:
    external.close()
    await external.send(b"x")


async def _sends_after_shutdown(internal: AsyncSocket, external: AsyncSocket) -> None:
    external.shutdown()
    await external.send(b"x")


async def _sends_nonsense(internal: AsyncSocket, external: AsyncSocket) -> None:
    await external.send("text")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "code"),
    [(_sends_after_close, "WSAENOTSOCK"), (_sends_after_shutdown, "WSAESHUTDOWN"), (_sends_nonsense, "E_INVALIDARG")],
)
def test_a_call_that_is_refused_is_a_fault(world: World, run: Run, code: str) -> None:
    """The socket is not to blame: a COM filter that posts this fails in its completion."""
    world.open(making(run))
    world.settle()
    (fault,) = world.faults
    assert code in fault


def test_a_failing_socket_of_the_filters_own_is_a_fault(world: World) -> None:
    """Only the connection's own sockets tell of its end: a scanner that cannot be reached is not passed over."""
    nowhere = world.free()

    async def run(internal: AsyncSocket, external: AsyncSocket) -> None:
        async with AsyncSocket(world.firewall.CreateNetworkSocket(6)) as scanner:
            await scanner.connect(nowhere)

    _, client, _ = world.open(making(run))
    client.expect_reset()
    world.settle()
    (fault,) = world.faults
    assert "WSAECONNREFUSED" in fault


def test_a_fault_after_detach_is_reported_and_no_more(world: World) -> None:
    async def run(internal: AsyncSocket, external: AsyncSocket) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("boom")

    connection, *_ = world.open(making(run))
    connection.Kill()
    ended(world, HRESULT_FROM_WIN32(WSAECONNABORTED), "killed by a filter")
    (fault,) = world.faults
    assert "failed in run: ValueError: boom" in fault or fault == "run: ValueError: boom"


def test_a_fault_leaves_other_connections_alone(world: World) -> None:
    class Delicate(AsyncDataFilter):
        async def run(self, internal: AsyncSocket, external: AsyncSocket, connection: Any, context: Any) -> None:
            async for buffer in internal:
                if bytes(buffer.GetBufferAndSize()) == b"!":
                    raise ValueError("boom")
                await external.send(buffer)

    one, two = world.open(Delicate), world.open(Delicate) if world.kind != "memory" else world.open()
    one.client.send(b"!")
    one.server.expect_reset()
    two.client.send(b"x")
    two.server.expect(b"x")
    two.client.reset()
    two.server.expect_reset()
    assert len(world.faults) == 1


# ---- nothing is left -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["ends", "reset", "killed", "fault"])
def test_nothing_is_left_of_a_connection(world: World, end: str) -> None:
    """Task, async sockets, COM sockets, data filter and connection are gone, however the connection ends."""
    parts: list[weakref.ref[Any]] = []

    class Noting(AsyncDataFilter):
        async def run(self, internal: AsyncSocket, external: AsyncSocket, connection: Any, context: Any) -> None:
            parts.extend(
                map(weakref.ref, (self, internal, external, internal.socket, external.socket, connection))  # type: ignore[arg-type]
            )
            parts.append(weakref.ref(asyncio.current_task()))
            await together(self.look(internal, external), pump(external, internal))

        async def look(self, source: AsyncSocket, sink: AsyncSocket) -> None:
            async for buffer in source:
                if bytes(buffer.GetBufferAndSize()) == b"!":
                    raise ValueError("boom")
                await sink.send(buffer)
            sink.shutdown()

    opened: Any = world.open(Noting)
    opened.client.send(b"x")
    opened.server.expect(b"x")
    match end:
        case "ends":
            opened.client.shutdown()
            opened.server.expect_end()
            opened.server.shutdown()
            opened.client.expect_end()
        case "reset":
            opened.client.reset()
            opened.server.expect_reset()
        case "killed":
            opened.connection.Kill()
        case "fault":
            opened.client.send(b"!")
    world.settle()
    assert len(world.tasks) == 0
    del opened
    if world.kind != "memory":
        # The rig's filter keeps the data filter that it was given.
        world.rig.engine.filters = ()  # type: ignore[attr-defined]
        world.rig.journal.clear()  # type: ignore[attr-defined]
        parts.pop(0)
    gc.collect()
    assert [part() for part in parts] == [None] * len(parts)
    assert parts


# ---- several at once -------------------------------------------------------------------------------------------------


def test_together_returns_when_all_have(world: World) -> None:
    order: list[int] = []

    async def wait(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        order.append(turns)

    async def all_of_them() -> None:
        await together(wait(3), wait(1), wait(2))
        order.append(0)

    world.run(all_of_them())
    assert order == [1, 2, 3, 0]
    world.run(together())


def test_the_first_failure_cancels_the_others_and_is_raised_itself(world: World) -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    with pytest.raises(ValueError, match="boom"):
        world.run(together(waits(), _raises(ValueError("boom")), waits()))
    assert ended == ["cancelled"] * 2


def test_several_failures_come_in_a_group(world: World) -> None:
    async def fails_when_cancelled() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError

    with pytest.raises(ExceptionGroup) as raised:
        world.run(together(fails_when_cancelled(), _raises(ValueError("boom"))))
    assert {type(each) for each in raised.value.exceptions} == {ValueError, LookupError}


def test_cancelling_cancels_all(world: World) -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    task = world.start(together(waits(), waits()))
    task.cancel()
    world.settle()
    assert task.cancelled()
    assert ended == ["cancelled"] * 2


def test_a_pump_holds_its_source_back(world: World) -> None:
    """B3.14: it receives nothing more while what it sent has not been taken; then all of it comes."""
    near, source = world.neighbours()
    sink, far = world.neighbours()
    posted: list[int] = []
    for number in range(10):
        near.Send(FWXIOBuffer(bytes([number]) * 1000), _Noting(posted), number)
    near.Shutdown(False)
    pumping = world.start(pump(AsyncSocket(source), AsyncSocket(sink)))
    assert posted == [0]

    async def drain() -> bytes:
        return b"".join([bytes(buffer.GetBufferAndSize()) async for buffer in AsyncSocket(far)])

    assert world.run(drain()) == b"".join(bytes([number]) * 1000 for number in range(10))
    assert posted == list(range(10))
    assert pumping.done()


class _Noting:
    def __init__(self, taken: list[int]) -> None:
        self._taken = taken

    def CompleteAsyncIO(self, success: bool, code: int, buffer: Any, user_data: int, *rest: Any) -> None:
        self._taken.append(user_data)
