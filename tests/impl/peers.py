"""Who is at the other end: a plain socket of the outside, or the neighbouring filter, with the same manners."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.sockets import FWXSocket
from fwx.interfaces import SocketAddress
from tests.impl.parts import Recorder

if TYPE_CHECKING:
    from fwx.impl.endpoint import Endpoint
    from tests.impl.conftest import Rig
    from tests.impl.parts import Done

_RESET = struct.pack("ii", 1, 0)


class Peer:
    """The outside's end of a connection: a plain socket, driven together with the loop."""

    def __init__(self, rig: Rig, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._rig = rig
        self._sock = sock
        self.data = bytearray()
        self.ended = False
        self.error: int | None = None
        self.address = SocketAddress.from_sockaddr(sock.getsockname())
        rig.closing.append(self.close)

    def send(self, data: bytes) -> None:
        """Send all of *data*; the other side must read it in time."""
        view = memoryview(data)

        def all_sent() -> bool:
            nonlocal view
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                return False
            return not view

        self._rig.until(all_sent)

    def push(self, most: int = 64 << 20) -> int:
        """Send until nobody takes more, *most* bytes at most; return how many were taken."""
        block = bytes(64 << 10)
        total = idle = 0
        while idle < 10 and total < most:
            try:
                total += self._sock.send(block)
                idle = 0
            except BlockingIOError:
                idle += 1
            self._rig.turns(3)
        return total

    def take(self) -> None:
        """Read what is there."""
        while not self.ended and self.error is None:
            try:
                block = self._sock.recv(1 << 20)
            except BlockingIOError:
                return
            except OSError as error:
                self.error = error.errno
                return
            self.data += block
            self.ended = not block

    def expect(self, data: bytes) -> None:
        """Wait until exactly *data* has come since the last time."""

        def come() -> bool:
            self.take()
            return len(self.data) >= len(data) or self.ended or self.error is not None

        self._rig.until(come)
        assert bytes(self.data) == data
        self.data.clear()

    def expect_end(self) -> None:
        self._rig.until(lambda: self.take() or self.ended or self.error is not None)
        assert (self.ended, self.error) == (True, None)

    def expect_reset(self) -> None:
        self._rig.until(lambda: self.take() or self.ended or self.error is not None)
        assert (self.ended, self.error) == (False, 104), "ECONNRESET"

    def expect_reset_after_data(self) -> None:
        """Wait for the reset, whatever came before it."""
        self._rig.until(lambda: self.take() or self.error is not None)
        assert self.error == 104, "ECONNRESET"

    def expect_nothing(self) -> None:
        self._rig.turns(20)
        self.take()
        assert (bytes(self.data), self.ended, self.error) == (b"", False, None)

    def shutdown(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()

    def reset(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._sock.close()


class FarFilter:
    """The neighbouring filter, with the manners of :class:`Peer`."""

    def __init__(self, rig: Rig, sock: FWXSocket) -> None:
        self._rig = rig
        self._socket = sock
        self._recorder = Recorder(self._come)
        self._asking = False
        self.data = bytearray()
        self.ended = False
        self.error: int | None = None

    def send(self, data: bytes) -> None:
        self._socket.Send(FWXIOBuffer(data), None, 0)

    def take(self) -> None:
        if not (self._asking or self.ended or self.error is not None):
            self._asking = True
            self._socket.Recv(None, self._recorder, 0)

    def _come(self, done: Done) -> None:
        self._asking = False
        if not done.success:
            self.error = done.code
            return
        self.data += done.data
        self.ended = not done.data

    expect = Peer.expect
    expect_end = Peer.expect_end

    def expect_reset(self) -> None:
        self._rig.until(lambda: self.take() or self.ended or self.error is not None)
        assert (self.ended, self.error) == (False, 10054), "WSAECONNRESET"

    def shutdown(self) -> None:
        self._socket.Shutdown(False)

    def close(self) -> None:
        self._socket.Close(False)

    def reset(self) -> None:
        self._socket.Close(True)


class Owner:
    """Owner of an endpoint and of sockets: writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.failures: list[BaseException] = []

    def endpoint_ended(self, endpoint: Endpoint) -> None:
        self.told.append(("ended", None))

    def endpoint_broken(self, endpoint: Endpoint, code: int) -> None:
        self.told.append(("broken", code))

    def endpoint_faltered(self, endpoint: Endpoint, doomed: bool) -> None:
        if doomed:
            self.told.append(("doomed", None))

    def completion_failed(self, error: BaseException) -> None:
        self.failures.append(error)


class Side(NamedTuple):
    """A data filter's socket, whatever is behind it, and who is behind it."""

    socket: FWXSocket
    far: Any
    owner: Owner
