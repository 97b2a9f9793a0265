"""The ceilings of a service, wired: from the figures to the engine, from the memory to the clients and the alerts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fwx.crowd import MIB, Crowd, CrowdFigures
from fwx.impl.alert import Alert, Alerts
from fwx.limits_control import descriptors_open
from fwx.protection import Protection
from fwx.service_events import ServiceEvents
from fwx.testing import MemoryFirewall

FIGURES = CrowdFigures(look_ups=7, memory=4096 * MIB, memory_per_connection=1 * MIB)


class World:
    """A protection that measures this process, and what it raises."""

    def __init__(self, firewall: MemoryFirewall) -> None:
        self.engine = firewall.engine
        self.loop = firewall.loop
        self.raised: list[Alert] = []
        self.crowd = Crowd(FIGURES)
        events = ServiceEvents(Alerts(lambda: 0.0, (self.raised.append,)))
        self.protection = Protection(self.engine, self.crowd, events)

    @property
    def events(self) -> list[tuple[str, str]]:
        raised = [(each.event, each.key) for each in self.raised]
        self.raised.clear()
        return raised


@pytest.fixture
def world() -> Iterator[World]:
    firewall = MemoryFirewall()
    before = descriptors_open()
    world = World(firewall)
    yield world
    world.protection.close()
    assert descriptors_open() == before
    firewall.close()


def test_the_figures_hold_in_the_engine(world: World) -> None:
    """Also those that ``apply`` brings while the service runs."""
    ceiling, look_ups, memory = world.engine.queue.ceiling, world.engine.look_ups, world.protection.memory
    assert (look_ups.most, ceiling.most, memory.most) == (7, MIB, 4096 * MIB)
    world.crowd.use(CrowdFigures(look_ups=8, memory=None, memory_per_connection=2 * MIB))
    assert (look_ups.most, ceiling.most, memory.most) == (8, 2 * MIB, None)


def test_memory_that_becomes_short(world: World) -> None:
    """By the memory that this process really has: nobody new is let in, an alert says so, and it ends."""
    world.protection.start()
    assert world.crowd.memory > 10 * MIB
    assert not world.crowd.is_short
    world.crowd.use(FIGURES._replace(memory=MIB))
    world.loop.advance(1.0)
    assert (world.crowd.is_short, world.engine.queue.ceiling.is_tight) == (True, True)
    assert world.events == [("Memory is short", "")]
    world.crowd.use(FIGURES)
    world.loop.advance(1.0)
    assert (world.crowd.is_short, world.engine.queue.ceiling.is_tight) == (False, False)


def test_what_is_refused_raises_events(world: World) -> None:
    """B11.9: with the key of the figure; of a connection with the client's address."""
    world.crowd.refuse_client()
    world.crowd.refuse_connect()
    world.engine.look_ups.most = 0
    world.engine.look_ups.refuse("192.0.2.1")
    world.engine.queue.ceiling.exceeded("192.0.2.2", "too much waits")
    pending = "Too many requests at once"
    assert world.events == [
        (pending, "handshakes"),
        (pending, "connects"),
        (pending, "look_ups"),
        ("Memory of a connection exceeded", "192.0.2.2"),
    ]
