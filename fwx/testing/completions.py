"""Completion objects: those that the batteries post with, and the battery for a filter's own."""

# ruff: noqa: N802, N803, ARG002  the SDK's spelling, letter for letter

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, NamedTuple

from zope.interface import implementer

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    ERROR_OPERATION_ABORTED,
    FAILED,
    WSAECONNRESET,
    COMInterfaceClass,
    IFWXAcceptCompletion,
    IFWXExternalIOCompletion,
    IFWXIOCompletion,
    IFWXNetworkSocket,
    IFWXTaskCompletion,
    SocketAddress,
)
from fwx.testing.battery import Battery, BreachError, Rule, describe, expect, expect_equal, run_rules
from fwx.testing.buffers import PlainBuffer
from fwx.testing.unknown import shape_rule, unknown_rules


class Done(NamedTuple):
    """One completion as it arrived."""

    success: bool
    code: int
    buffer: Any
    tag: object
    address: object
    address_length: int

    @property
    def data(self) -> bytes:
        return b"" if self.buffer is None else bytes(self.buffer.ReadAt(0, self.buffer.GetBufferSizes()[1]))


@implementer(IFWXIOCompletion)
class Recorder(Unknown):
    """Remembers every completion; *then* is called with each, and what it raises or returns goes to the service."""

    def __init__(self, then: Callable[[Done], Any] | None = None) -> None:
        self.calls: list[Done] = []
        self._then = then

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: Any,
        UserData: object,
        ExternalAddress: SocketAddress | None,
        ExternalAddressLength: int,
    ) -> Any:
        done = Done(bool(fSuccess), Win32ErrorCode, pIOBuffer, UserData, ExternalAddress, ExternalAddressLength)
        self.calls.append(done)
        return None if self._then is None else self._then(done)

    @property
    def tags(self) -> list[object]:
        return [done.tag for done in self.calls]


class Accepted(NamedTuple):
    """One accepted connection as it was told."""

    success: bool
    code: int
    listening: Any
    socket: Any
    remote: SocketAddress
    local: SocketAddress
    tag: object


@implementer(IFWXAcceptCompletion)
class AcceptRecorder(Unknown):
    """Remembers every accepted connection."""

    def __init__(self) -> None:
        self.calls: list[Accepted] = []

    def CompleteAsyncAccept(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pListeningSocket: IFWXNetworkSocket,
        pAcceptSocket: IFWXNetworkSocket | None,
        RemoteAddress: SocketAddress,
        RemoteAddressLength: int,
        LocalAddress: SocketAddress,
        LocalAddressLength: int,
        UserData: object,
    ) -> None:
        self.calls.append(
            Accepted(
                bool(fSuccess), Win32ErrorCode, pListeningSocket, pAcceptSocket, RemoteAddress, LocalAddress, UserData
            )
        )


class Moved(NamedTuple):
    """One overlapped operation as its end was told; the IDL spells NumberOfBytesTransfered so."""

    success: bool
    transfered: int
    code: int
    overlapped: Any
    tag: object


@implementer(IFWXExternalIOCompletion)
class MoveRecorder(Unknown):
    """Remembers the end of every overlapped operation; *then* as for :class:`Recorder`."""

    def __init__(self, then: Callable[[Moved], Any] | None = None) -> None:
        self.calls: list[Moved] = []
        self._then = then

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        NumberOfBytesTransfered: int,
        Win32ErrorCode: int,
        pOverlapped: Any,
        UserData: object,
    ) -> Any:
        moved = Moved(bool(fSuccess), NumberOfBytesTransfered, Win32ErrorCode, pOverlapped, UserData)
        self.calls.append(moved)
        return None if self._then is None else self._then(moved)

    @property
    def outcomes(self) -> list[tuple[object, int, int]]:
        """User data, error and count of each."""
        return [(moved.tag, moved.code, moved.transfered) for moved in self.calls]


# ---- the battery -----------------------------------------------------------------------------------------------------

_COMPLETIONS = (IFWXIOCompletion, IFWXAcceptCompletion, IFWXTaskCompletion, IFWXExternalIOCompletion)
_NOWHERE = SocketAddress("192.0.2.1", 9)


def check_completion(maker: Callable[[], Any], *, user_data: tuple[Any, ...] = (0, 1)) -> Battery:
    """Try a filter's completion object: does it take every outcome that the service may report?

    *maker* returns a fresh object of ``IFWXIOCompletion``, ``IFWXAcceptCompletion``, ``IFWXTaskCompletion`` or
    ``IFWXExternalIOCompletion``; *user_data* holds values that it knows as its own.

    :raises TypeError: the object is none of these.
    """
    sample = maker()
    interface = next((each for each in _COMPLETIONS if each.providedBy(sample)), None)
    if interface is None:
        names = ", ".join(each.__name__ for each in _COMPLETIONS)
        raise TypeError(f"expected a completion object ({names}), not {type(sample).__qualname__}")
    rules = (*_shared_rules(interface), *_RULES[interface](user_data))

    def make() -> AbstractContextManager[Any]:
        return nullcontext(maker())

    return run_rules(type(sample).__qualname__, rules, make)


def _shared_rules(interface: COMInterfaceClass) -> Iterator[Rule[Any]]:
    yield shape_rule(interface, lambda completion: completion)
    yield from unknown_rules(interface, lambda completion: completion)


def _call(method: Callable[..., Any], *args: Any) -> None:
    """Call a method of a filter that may neither raise nor return a failure."""
    try:
        result = method(*args)
    except Exception as error:
        raise BreachError(f"expected None or S_OK, found {describe(error)}") from error
    expect(
        result is None or not (isinstance(result, int) and FAILED(result)), f"expected None or S_OK, found {result!r}"
    )


def _io_rules(user_data: tuple[Any, ...]) -> Iterator[Rule[Any]]:
    def takes(success: bool, code: int, data: bytes | None) -> Callable[[Any], None]:
        def test(completion: Any) -> None:
            for tag in user_data:
                buffer = None if data is None else FWXIOBuffer.constant(data)
                _call(completion.CompleteAsyncIO, success, code, buffer, tag, None, 0)

        return test

    def leaves_the_data(completion: Any) -> None:
        for tag in user_data:
            buffer = PlainBuffer(32, b"not for you to change")
            _call(completion.CompleteAsyncIO, True, 0, buffer, tag, None, 0)
            expect_equal(buffer.ReadAt(0, 32), b"not for you to change", "the data after CompleteAsyncIO")

    yield Rule("takes data", ("B5.2", "B5.5", "B5.7"), takes(True, 0, b"data"))
    yield Rule("takes the end of the stream", ("B3.24",), takes(True, 0, b""))
    yield Rule("takes a failure without a buffer", ("B5.6", "B5.9"), takes(False, WSAECONNRESET, None))
    yield Rule("takes what Close aborts", ("B3.31",), takes(False, ERROR_OPERATION_ABORTED, None))
    yield Rule("ignores the error code of a success", ("B5.6",), takes(True, WSAECONNRESET, b"data"))
    yield Rule("leaves the data as it is", ("B3.14",), leaves_the_data)


def _accept_rules(user_data: tuple[Any, ...]) -> Iterator[Rule[Any]]:
    def takes_failure(completion: Any) -> None:
        listening = _Deaf()
        for tag in user_data:
            arguments = (_NOWHERE, _NOWHERE.length, _NOWHERE, _NOWHERE.length)
            _call(completion.CompleteAsyncAccept, False, ERROR_OPERATION_ABORTED, listening, None, *arguments, tag)

    yield Rule("takes a failure without a socket", ("B4.12", "B5.6"), takes_failure)


def _task_rules(user_data: tuple[Any, ...]) -> Iterator[Rule[Any]]:
    def takes_posts(completion: Any) -> None:
        for tag in (*user_data, *user_data):
            _call(completion.CompleteTask, tag)

    yield Rule("does the work of every post", ("B5.4", "B5.5"), takes_posts)


def _external_rules(user_data: tuple[Any, ...]) -> Iterator[Rule[Any]]:
    def takes_failure(completion: Any) -> None:
        for tag in user_data:
            _call(completion.CompleteAsyncIO, False, 0, ERROR_OPERATION_ABORTED, None, tag)

    yield Rule("takes a failed operation", ("B5.6", "B5.18"), takes_failure)


_RULES: Mapping[COMInterfaceClass, Callable[[tuple[Any, ...]], Iterator[Rule[Any]]]] = MappingProxyType(
    {
        IFWXIOCompletion: _io_rules,
        IFWXAcceptCompletion: _accept_rules,
        IFWXTaskCompletion: _task_rules,
        IFWXExternalIOCompletion: _external_rules,
    }
)


class _Deaf(Unknown):
    """The listening socket of an accept that failed because it is closed: nothing can be done with it."""
