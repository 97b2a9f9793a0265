"""The laws of IUnknown (DESIGN 3): identity, QueryInterface, tear-offs, reference counts."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from zope.interface import Interface, implementer
from zope.interface.interfaces import IComponentLookup

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.unknown import TearOff, Unknown
from fwx.interfaces import (
    IFWXConnection,
    IFWXDataFilter,
    IFWXFirewall,
    IFWXFirewall2,
    IFWXIOBuffer,
    IFWXIOCompletion,
    IFWXNetworkSocket,
    IFWXSession,
    IFWXSlowDataFilter,
    IFWXSocket,
    IUnknown,
    iid,
)
from fwx.interfaces.hresult import E_NOINTERFACE, E_POINTER, E_UNEXPECTED, COMError

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


def code_of(call: Any, *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


@implementer(IFWXDataFilter, IFWXIOCompletion)
class TwoFaced(Unknown):
    def __init__(self) -> None:
        self.released = 0

    def FinalRelease(self) -> None:
        self.released += 1


@implementer(IFWXSlowDataFilter)
class Patience(TearOff):
    """A face that the registry lends to every data filter of its service."""


@pytest.fixture
def lent(rig: Rig) -> Any:
    """An object of a service whose registry lends it a tear-off."""
    rig.registry.register_adapter(Patience, (IFWXDataFilter,), IFWXSlowDataFilter)

    class OfTheService(TwoFaced):
        _registry = rig.registry

    return OfTheService()


def objects(rig: Rig) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """The service's objects with every interface each has."""
    return {
        "firewall": (rig.firewall, (IUnknown, IFWXFirewall, IFWXFirewall2)),
        "session": (rig.session(), (IUnknown, IFWXSession)),
        "connection": (rig.connection(), (IUnknown, IFWXConnection)),
        "buffer": (FWXIOBuffer(b"x"), (IUnknown, IFWXIOBuffer)),
        "network socket": (rig.firewall.CreateNetworkSocket(6), (IUnknown, IFWXSocket, IFWXNetworkSocket)),
        "two interfaces": (TwoFaced(), (IUnknown, IFWXDataFilter, IFWXIOCompletion)),
    }


NAMES = ["firewall", "session", "connection", "buffer", "network socket", "two interfaces"]
FORMS = [
    pytest.param(lambda interface: interface, id="interface"),
    pytest.param(iid, id="UUID"),
    pytest.param(lambda interface: str(iid(interface)), id="text"),
    pytest.param(lambda interface: "{" + str(iid(interface)).upper() + "}", id="registry form"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_the_laws(rig: Rig, name: str, form: Any) -> None:
    """DESIGN 3: reflexive, symmetric, transitive, stable, one identity; whatever names the interface."""
    thing, interfaces = objects(rig)[name]
    identity = thing.QueryInterface(form(IUnknown))
    for first in interfaces:
        face = thing.QueryInterface(form(first))
        assert face.QueryInterface(form(first)) is face, "reflexive"
        assert thing.QueryInterface(form(first)) is face, "stable"
        assert face.QueryInterface(form(IUnknown)) is identity, "one identity"
        assert first(thing) is face, "the Python spelling"
        for second in interfaces:
            other = face.QueryInterface(form(second))
            assert other.QueryInterface(form(first)) is face, "symmetric"
            for third in interfaces:
                assert other.QueryInterface(form(third)) is face.QueryInterface(form(third)), "transitive"


@pytest.mark.parametrize("name", NAMES)
def test_what_an_object_has_not(rig: Rig, name: str) -> None:
    """DESIGN 3: E_NOINTERFACE now and for ever; ``IFoo(obj, None)`` is ``None``."""
    thing, _ = objects(rig)[name]
    for wanted in (IFWXSlowDataFilter, iid(IFWXSlowDataFilter), str(iid(IFWXSlowDataFilter)), uuid4(), "no IID at all"):
        for _ in range(2):
            assert code_of(thing.QueryInterface, wanted) == E_NOINTERFACE
    assert IFWXSlowDataFilter(thing, None) is None
    assert IFWXSlowDataFilter(thing, "otherwise") == "otherwise"
    with pytest.raises(TypeError, match="Could not adapt"):
        IFWXSlowDataFilter(thing)


def test_null(rig: Rig) -> None:
    assert code_of(rig.firewall.QueryInterface, None) == E_POINTER
    assert code_of(Patience(TwoFaced()).QueryInterface, None) == E_POINTER


def test_an_interface_that_is_not_of_com(rig: Rig) -> None:
    class ILocal(Interface):
        """Of the host, without an IID."""

    assert code_of(rig.firewall.QueryInterface, ILocal) == E_NOINTERFACE
    assert ILocal(rig.firewall, None) is None


@pytest.mark.parametrize("name", ["firewall", "session", "connection", "network socket"])
def test_the_services_objects_lead_to_the_registry(rig: Rig, name: str) -> None:
    """DESIGN 4."""
    thing, _ = objects(rig)[name]
    assert IComponentLookup(thing) is rig.registry


@pytest.mark.parametrize("name", ["buffer", "two interfaces"])
def test_other_objects_do_not(rig: Rig, name: str) -> None:
    thing, _ = objects(rig)[name]
    assert IComponentLookup(thing, None) is None


def test_a_tear_off_is_a_face_of_its_owner(lent: Any) -> None:
    """DESIGN 3: the laws hold through a tear-off; it is made once."""
    face = lent.QueryInterface(IFWXSlowDataFilter)
    assert type(face) is Patience
    assert lent.QueryInterface(IFWXSlowDataFilter) is face
    assert IFWXSlowDataFilter(lent) is face
    assert face.QueryInterface(IFWXSlowDataFilter) is face
    assert face.QueryInterface(IFWXDataFilter) is lent
    assert face.QueryInterface(IUnknown) is lent
    assert IFWXIOCompletion(face) is lent
    assert code_of(face.QueryInterface, IFWXSocket) == E_NOINTERFACE


def test_a_tear_off_shares_its_owners_count(lent: Any) -> None:
    face = lent.QueryInterface(IFWXSlowDataFilter)
    assert (face.AddRef(), lent.AddRef(), face.Release(), lent.Release()) == (2, 3, 2, 1)
    assert face.Release() == 0
    assert lent.released == 1


def test_each_object_has_its_own_tear_off(rig: Rig, lent: Any) -> None:
    other = type(lent)()
    assert lent.QueryInterface(IFWXSlowDataFilter) is not other.QueryInterface(IFWXSlowDataFilter)


def test_a_named_adapter_is_no_interface_of_the_object(rig: Rig) -> None:
    """DESIGN 4: QueryInterface asks for unnamed adapters only."""
    assert rig.registry.getAdapter(rig.firewall, IFWXNetworkSocket, name="tcp") is not None
    assert code_of(rig.firewall.QueryInterface, IFWXNetworkSocket) == E_NOINTERFACE


def test_the_count() -> None:
    """B3.15: it starts at the creator's 1; the resource goes with the last reference, once."""
    thing = TwoFaced()
    assert (thing.AddRef(), thing.AddRef(), thing.Release(), thing.Release()) == (2, 3, 2, 1)
    assert thing.released == 0
    assert thing.Release() == 0
    assert thing.released == 1
    assert code_of(thing.Release) == E_UNEXPECTED
    assert code_of(thing.AddRef) == E_UNEXPECTED
    assert thing.released == 1


def test_the_count_of_many_threads() -> None:
    thing = TwoFaced()

    def count() -> None:
        for _ in range(2000):
            thing.AddRef()
            thing.Release()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert thing.Release() == 0
    assert thing.released == 1


def test_the_garbage_collector_owns_the_memory() -> None:
    """DESIGN 3: a count that nobody gave back keeps nothing alive."""
    thing = TwoFaced()
    thing.AddRef()
    seen = weakref.ref(thing)
    del thing
    gc.collect()
    assert seen() is None


def test_the_iid_of_iunknown() -> None:
    assert iid(IUnknown) == UUID("00000000-0000-0000-C000-000000000046")
