"""The time-outs of a network socket, by the kinds of ``FwxTimeoutType``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zope.interface import Interface

from fwx.impl.argument import whole
from fwx.interfaces import FwxTimeoutType
from fwx.interfaces.hresult import E_INVALIDARG, COMError

if TYPE_CHECKING:
    from fwx.impl.deadline import Timer
    from fwx.interfaces import IFWXIOBuffer, IFWXIOCompletion, SocketAddress

# Looked up for every accepted connection; the enumeration itself takes microseconds to say what it holds.
_KINDS = {int(kind): kind for kind in FwxTimeoutType}

CallLater = Callable[[float, Callable[[], None]], "Timer"]


class ISocketTimeouts(Interface):
    """The time-outs of a network socket. ``FwxTimeoutType`` names them, but no method of the SDK's interfaces takes
    them; so this interface of ours does. Had by ``ISocketTimeouts(socket)``; a filter calls it on a socket that it
    made.
    """

    def set_timeout(kind: FwxTimeoutType, milliseconds: int) -> None:
        """Let operations that are posted from now on last at most *milliseconds*; 0, as at first, for no limit.

        :param kind: one kind. ``fwxSendTimeout`` and ``fwxRecvTimeout`` are ``SO_SNDTIMEO`` and ``SO_RCVTIMEO`` too;
            ``fwxConnectExSendTimeout`` is of ``Connect``, beside the service's own 20 seconds; ``fwxAcceptTimeout`` of
            an ``Accept`` until a connection comes; ``fwxAcceptExTimeout`` of an ``Accept`` until the first data of its
            connection; ``fwxAcceptExRecvTimeout`` from the connection to its first data.
        :raises COMError: ``E_INVALIDARG`` not one kind, or not a whole number of 32 bits.
        """

    def timeout(kind: FwxTimeoutType) -> int:
        """Return the milliseconds of *kind*, 0 for no limit. :raises COMError: ``E_INVALIDARG`` not one kind."""


class Timeouts:
    """The numbers of one socket, and the completions that keep to them."""

    __slots__ = ("_call_later", "_milliseconds")

    def __init__(self, call_later: CallLater) -> None:
        self._call_later = call_later
        self._milliseconds: dict[FwxTimeoutType, int] = {}

    def put(self, kind: Any, milliseconds: Any) -> None:
        self._milliseconds[_kind(kind)] = whole(milliseconds, "milliseconds")

    def get(self, kind: Any) -> int:
        return self._milliseconds.get(_kind(kind), 0)

    def copy(self) -> Timeouts:
        """Return the same numbers for an accepted socket, which inherits them."""
        copy = Timeouts(self._call_later)
        copy._milliseconds = self._milliseconds.copy()
        return copy

    def start(self, kind: FwxTimeoutType, expired: Callable[[], None]) -> Timer | None:
        """Have *expired* called when the time of *kind* is up; ``None`` where it has no limit."""
        milliseconds = self._milliseconds.get(kind, 0)
        return self._call_later(milliseconds / 1000, expired) if milliseconds else None

    def limits(self, kind: FwxTimeoutType) -> bool:
        return bool(self._milliseconds and self._milliseconds.get(kind))


class TimedCompletion:
    """Stands between an operation and the caller's completion, and stops the clock when the operation ends."""

    __slots__ = ("_completion", "ended", "timer")

    def __init__(self, completion: IFWXIOCompletion | None) -> None:
        self._completion = completion
        self.ended = False
        self.timer: Timer | None = None

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: IFWXIOBuffer | None,
        UserData: object,
        ExternalAddress: SocketAddress | None,
        ExternalAddressLength: int,
    ) -> Any:
        self.ended = True
        if self.timer is not None:
            self.timer.cancel()
        if self._completion is None:
            return None
        return self._completion.CompleteAsyncIO(
            fSuccess, Win32ErrorCode, pIOBuffer, UserData, ExternalAddress, ExternalAddressLength
        )


def _kind(kind: Any) -> FwxTimeoutType:
    known = _KINDS.get(kind) if isinstance(kind, int) else None
    if known is None:
        raise COMError(E_INVALIDARG, f"{kind!r} is not one kind of FwxTimeoutType")
    return known
