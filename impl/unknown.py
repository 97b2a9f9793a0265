"""IUnknown for real: one identity, QueryInterface by interface or IID, a reference count for outside resources."""

from __future__ import annotations

import threading
from typing import Any, TypeVar, cast
from uuid import UUID

from zope.interface import implementer
from zope.interface.interface import InterfaceClass
from zope.interface.interfaces import IComponentLookup

from fwx.interfaces import IUnknown, interface_of, read_iid
from fwx.interfaces.hresult import E_NOINTERFACE, E_POINTER, E_UNEXPECTED, COMError

T = TypeVar("T")

# Guards every reference count: counts change rarely (only the COM face counts), so one lock serves all objects.
_counting = threading.Lock()


@implementer(IUnknown)
class Unknown:
    """Base of every object that filters and the service hand to each other.

    The garbage collector owns the memory. The reference count, which starts at the creator's 1, owns the outside
    resource: when it reaches 0, :meth:`FinalRelease` runs once. Code on the Python face never counts.
    """

    __slots__ = ("__weakref__", "_faces", "_references")

    _faces: dict[InterfaceClass, Any]
    _references: int

    # The service's objects have the registry of their service here; it answers what the object itself does not.
    _registry: Any = None
    # True where the count owns no outside resource: who still holds the object may count again after it reached 0.
    _can_return = False

    def QueryInterface(self, riid: type[T] | UUID | str) -> T:
        """Return this object's face for *riid*: an interface, a UUID or the text of an IID.

        :raises COMError: ``E_NOINTERFACE`` the object has no such interface, now and for ever; ``E_POINTER`` *riid* is
            ``None``.
        """
        interface: Any = riid
        if not isinstance(interface, InterfaceClass):
            interface = self._interface_of(riid)
        this: Any = self
        if interface.providedBy(this):
            return cast("T", this)
        # Only a face that is an IUnknown itself leads back to this object, as COM demands.
        face: T | None = self._lent_face(interface) if interface.isOrExtends(IUnknown) else None
        if face is None:
            raise COMError(E_NOINTERFACE, f"{type(self).__name__} has no {interface.__name__}")
        return face

    def __conform__(self, interface: InterfaceClass) -> Any:
        """Answer ``IFoo(obj)``: the object itself, then its cached faces, then the registry's unnamed adapters."""
        return self if interface.providedBy(self) else self._lent_face(interface)

    def _interface_of(self, riid: object) -> InterfaceClass:
        """Return the interface with the IID *riid*: the contract's, or one that the registry lends."""
        if riid is None:
            raise COMError(E_POINTER, "QueryInterface needs an interface or an IID")
        interface: InterfaceClass | None = interface_of(riid)
        if interface is None and self._registry is not None:
            interface = lent_interface(self._registry, read_iid(riid))
        if interface is None:
            raise COMError(E_NOINTERFACE, f"no interface has the identifier {riid}")
        return interface

    def _lent_face(self, interface: InterfaceClass) -> Any:
        if interface is IComponentLookup:
            return self._registry
        faces: dict[InterfaceClass, Any] | None = getattr(self, "_faces", None)
        if faces is not None and interface in faces:
            return faces[interface]
        registry = self._registry
        if registry is None:
            return None
        face = registry.queryAdapter(self, interface)
        if face is not None:
            if faces is None:
                faces = {}
                self._faces = faces
            face = faces.setdefault(interface, face)
        return face

    def AddRef(self) -> int:
        """Count one more reference and return the new count, which is fit for tests only.

        :raises COMError: ``E_UNEXPECTED`` the count had reached 0 before.
        """
        with _counting:
            count: int = getattr(self, "_references", 1) + 1
            if count == 1 and not self._can_return:
                raise COMError(E_UNEXPECTED, f"{type(self).__name__} was released before")
            self._references = count
        return count

    def Release(self) -> int:
        """Count one reference less and return the new count; the resource goes with the last one.

        :raises COMError: ``E_UNEXPECTED`` the count had reached 0 before.
        """
        with _counting:
            count: int = getattr(self, "_references", 1) - 1
            if count < 0:
                raise COMError(E_UNEXPECTED, f"{type(self).__name__} was released more often than it was referenced")
            self._references = count
        if count == 0:
            self.FinalRelease()
        return count

    def FinalRelease(self) -> None:
        """Give back the outside resource; called once, when the count reaches 0. Nothing by default."""


class TearOff(Unknown):
    """A face that another object lends to its owner; hands every question about identity back to the owner."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Unknown) -> None:
        self._owner = owner

    def QueryInterface(self, riid: type[T] | UUID | str) -> T:
        return self._owner.QueryInterface(riid)

    def __conform__(self, interface: InterfaceClass) -> Any:
        return self._owner.__conform__(interface)

    def AddRef(self) -> int:
        return self._owner.AddRef()

    def Release(self) -> int:
        return self._owner.Release()


def lent_interface(registry: Any, identifier: UUID | None) -> InterfaceClass | None:
    """Return the interface with this IID that an unnamed adapter of *registry* provides: a plugin's own."""
    if identifier is None:
        return None
    provided = (one.provided for one in registry.registeredAdapters() if not one.name)
    return next((one for one in provided if one.queryDirectTaggedValue("iid") == identifier), None)
