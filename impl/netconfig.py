"""IFWXNetConfigDetector: who is told of the network configuration, and when (B13.10)."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from zope.interface import implementer

from fwx.impl.argument import whole
from fwx.impl.boundary import attempt
from fwx.impl.loopthread import on_loop
from fwx.impl.netcontext import ContextSlots
from fwx.impl.netinventory import Inventory
from fwx.impl.netsnapshot import Change
from fwx.impl.unknown import Unknown
from fwx.impl.winsock import winsock_code
from fwx.interfaces import (
    FwxNcdEvent,
    FwxNcdEventParameters,
    IFWXNetConfigDetectionNotification,
    IFWXNetConfigDetector,
    fwx_ncd_Shutdown,
    fwx_ncd_Startup,
)
from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, FWX_E_TERMINATING, COMError, winsock_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwx.impl.deadline import Timer
    from fwx.impl.engine import Engine
    from fwx.impl.machine import Machine
    from fwx.impl.netelement import FWXNetworkElement
    from fwx.impl.netsnapshot import FWXNetConfigDetectionSnapshot
    from fwx.impl.strand import Strand
    from fwx.interfaces import SocketAddress

logger = logging.getLogger("fwx.netconfig")

SETTLE_SECONDS = 0.1
"""How long notices of the kernel are collected: one command often changes several things."""

RETRY_SECONDS = 1.0
"""When the machine is read again after that has failed."""


class _Registration:
    """One filter's. :ivar is_told: it knows the present picture, so changes may follow."""

    __slots__ = ("is_told", "notification", "strand")

    def __init__(self, notification: IFWXNetConfigDetectionNotification, strand: Strand | None) -> None:
        """:param strand: where a blocking filter is told."""
        self.notification = notification
        self.strand = strand
        self.is_told = False


@implementer(IFWXNetConfigDetector)
class FWXNetConfigDetector(Unknown):
    """The one detector of a service. It follows the machine from its first use until the service stops; before that it
    costs nothing.
    """

    __slots__ = ("_engine", "_inventory", "_is_closed", "_machine", "_registrations", "_slots", "_snapshot", "_timer")

    # Nothing of the outside hangs on the count.
    _can_return = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._slots = ContextSlots()
        self._inventory = Inventory(self._slots)
        self._registrations: dict[int, _Registration] = {}
        self._machine: Machine | None = None
        self._snapshot: FWXNetConfigDetectionSnapshot | None = None
        self._timer: Timer | None = None
        self._is_closed = False

    def Register(self, ipNcdNotification: IFWXNetConfigDetectionNotification, fIssueAllNotifications: bool) -> int:
        """Tell *ipNcdNotification* of the present configuration, before this returns (true) or after that (false), then
        of every change, on the loop thread. Return the handle of the registration.

        :raises COMError: ``E_POINTER`` nobody to tell; ``E_INVALIDARG`` something else; ``FWX_E_TERMINATING`` the
            service stops; the Winsock error of a machine that cannot be read.
        """
        if ipNcdNotification is None:
            raise COMError(E_POINTER, "a notification is needed")
        if not IFWXNetConfigDetectionNotification.providedBy(ipNcdNotification):
            given = type(ipNcdNotification).__name__
            raise COMError(E_INVALIDARG, f"an IFWXNetConfigDetectionNotification is needed, not {given}")
        registration = _Registration(ipNcdNotification, self._engine.strands.current)
        return on_loop(self._engine.queue, self._register, registration, bool(fIssueAllNotifications))

    def Unregister(self, uiNcdRegistrationHandle: int) -> None:
        """End a registration and drop its contexts.

        :raises COMError: ``E_INVALIDARG`` there is no such registration.
        """
        handle = whole(uiNcdRegistrationHandle, "uiNcdRegistrationHandle")
        on_loop(self._engine.queue, self._unregister, handle)

    def LookupNetworkElementByAddress(
        self, Address: SocketAddress, AddressLength: int | None = None
    ) -> FWXNetworkElement:
        """Answer as the present snapshot does.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` no literal address; as :meth:`GetCurrentSnapshot`.
        """
        return self.GetCurrentSnapshot().LookupNetworkElementByAddress(Address, AddressLength)

    def GetCurrentSnapshot(self) -> FWXNetConfigDetectionSnapshot:
        """Return the last snapshot, the same one until a change; changes of the machine are known after a moment.

        :raises COMError: ``FWX_E_TERMINATING`` the service stops; the Winsock error of a machine that cannot be read.
        """
        return on_loop(self._engine.queue, self._current)

    # The service's side, on the loop thread.

    def look_again(self) -> None:
        """Tell what has changed, if anything; called when the networks of the policy may have. Nothing happens as long
        as nobody has used the detector.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        before = self._snapshot
        if before is None or self._machine is None:
            return
        try:
            after = self._inventory.picture(self._engine.policy.configured_networks, self._machine.read())
        except OSError as error:
            logger.warning("the network configuration cannot be read, the last known one holds: %s", error)
            self._timer = self._engine.call_later(RETRY_SECONDS, self._look)
            return
        changes = after.changes_since(before)
        if changes:
            self._snapshot = after
            for handle, registration in list(self._registrations.items()):
                if registration.is_told:
                    self._tell(handle, registration, changes)

    def close(self) -> None:
        """Say ``fwx_ncd_Shutdown`` to everybody, and follow the machine no more; twice does nothing."""
        self._is_closed = True
        registrations, self._registrations = self._registrations, {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._machine is not None:
            self._machine.close()
            self._machine = None
        self._snapshot = None
        for handle, registration in registrations.items():
            if registration.is_told:
                self._notify(registration, FwxNcdEvent(fwx_ncd_Shutdown, FwxNcdEventParameters.of(fwx_ncd_Shutdown)))
            self._slots.close(handle)

    def _current(self) -> FWXNetConfigDetectionSnapshot:
        if self._is_closed:
            raise COMError(FWX_E_TERMINATING, "the service stops")
        if self._snapshot is None:
            try:
                machine = self._engine.network.machine(self._changed)
            except OSError as error:
                raise winsock_error(winsock_code(error), f"the machine cannot be followed: {error}") from error
            try:
                self._snapshot = self._inventory.picture(self._engine.policy.configured_networks, machine.read())
            except OSError as error:
                machine.close()
                raise winsock_error(winsock_code(error), f"the machine cannot be read: {error}") from error
            self._machine = machine
        return self._snapshot

    def _changed(self) -> None:
        if self._timer is None and not self._is_closed:
            self._timer = self._engine.call_later(SETTLE_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        self.look_again()

    def _register(self, registration: _Registration, at_once: bool) -> int:
        self._current()  # nobody is registered where there is nothing to tell
        handle = self._slots.open()
        self._registrations[handle] = registration
        if at_once:
            self._begin(handle, registration)
        else:
            self._engine.queue.post(self._begin, handle, registration)
        return handle

    def _unregister(self, handle: int) -> None:
        if self._registrations.pop(handle, None) is None:
            raise COMError(E_INVALIDARG, f"there is no registration {handle}")
        self._slots.close(handle)

    def _begin(self, handle: int, registration: _Registration) -> None:
        if handle not in self._registrations:
            return
        registration.is_told = True
        self._tell(handle, registration, (Change(fwx_ncd_Startup, lambda: handle), *self._current().additions()))

    def _tell(self, handle: int, registration: _Registration, changes: Iterable[Change]) -> None:
        """Give a filter one series of notices, which ends early if it ends its registration."""
        for change in changes:
            if handle not in self._registrations:
                return
            details = FwxNcdEventParameters.of(change.event_type, change.details())
            self._notify(registration, FwxNcdEvent(change.event_type, details))

    def _notify(self, registration: _Registration, event: FwxNcdEvent) -> None:
        target = registration.notification
        if registration.strand is not None:
            failed = partial(self._engine.faults.report, type(target).__name__, "NotifyNetworkChange")
            registration.strand.tell(target, "NotifyNetworkChange", (event,), failed)
            return
        _, error = attempt(target, "NotifyNetworkChange", event)
        if error is not None:
            self._engine.faults.report(type(target).__name__, "NotifyNetworkChange", error)
