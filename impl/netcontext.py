"""What the objects of the network configuration have in common: each registered filter may keep an object with each."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from fwx.impl.argument import whole
from fwx.impl.unknown import Unknown
from fwx.interfaces import IUnknown
from fwx.interfaces.hresult import E_INVALIDARG, COMError


class ContextSlots:
    """The handles of the registrations that there are; each is a slot of every item."""

    def __init__(self) -> None:
        self._handles: set[int] = set()
        self._items: WeakSet[NetworkItem] = WeakSet()
        self._last = 0

    def open(self) -> int:
        """Return a handle that no registration has had."""
        self._last += 1
        self._handles.add(self._last)
        return self._last

    def close(self, handle: int) -> None:
        """End the slot; every item drops what it has there, those that are gone from the configuration too."""
        self._handles.discard(handle)
        for item in list(self._items):
            item.drop(handle)

    def add(self, item: NetworkItem) -> None:
        self._items.add(item)

    def check(self, handle: Any) -> int:
        """Return *handle*. :raises COMError: ``E_INVALIDARG`` there is no such registration."""
        number = whole(handle, "uiContextSlot")
        if number not in self._handles:
            raise COMError(E_INVALIDARG, f"there is no registration {number}")
        return number


class NetworkItem(Unknown):
    """One network, set, adapter or address; the same object as long as the configuration has it. From any thread."""

    __slots__ = ("_contexts", "_slots")

    # Nothing of the outside hangs on the count.
    _can_return = True

    def __init__(self, slots: ContextSlots) -> None:
        self._slots = slots
        self._contexts: dict[int, IUnknown] = {}
        slots.add(self)

    def SetContext(self, uiContextSlot: int, punkContext: IUnknown | None) -> None:
        """Keep *punkContext* for the registration *uiContextSlot*, or nothing.

        :raises COMError: ``E_INVALIDARG`` there is no such registration, or it is no object of COM.
        """
        handle = self._slots.check(uiContextSlot)
        if punkContext is None:
            self._contexts.pop(handle, None)
            return
        if not IUnknown.providedBy(punkContext):
            raise COMError(E_INVALIDARG, f"an IUnknown is needed, not {type(punkContext).__name__}")
        self._contexts[handle] = punkContext

    def GetContext(self, uiContextSlot: int) -> IUnknown | None:
        """Return what :meth:`SetContext` has kept, or ``None``.

        :raises COMError: ``E_INVALIDARG`` there is no such registration.
        """
        return self._contexts.get(self._slots.check(uiContextSlot))

    def drop(self, handle: int) -> None:
        """Forget what is kept for *handle*, whose registration ends."""
        self._contexts.pop(handle, None)
