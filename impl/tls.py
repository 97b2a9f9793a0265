"""TLS over any socket: the neighbour of an SSL socket."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from fwx.impl.carrier import Carrier
from fwx.impl.ceiling import FREE, has_room
from fwx.impl.operation import MOST_PENDING
from fwx.impl.tlscontext import words
from fwx.impl.winsock import winsock_code
from fwx.interfaces.hresult import ERROR_OPERATION_ABORTED, WSAECONNABORTED, WSAESHUTDOWN

if TYPE_CHECKING:
    from fwx.impl.ceiling import Holder
    from fwx.impl.operation import Operation
    from fwx.impl.runqueue import RunQueue
    from fwx.impl.tlscodec import Codec
    from fwx.impl.tlsinfo import TlsInfo
    from fwx.impl.tlsrole import Role
    from fwx.interfaces import IFWXSocket

# What one Recv without a buffer gets at most, and one Send underneath holds, before TLS adds its few per cent.
BLOCK = 256 << 10


class TlsOwner(Protocol):
    """The SSL socket."""

    def layer_opened(self, layer: TlsLayer) -> None:
        """The handshake is done."""

    def layer_failed(self, layer: TlsLayer, code: int, reason: str) -> None:
        """Nothing passes any more: the Windows error *code*, and in words why; no words where the fault is not TLS's
        own.
        """

    def layer_ended(self, layer: TlsLayer) -> None:
        """Both directions have ended and everything has been sent, or the layer has been closed or has failed."""

    def carrier_faulted(self, method: str, error: BaseException) -> None:
        """The socket underneath is a filter's own, and its *method* raised what it must not raise."""


class TlsLayer:
    """Sends and receives for the posted operations of one SSL socket over the socket underneath (B4.17).

    Nothing is asked for underneath but during the handshake and while a Recv is posted that has no data. A Send is
    complete when the socket underneath has taken its last byte, and only two blocks are on their way there.

    :ivar opened: the handshake is done. :ivar info: what was agreed on then.
    :ivar broken: the Windows error after which nothing passes any more, 0 while all is well.
    """

    datagrams = False

    __slots__ = (
        "_carrier",
        "_closing",
        "_codec",
        "_first",
        "_mute",
        "_over",
        "_owner",
        "_plain",
        "_queue",
        "_recvs",
        "_remembered",
        "_role",
        "_sends",
        "_shutting",
        "_write_ended",
        "backlog",
        "broken",
        "holder",
        "info",
        "on_room",
        "opened",
        "received",
        "sent",
    )

    def __init__(self, queue: RunQueue, socket: IFWXSocket, role: Role, owner: TlsOwner) -> None:
        """*socket* is the one underneath, and the layer's from now on. :meth:`start` begins the handshake."""
        self._queue = queue
        self._carrier = Carrier(queue, socket, self)
        self._role = role
        self._owner = owner
        self._codec: Codec | None = None
        self._first = b""
        self.opened = False
        self._remembered = False
        self._recvs: deque[Operation] = deque()
        self._sends: deque[Operation] = deque()
        # Plain text that was read before a Recv asked for it: there is some only behind our own close_notify.
        self._plain = b""
        self._shutting = False
        self._write_ended = False
        # The Windows error after which nothing goes out any more.
        self._mute = 0
        self._closing = False
        self._over = False
        self.info: TlsInfo | None = None
        self.backlog = 0
        self.broken = 0
        self.received = 0
        self.sent = 0
        self.on_room: Any = None
        self.holder: Holder | None = None

    def start(self) -> None:
        """Begin the handshake."""
        self._advance()

    @property
    def closing(self) -> bool:
        """The socket has been closed; what it had queued is still going out."""
        return self._closing and not self._over

    # The neighbour of a socket.

    def takes_recv(self) -> bool:
        return len(self._recvs) < MOST_PENDING

    def takes_send(self, ahead: int = 0) -> bool:
        waiting = self.backlog + ahead
        return (waiting < FREE or has_room(self, waiting, ahead)) and len(self._sends) < MOST_PENDING

    def has_data(self) -> bool:
        return bool(self._plain) or (self.opened and self._codec is not None and self._codec.has_data())

    def recv(self, operation: Operation) -> None:
        """Take a posted Recv."""
        if self._closing:
            operation.fail(self._queue, ERROR_OPERATION_ABORTED)
            return
        self._recvs.append(operation)
        if len(self._recvs) == 1:
            self._advance()

    def send(self, operation: Operation) -> None:
        """Take a posted Send."""
        if self._closing or self.broken or self._mute or self._shutting:
            code = WSAECONNABORTED if self._closing else WSAESHUTDOWN
            operation.fail(self._queue, self.broken or self._mute or code)
            return
        self.backlog += len(operation.data)
        self._sends.append(operation)
        if len(self._sends) == 1:
            self._advance()

    def shutdown(self, abortive: bool) -> None:
        """End the sending direction: close_notify behind what is queued, then FIN; or reset the connection."""
        if abortive:
            self.close(True)
        elif not self._shutting and not self.broken:
            self._shutting = True
            self._advance()

    def close(self, abortive: bool) -> None:
        """End both directions. What is queued still goes out unless *abortive*, then close_notify; Recvs fail."""
        if self._closing and not abortive:
            return
        self._closing = True
        self._plain = b""
        self._fail(self._recvs, ERROR_OPERATION_ABORTED)
        if self._over:
            if abortive:
                self._drop(ERROR_OPERATION_ABORTED)
                self._carrier.close(True)
        elif abortive:
            self.abort(ERROR_OPERATION_ABORTED)
        elif self.opened or self._sends:
            self._shutting = True
            self._advance()
        else:
            self._finish(False)

    def abort(self, code: int, reason: str = "") -> None:
        """Reset the connection; everything pending fails with *code*. *reason*: why, where somebody should know."""
        if reason:
            self._break(code, reason, abortive=True)
        elif not self._over:
            self.broken = code
            self._finish(True)

    # The owner of the carrier.

    def carried(self, data: bytes | memoryview) -> None:
        """Data has come from underneath, or its end."""
        if self._over:
            return
        if self._codec is None:
            self._first += bytes(data)
        elif len(data):
            self._codec.feed(data)
        else:
            self._codec.feed_end()
        self._advance()

    def delivered(self, operations: Iterable[Operation]) -> None:
        """The socket underneath has taken the last byte of *operations*."""
        for operation in operations:
            operation.succeed(self._queue, operation.buffer)
        if self._over:
            return
        if self._sends:
            self._advance()
        else:
            self._look_for_end()

    def receiving_failed(self, code: int) -> None:
        """Nothing comes from underneath any more, not even its end."""
        self._break(code, "" if self.opened else "the connection failed during the handshake", abortive=True)

    def sending_failed(self, code: int) -> None:
        """Nothing goes out any more; what the peer sent before it left can still be received."""
        self._mute = code
        if self._closing:
            self._break(code, "", abortive=True)
        else:
            self._drop(code)
            if self.on_room is not None:
                self.on_room()

    def carrier_faulted(self, method: str, error: BaseException) -> None:
        self._owner.carrier_faulted(method, error)

    # The work.

    def _advance(self) -> None:
        """Do what can be done now."""
        if self._over:
            self._settle()
            return
        try:
            if self.opened or self._handshake():
                self._receive()
                self._transmit()
        except ssl.SSLError as error:
            interrupted = not self.opened and isinstance(error, ssl.SSLEOFError)
            reason = "the peer ended the connection during the handshake" if interrupted else words(error)
            self._break(winsock_code(error), reason, abortive=False)

    def _handshake(self) -> bool:
        codec = self._codec
        if codec is None:
            ended = self._carrier.ended
            codec = self._codec = self._role.begin(self._first, ended)
            if codec is None:
                self._carrier.ask()
                return False
            codec.feed(self._first)
            self._first = b""
            if ended:
                codec.feed_end()
        done = codec.handshake()
        self._carry_output()
        if not done:
            self._carrier.ask()
            return False
        self.opened = True
        self.info = codec.info()
        self._owner.layer_opened(self)
        return True

    def _receive(self) -> None:
        codec, recvs = self._codec, self._recvs
        assert codec is not None
        self._deliver_plain()
        while recvs:
            capacity = recvs[0].data
            block = codec.read(BLOCK if capacity is None else capacity)
            if block is None:
                break
            self.received += len(block)
            recvs.popleft().deliver(self._queue, block)
        if recvs:
            self._carrier.ask()
        self._carry_output()
        if codec.ended:
            self._look_for_end()
        elif self.received and not self._remembered:
            self._remembered = True
            self._role.remember(codec)

    def _deliver_plain(self) -> None:
        while self._plain and self._recvs:
            operation = self._recvs.popleft()
            size = len(self._plain) if operation.data is None else operation.data
            block, self._plain = self._plain[:size], self._plain[size:]
            operation.deliver(self._queue, block)

    def _transmit(self) -> None:
        codec, carrier, sends = self._codec, self._carrier, self._sends
        assert codec is not None
        before = self.backlog
        while sends and carrier.has_room:
            finished = []
            room = BLOCK
            while sends and room > 0:
                operation = sends[0]
                data = operation.data
                part = data if len(data) <= room else memoryview(data)[:room]
                codec.write(part)
                room -= len(part)
                if len(part) < len(data):
                    operation.data = memoryview(data)[len(part) :]
                else:
                    finished.append(sends.popleft())
            self.sent += BLOCK - room
            self.backlog -= BLOCK - room
            if not carrier.send(codec.take(), finished):
                for operation in finished:
                    operation.succeed(self._queue, operation.buffer)
        if self._shutting and not sends and not self._write_ended:
            self._end_write(codec)
        if self.backlog < before and self.on_room is not None:
            self.on_room()

    def _end_write(self, codec: Codec) -> None:
        """Send close_notify and the end; OpenSSL would throw away what has come and was not read, so that is first."""
        if self._plain or not codec.ended:
            self._read_ahead(codec)
        self._write_ended = True
        codec.end()
        self._carry_output()
        if self._closing:
            self._finish(False)
        else:
            self._carrier.shutdown()
            self._look_for_end()

    def _read_ahead(self, codec: Codec) -> None:
        parts = [self._plain]
        while block := codec.read(BLOCK):
            self.received += len(block)
            parts.append(block)
        self._plain = b"".join(parts)
        if self._closing:
            self._plain = b""

    def _carry_output(self) -> None:
        assert self._codec is not None
        data = self._codec.take()
        if data:
            self._carrier.send(data)

    # The end.

    def _look_for_end(self) -> None:
        """Close the socket underneath when both directions have ended and everything has been sent."""
        if self._write_ended and self._codec is not None and self._codec.ended and self._carrier.idle:
            self._finish(False)

    def _break(self, code: int, reason: str, *, abortive: bool) -> None:
        """Nothing passes any more. Unless *abortive*, the peer gets the alert that TLS has for it."""
        if self._over:
            self._drop(code)
            return
        self.broken = code
        if self._codec is not None and not abortive:
            self._carry_output()
        self._owner.layer_failed(self, code, reason)
        self._finish(abortive)

    def _finish(self, abortive: bool) -> None:
        """Close the socket underneath, in order or by a reset; what it has not taken yet may still complete."""
        if self.opened and not self.broken and self._codec is not None:
            self._role.remember(self._codec)
        self._over = True
        if abortive or self.broken:
            self._drop(self.broken or ERROR_OPERATION_ABORTED)
        self._carrier.close(abortive)
        self._settle()
        self._owner.layer_ended(self)
        if self.on_room is not None:
            self.on_room()

    def _drop(self, code: int) -> None:
        """Fail every Send that has not been taken underneath."""
        self.backlog = 0
        for operation in self._carrier.abandon():
            operation.fail(self._queue, code)
        self._fail(self._sends, code)

    def _settle(self) -> None:
        """Complete Recvs where nothing comes any more: with what was read, then the failure or the end."""
        self._deliver_plain()
        if self.broken:
            self._fail(self._recvs, self.broken)
        while self._recvs:
            self._recvs.popleft().deliver(self._queue, b"")

    def _fail(self, operations: deque[Operation], code: int) -> None:
        while operations:
            operations.popleft().fail(self._queue, code)
