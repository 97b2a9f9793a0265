"""Who holds up the loop: a stack that another thread takes while a filter is being called."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx.aio.datafilter import AsyncDataFilter
from fwx.data_pump import DataPump
from fwx.impl.culprit import Culprit, culprit_of
from fwx.impl.modulefamily import family_of, is_of_family
from fwx.interfaces import IFWXTaskCompletion
from tests.impl.parts import ScriptedFilter

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


class Witness:
    """Is called on the loop thread, and has another thread look at it meanwhile."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.seen: list[Culprit] = []

    def __call__(self, *args: Any) -> None:
        blocked = threading.get_ident()

        def look() -> None:
            self.seen.append(culprit_of(sys._current_frames()[blocked], self.rig.engine.filters))

        thread = threading.Thread(target=look)
        thread.start()
        thread.join(5)


@pytest.fixture
def witness(rig: Rig) -> Witness:
    return Witness(rig)


def test_the_handler_of_an_event(rig: Rig, witness: Witness) -> None:
    rig.host("bystander")
    host = rig.host("sluggard", handle=witness)
    assert rig.through(rig.connection().raise_connect_event((host,)))
    [culprit] = witness.seen
    assert (culprit.filters, culprit.method) == (("sluggard",), "FirewallEventHandler")
    assert "in FirewallEventHandler\n" in culprit.stack
    assert str(culprit).startswith("filter 'sluggard' in FirewallEventHandler (")


@pytest.mark.parametrize(("step", "method"), [("attach", "AttachToSession"), ("shutdown", "FilterShutdown")])
def test_a_filters_own_methods(rig: Rig, witness: Witness, step: str, method: str) -> None:
    host = rig.host("sluggard", **{step: witness})
    if step == "attach":
        assert not rig.through(rig.connection().raise_connect_event((host,)))  # it attached nothing
    host.stop()
    assert [(each.filters, each.method) for each in witness.seen] == [(("sluggard",), method)]


@pytest.mark.parametrize("method", ["SetSockets", "CompleteAsyncIO", "Detach"])
def test_a_data_filter(rig: Rig, witness: Witness, method: str) -> None:
    class Slow(DataPump):
        pass

    def slow(self: Any, *args: Any) -> Any:
        witness()
        return getattr(DataPump, method)(self, *args)

    setattr(Slow, method, slow)
    other = rig.attaching(DataPump(), name="bystander")
    opened = rig.open(hosts=(other, rig.attaching(Slow(), name="sluggard")))
    opened.client.send(b"x")
    opened.server.expect(b"x")
    opened.connection.end()
    rig.until_gone(opened.connection)
    assert witness.seen
    assert {(each.filters, each.method) for each in witness.seen} == {(("sluggard",), method)}
    assert f"{__file__}:" in str(witness.seen[0])


@implementer(IFWXTaskCompletion)
class Posted:
    def __init__(self, witness: Witness) -> None:
        self.CompleteTask = witness


def test_a_task_is_known_by_its_module(rig: Rig, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing says whose it is; filters of one module cannot be told apart."""
    monkeypatch.setattr(ScriptedFilter, "__module__", __name__)
    rig.host("one")
    rig.firewall.PostTaskCompletion(Posted(witness), None)
    rig.settle()
    rig.host("two")
    rig.firewall.PostTaskCompletion(Posted(witness), None)
    rig.settle()
    assert [(each.filters, each.method) for each in witness.seen] == [
        (("one",), "CompleteTask"),
        (("one", "two"), "CompleteTask"),
    ]


def test_a_coroutine(rig: Rig, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedFilter, "__module__", __name__)

    class Slow(AsyncDataFilter):
        async def run(self, *args: Any) -> None:
            witness()

    rig.open(hosts=(rig.attaching(Slow(), name="sluggard"),))
    rig.settle()
    [culprit] = witness.seen
    assert (culprit.filters, culprit.method) == (("sluggard",), "run")


def test_the_service_itself(rig: Rig, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedFilter, "__module__", "acme.filters")
    rig.host("bystander")
    witness()
    [culprit] = witness.seen
    assert culprit.filters == ()
    assert str(culprit).startswith("the service itself (")
    assert "test_the_service_itself" in culprit.stack


@pytest.mark.parametrize(
    ("module", "family"),
    [
        ("acme", "acme"),
        ("acme.filters.ftp", "acme"),
        ("fwx.filters.smtp", "fwx.filters.smtp"),
        ("fwx.filters.smtp.commands", "fwx.filters.smtp"),
        ("fwx.data_pump", "fwx.data_pump"),
    ],
)
def test_families(module: str, family: str) -> None:
    assert family_of(module) == family
    assert is_of_family(module, family)
    assert not is_of_family(f"{family}x", family)
