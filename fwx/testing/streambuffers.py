"""The rules for what becomes of buffers on a stream; a part of the battery for IFWXSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import E_POINTER, COMError
from fwx.testing.battery import BreachError, Rule, expect, expect_equal, expect_failure
from fwx.testing.buffers import PlainBuffer
from fwx.testing.completions import Recorder

if TYPE_CHECKING:
    from fwx.testing.sockets import SocketPair


def _service_buffer(pair: SocketPair) -> None:
    pair.send(pair.left, b"abc")
    buffer = pair.receive(pair.right).buffer
    expect(buffer is not None, "a Recv without a buffer completed without one")
    expect(buffer.GetBufferAndSize().readonly, "the service's buffer can be written to through its view")
    for method, argument in ((buffer.Append, b"d"), (buffer.SetDataSize, 1)):
        try:
            method(argument)
        except COMError:
            continue
        raise BreachError(f"{method.__name__} changed the service's buffer")
    expect_equal(bytes(buffer.GetBufferAndSize()), b"abc", "the data")


def _own_buffer(pair: SocketPair) -> None:
    pair.send(pair.left, b"abcde")
    pair.settle()
    for buffer, wanted in ((FWXIOBuffer.allocated(3), b"abc"), (PlainBuffer(16, b"old"), b"de")):
        done = pair.receive(pair.right, buffer)
        expect(done.buffer is buffer, f"the completion brought {done.buffer!r}, not the caller's buffer")
        expect_equal(done.data, wanted, "the data in the caller's buffer")


def _own_buffer_again(pair: SocketPair) -> None:
    buffer = FWXIOBuffer.allocated(16)
    buffer.Append(b"another stream's")
    pair.send(pair.left, b"abc")
    expect_equal(pair.receive(pair.right, buffer).data, b"abc", "the data in the caller's buffer")
    buffer.SetDataSize(16)
    expect_equal(buffer.ReadAt(0, 16), b"abc" + bytes(13), "the buffer, its size set to all that it holds")


def _kept_buffer(pair: SocketPair) -> None:
    pair.send(pair.left, b"abcdef")
    kept = pair.receive(pair.right).buffer
    view = kept.GetBufferAndSize()
    for number in range(4):
        pair.send(pair.left, bytes([number]) * 6)
        pair.receive_all(pair.right, 6)
    expect_equal((bytes(view), bytes(kept.ReadAt(0, 9))), (b"abcdef",) * 2, "what was received and kept, by both views")


def _foreign_buffer(pair: SocketPair) -> None:
    pair.left.Send(PlainBuffer(8, b"abc"), None, 0)
    expect_equal(pair.receive_all(pair.right, 3), b"abc", "what was sent from a filter's own buffer")


def _frozen(pair: SocketPair) -> None:
    buffer = FWXIOBuffer.allocated(3)
    buffer.SetDataSize(3)
    view = buffer.GetBufferAndSize()
    view[:] = b"abc"
    copy = memoryview(view)
    pair.left.Send(buffer, None, 0)
    copy[:] = b"XYZ"
    expect_equal(pair.receive_all(pair.right, 3), b"abc", "what was sent, after its owner wrote to the memory")


def _empty_send(pair: SocketPair) -> None:
    sent, received = Recorder(), Recorder()
    pair.right.Recv(None, received, 0)
    for buffer in (FWXIOBuffer.constant(b""), FWXIOBuffer.allocated(8), PlainBuffer(8)):
        pair.left.Send(buffer, sent, 0)
    pair.until(lambda: len(sent.calls) == 3, "the completion of a Send of no bytes")
    pair.settle()
    expect(all(done.success for done in sent.calls), "a Send of no bytes failed")
    expect(not received.calls, "a Send of no bytes completed the other side's Recv")
    pair.send(pair.left, b"abc")
    pair.until(lambda: received.calls, "the completion of a Recv")
    expect_equal(received.calls[0].data, b"abc", "what came after three Sends of no bytes")


def _needs_a_buffer(pair: SocketPair) -> None:
    recorder = Recorder()
    expect_failure("Send(None)", E_POINTER, pair.left.Send, None, recorder, 0)
    pair.settle()
    expect(not recorder.calls, "a refused Send completed")


BUFFER_RULES: tuple[Rule[SocketPair], ...] = (
    Rule("Recv without a buffer brings a read-only one", ("B3.12",), _service_buffer),
    Rule("Recv with a buffer fills it", ("B3.13",), _own_buffer),
    Rule("a buffer that is received into again shows nothing of its former use", ("B3.13",), _own_buffer_again),
    Rule("what was received stays as it is", ("B3.12", "B3.15"), _kept_buffer),
    Rule("Send takes a filter's own buffer object", ("B3.15",), _foreign_buffer),
    Rule("Send freezes the buffer", ("B3.14",), _frozen),
    Rule("a Send of no bytes completes and sends nothing", ("B3.14", "B3.24"), _empty_send),
    Rule("Send without a buffer is E_POINTER", ("B3.14",), _needs_a_buffer),
)
