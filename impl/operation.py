"""Posted operations and how they complete: exactly once, in order, from the run queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fwx.impl.boundary import failing_result
from fwx.impl.iobuffer import FWXIOBuffer, end_receive, give_back
from fwx.interfaces.hresult import WSAEFAULT, WSAEMSGSIZE, COMError

if TYPE_CHECKING:
    from fwx.impl.runqueue import RunQueue
    from fwx.interfaces import IFWXIOBuffer, IFWXIOCompletion, SocketAddress


# Operations that one direction of a socket may have waiting; fwx.impl.ceiling bounds the bytes.
MOST_PENDING = 4096


class Owner(Protocol):
    """Whom a completion belongs to; told when the completion object fails."""

    def completion_failed(self, error: BaseException) -> None: ...


class Operation:
    """One posted Send or Recv.

    ``buffer`` is what to send, or the caller's buffer to receive into, or ``None``. ``data`` is what is left to send,
    or how many bytes the caller's buffer holds.
    """

    __slots__ = ("buffer", "completion", "data", "is_whole", "owner", "user_data")

    def __init__(
        self,
        owner: Owner,
        completion: IFWXIOCompletion | None,
        user_data: object,
        buffer: IFWXIOBuffer | None,
        data: Any = None,
    ) -> None:
        self.owner = owner
        self.completion = completion
        self.user_data = user_data
        self.buffer = buffer
        self.data = data
        # Nothing of a buffer to send has been taken yet, so the buffer object itself can be handed on.
        self.is_whole = True

    def handed_on(self) -> FWXIOBuffer:
        """Return the buffer that the neighbour gets: the one that was sent, itself.

        In place of a filter's own class it gets one of the service's around the same memory, which it cannot change and
        which runs no code of another filter.
        """
        buffer = self.buffer
        if isinstance(buffer, FWXIOBuffer):
            return buffer
        assert buffer is not None
        return FWXIOBuffer.of(self.data, buffer)

    def deliver(self, queue: RunQueue, block: Any) -> None:
        """Post the success of a Recv: *block* in a buffer of the service's, or copied into the caller's (B3.13)."""
        if self.buffer is None:
            self.succeed(queue, FWXIOBuffer(block))
        else:
            queue.post(self._fill, block)

    def succeed(self, queue: RunQueue, buffer: IFWXIOBuffer | None) -> None:
        """Post the success; *buffer* holds what was received, or is the buffer that was sent."""
        if self.completion is not None:
            queue.post(self._complete, True, 0, buffer)

    def fail(self, queue: RunQueue, code: int) -> None:
        """Post the failure with the Windows error *code*."""
        if self.completion is not None:
            queue.post(self._give_up, code)

    def _fill(self, block: Any, code: int = 0) -> None:
        """Copy *block* into the caller's buffer and complete, as failed where there is a *code*.

        The copy is made here, from the queue, because a filter's own buffer may call anything, its socket too. One that
        fails is its owner's fault.
        """
        buffer = self.buffer
        assert buffer is not None
        try:
            end_receive(buffer, block)
        except BaseException as error:  # noqa: BLE001  a filter's own buffer may raise anything; its owner judges
            self.owner.completion_failed(error)
            self._complete(False, WSAEFAULT, None)
        else:
            self._complete(not code, code, buffer)

    def _give_up(self, code: int) -> None:
        give_back(self.buffer)
        self._complete(False, code, None)

    def _complete(self, success: bool, code: int, buffer: IFWXIOBuffer | None) -> None:
        completion = self.completion
        assert completion is not None
        try:
            result = completion.CompleteAsyncIO(success, code, buffer, self.user_data, None, 0)
        except BaseException as error:  # noqa: BLE001  as boundary.attempt, without its cost: this is the data path
            self.owner.completion_failed(error)
            return
        if result is not None:
            self._judge(result)

    def _judge(self, result: object) -> None:
        failure = failing_result(result)
        if failure is not None:
            self.owner.completion_failed(COMError(failure, "returned by CompleteAsyncIO"))


class DatagramOperation(Operation):
    """One posted Send, SendTo or Recv of whole datagrams.

    ``target`` is where a SendTo goes, ``None`` for the connected peer. A Recv's completion brings ``external``, which
    one on a stream has not (B3.21).
    """

    __slots__ = ("external", "target")

    def __init__(
        self,
        owner: Owner,
        completion: IFWXIOCompletion | None,
        user_data: object,
        buffer: IFWXIOBuffer | None,
        data: Any = None,
        target: SocketAddress | None = None,
    ) -> None:
        super().__init__(owner, completion, user_data, buffer, data)
        self.target = target
        self.external: SocketAddress | None = None

    def deliver_from(self, queue: RunQueue, block: Any, address: SocketAddress | None) -> None:
        """Post a Recv's outcome: the datagram *block*, with its external *address*.

        What does not fit into the caller's buffer is lost, and the completion fails with ``WSAEMSGSIZE`` and brings
        what did fit, as Winsock's ``recvfrom`` does.
        """
        self.external = address
        if self.buffer is None or len(block) <= self.data:
            self.deliver(queue, block)
        else:
            queue.post(self._fill, block[: self.data], WSAEMSGSIZE)

    def fail_from(self, queue: RunQueue, code: int, address: SocketAddress | None) -> None:
        """Post a Recv's failure: the network reported *code* for what was sent to *address*."""
        self.external = address
        self.fail(queue, code)

    def _complete(self, success: bool, code: int, buffer: IFWXIOBuffer | None) -> None:
        completion, external = self.completion, self.external
        assert completion is not None
        length = 0 if external is None else external.length
        try:
            result = completion.CompleteAsyncIO(success, code, buffer, self.user_data, external, length)
        except BaseException as error:  # noqa: BLE001  as above
            self.owner.completion_failed(error)
            return
        if result is not None:
            self._judge(result)
