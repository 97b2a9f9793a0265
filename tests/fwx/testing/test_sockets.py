"""The battery for sockets: each rule, and a socket that breaks it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from fwx.impl.endpoint import Endpoint
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.sockets import FWXSocket
from fwx.interfaces import (
    E_FAIL,
    FWX_E_BAD_CONTEXT,
    FWX_E_IS_BUSY,
    COMError,
    IFWXNetworkSocket,
)
from fwx.testing import (
    Battery,
    Done,
    MemoryLoop,
    MemoryNetwork,
    PlainBuffer,
    Recorder,
    SocketPair,
    check_socket,
    memory_pair,
)
from fwx.testing.sockets import CLIENT, SERVER, SocketOwner


def maker_of(kind: type[FWXSocket]) -> Callable[[], SocketPair]:
    def make() -> SocketPair:
        loop, owner = MemoryLoop(), SocketOwner()
        left, right = (
            kind(loop.queue, owner, Endpoint(each, loop.queue, owner))
            for each in MemoryNetwork(loop).pair(CLIENT, SERVER)
        )
        return SocketPair(left, right, loop.run)

    return make


class Wrapped(FWXSocket):
    """A socket whose completions go through :meth:`complete`."""

    def complete(self, completion: Any, done: Done) -> Any:
        return completion.CompleteAsyncIO(*done)

    def wrap(self, completion: Any) -> Any:
        return None if completion is None else Recorder(lambda done: self.complete(completion, done))

    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        super().Send(pIOBuffer, self.wrap(pIFWXIOCompletion), UserData)

    def Recv(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        super().Recv(pIOBuffer, self.wrap(pIFWXIOCompletion), UserData)


class OtherNames(FWXSocket):
    def Shutdown(self, abortive: bool) -> None:
        super().Shutdown(abortive)


class CompletesInside(FWXSocket):
    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        super().Send(pIOBuffer, None, UserData)
        if pIFWXIOCompletion is not None:
            pIFWXIOCompletion.CompleteAsyncIO(True, 0, None, UserData, None, 0)


class CompletesTwice(Wrapped):
    def complete(self, completion: Any, done: Done) -> Any:
        super().complete(completion, done)
        return super().complete(completion, done)


class CompletesOutOfOrder(Wrapped):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.held: list[tuple[Any, Done]] = []

    def complete(self, completion: Any, done: Done) -> Any:
        self.held.append((completion, done))
        if len(self.held) == 2:
            for each in reversed(self.held):
                super().complete(*each)
            self.held.clear()


class SpoilsData(FWXSocket):
    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        if pIOBuffer is not None and pIOBuffer.GetBufferSizes()[1] > 100:
            pIOBuffer = FWXIOBuffer(pIOBuffer.ReadAt(0, 1 << 20)[:-1] + b"!")
        super().Send(pIOBuffer, pIFWXIOCompletion, UserData)


class GivesAddresses(Wrapped):
    def complete(self, completion: Any, done: Done) -> Any:
        return super().complete(completion, done._replace(address=SERVER, address_length=SERVER.length))


class GivesWritableBuffers(Wrapped):
    def complete(self, completion: Any, done: Done) -> Any:
        return super().complete(completion, done._replace(buffer=PlainBuffer(len(done.data), done.data)))


class IgnoresOwnBuffers(FWXSocket):
    def Recv(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        super().Recv(None, pIFWXIOCompletion, UserData)


class KeepsFormerBytes(FWXSocket):
    def Recv(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        def copy(done: Done) -> Any:
            if pIOBuffer is not None:
                pIOBuffer.SetDataSize(0)
                pIOBuffer.Append(done.data)
                done = done._replace(buffer=pIOBuffer)
            return pIFWXIOCompletion.CompleteAsyncIO(*done)

        super().Recv(None, pIFWXIOCompletion and Recorder(copy), UserData)


class Recycles(Wrapped):
    buffer = PlainBuffer(64 << 10)

    def complete(self, completion: Any, done: Done) -> Any:
        if done.buffer is not None and done.data:
            data = done.data
            self.buffer.SetDataSize(0)
            self.buffer.Append(data[: 64 << 10])
            done = done._replace(buffer=self.buffer)
        return super().complete(completion, done)


class TakesItsOwnBuffersOnly(FWXSocket):
    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        if pIOBuffer is not None and not isinstance(pIOBuffer, FWXIOBuffer):
            raise TypeError(f"{type(pIOBuffer).__name__} is no FWXIOBuffer")
        super().Send(pIOBuffer, pIFWXIOCompletion, UserData)


class ReadsLate(FWXSocket):
    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        self._queue.post(super().Send, pIOBuffer, pIFWXIOCompletion, UserData)


class SwallowsNothing(FWXSocket):
    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        if pIOBuffer is None or pIOBuffer.GetBufferSizes()[1]:
            super().Send(pIOBuffer, pIFWXIOCompletion, UserData)


class SendsNothing(FWXSocket):
    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        if pIOBuffer is not None:
            super().Send(pIOBuffer, pIFWXIOCompletion, UserData)


class ReceivesForNobody(FWXSocket):
    def Recv(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        super().Recv(pIOBuffer, pIFWXIOCompletion or Recorder(), UserData)


class SendsAnywhere(FWXSocket):
    def SendTo(
        self, pIOBuffer: Any, Address: Any, AddressLength: Any, pIFWXIOCompletion: Any, UserData: object
    ) -> None:
        self.Send(pIOBuffer, pIFWXIOCompletion, UserData)


class FailsAtTheEnd(Wrapped):
    def complete(self, completion: Any, done: Done) -> Any:
        if done.success and not done.data:
            done = done._replace(success=False, code=64, buffer=None)
        return super().complete(completion, done)


class ClosesAtShutdown(FWXSocket):
    def Shutdown(self, fAbortive: bool) -> None:
        self.Close(fAbortive)


class SwallowsAfterShutdown(FWXSocket):
    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        if not self._shut:
            super().Send(pIOBuffer, pIFWXIOCompletion, UserData)


class AlwaysResets(FWXSocket):
    def Close(self, fAbortive: bool) -> None:
        super().Close(True)


class SwallowsAfterClose(FWXSocket):
    def Shutdown(self, fAbortive: bool) -> None:
        if not self._closed:
            super().Shutdown(fAbortive)


class ForgetsPending(Wrapped):
    def complete(self, completion: Any, done: Done) -> Any:
        return super().complete(completion, done) if done.success else None


class NeverResetsOnClose(FWXSocket):
    def Close(self, fAbortive: bool) -> None:
        super().Close(False)


class NeverResetsOnShutdown(FWXSocket):
    def Shutdown(self, fAbortive: bool) -> None:
        super().Shutdown(False)


class BusyInside(Wrapped):
    inside = False

    def Recv(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        if self.inside:
            raise COMError(FWX_E_IS_BUSY)
        super().Recv(pIOBuffer, pIFWXIOCompletion, UserData)

    def complete(self, completion: Any, done: Done) -> Any:
        self.inside = True
        try:
            return super().complete(completion, done)
        finally:
            self.inside = False


class StopsAfterAFault(Wrapped):
    stopped = False

    def complete(self, completion: Any, done: Done) -> Any:
        if self.stopped:
            return None
        self.stopped = True
        result = super().complete(completion, done)
        self.stopped = False
        return result


class OneThreadOnly(FWXSocket):
    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise COMError(FWX_E_BAD_CONTEXT)
        super().Send(pIOBuffer, pIFWXIOCompletion, UserData)


class TakesEverything(FWXSocket):
    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        if pIFWXIOCompletion is None:
            super().Send(pIOBuffer, None, UserData)
        else:
            self._queue.post(pIFWXIOCompletion.CompleteAsyncIO, True, 0, pIOBuffer, UserData, None, 0)


class CountsNothing(FWXSocket):
    def _GetWriteCount(self) -> int:
        return 0


class AnswersByTruth(FWXSocket):
    def _IsDataAvailable(self) -> Any:
        raise COMError(E_FAIL)


class TellsItsNature(FWXSocket):
    def QueryInterface(self, riid: Any) -> Any:
        return self if riid is IFWXNetworkSocket else super().QueryInterface(riid)


WRONG: tuple[tuple[str, type[FWXSocket], str], ...] = (
    (
        "has every member of IFWXSocket to the letter",
        OtherNames,
        "IFWXSocket.Shutdown: expected the parameters (fAbortive), found (abortive)",
    ),
    ("does not tell what is behind it", TellsItsNature, "expected E_NOINTERFACE"),
    ("completes later, never inside the call that posts", CompletesInside, "the completion of Send came inside"),
    ("completes every operation exactly once, with its user data", CompletesTwice, "4 operations, 8 completions"),
    ("completes in order", CompletesOutOfOrder, "the order of the completions of Send: expected [0, 1, 2"),
    ("passes the bytes unchanged, both ways", SpoilsData, "the stream: expected b'"),
    ("gives no address on TCP", GivesAddresses, "expected (None, 0), found (SocketAddress('198.51.100.1:80'), 16)"),
    ("Recv without a buffer brings a read-only one", GivesWritableBuffers, "can be written to"),
    ("Recv with a buffer fills it", IgnoresOwnBuffers, "not the caller's buffer"),
    (
        "a buffer that is received into again shows nothing of its former use",
        KeepsFormerBytes,
        "its size set to all that it holds: expected b'abc\\x00",
    ),
    ("what was received stays as it is", Recycles, "what was received and kept, by both views: expected (b'abcdef'"),
    ("Send takes a filter's own buffer object", TakesItsOwnBuffersOnly, "it raised TypeError: PlainBuffer is no"),
    ("Send freezes the buffer", ReadsLate, "expected b'abc', found b'XYZ'"),
    (
        "a Send of no bytes completes and sends nothing",
        SwallowsNothing,
        "the completion of a Send of no bytes never happened",
    ),
    ("Send without a buffer is E_POINTER", SendsNothing, "expected E_POINTER, found the result None"),
    ("Recv needs a completion, Send does not", ReceivesForNobody, "expected E_POINTER, found the result None"),
    ("SendTo is refused on a stream", SendsAnywhere, "SendTo succeeded"),
    ("the end of the stream is a success of size 0", FailsAtTheEnd, "found a failure with error 64"),
    ("Shutdown leaves the other direction", ClosesAtShutdown, "WSAENOTSOCK"),
    ("Send after Shutdown is refused", SwallowsAfterShutdown, "WSAESHUTDOWN), found the result None"),
    (
        "Close sends what is queued, and the end; again it does nothing",
        AlwaysResets,
        "found a failure with error 10054",
    ),
    ("a closed socket refuses everything", SwallowsAfterClose, "WSAENOTSOCK), found the result None"),
    (
        "Close fails what is pending",
        ForgetsPending,
        "the completion of a Recv that was pending at Close never happened",
    ),
    ("Close(True) resets", NeverResetsOnClose, "expected a failure at the other side, found the end of the stream"),
    ("Shutdown(True) resets", NeverResetsOnShutdown, "expected a failure at the other side, found the end"),
    ("a completion may post again", BusyInside, "a Recv that a completion posted never happened"),
    (
        "a completion that raises keeps no other from coming",
        StopsAfterAFault,
        "the completion of an operation after another one's had failed never happened",
    ),
    ("any thread may post", OneThreadOnly, "posting from another thread raised COMError: FWX_E_BAD_CONTEXT"),
    ("a reader that stops holds the sender back", TakesEverything, "64 MiB were taken although nobody receives"),
    ("the private slots answer", CountsNothing, "_GetWriteCount: expected 3, found 0"),
    ("the private slots answer", AnswersByTruth, "_IsDataAvailable: expected"),
)


@pytest.mark.parametrize(("rule", "wrong", "reason"), WRONG)
def test_the_rule_catches(
    rule: str, wrong: type[FWXSocket], reason: str, caught: Callable[[Battery, str, str], None]
) -> None:
    caught(check_socket(maker_of(wrong)), rule, reason)


def test_there_is_a_wrong_socket_for_every_rule(shared_rules: tuple[str, ...]) -> None:
    rules = {check.name for check in check_socket(memory_pair)}
    assert rules - set(shared_rules) == {rule for rule, _, _ in WRONG}


def test_the_wrong_ones_are_wrong_by_what_they_add() -> None:
    check_socket(maker_of(FWXSocket)).require()
    check_socket(maker_of(Wrapped)).require()
