"""The sockets of a blocking filter, and what brings their completions to its threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from fwx.impl.blocking import ILoopBound
from fwx.impl.sockets import FWXSocket
from fwx.interfaces.hresult import ERROR_OPERATION_ABORTED

if TYPE_CHECKING:
    from fwx.impl.operation import Operation, Owner
    from fwx.impl.runqueue import RunQueue
    from fwx.impl.sockets import Neighbour
    from fwx.impl.strand import Strand
    from fwx.interfaces import IFWXIOBuffer, IFWXIOCompletion, SocketAddress

MOST_UNDER_WAY: Final = 2
"""Recvs of one socket that the network serves before their completions have run: what a slow thread costs in memory."""

_counting = Lock()


class ThreadedCompletion:
    """Stands between an operation and a blocking filter's completion, which is called on the filter's strand."""

    __slots__ = ("_completion", "_owner", "_ran", "_strand", "is_under_way")

    def __init__(self, strand: Strand, completion: Any, owner: Owner, ran: Callable[[], None] | None = None) -> None:
        """:param owner: hears of a fault, on the loop thread.

        :param ran: called on the thread when the completion has returned, where it was :attr:`is_under_way`.
        """
        self.is_under_way = False
        self._strand = strand
        self._completion = completion
        self._owner = owner
        self._ran = ran

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: IFWXIOBuffer | None,
        UserData: object,
        ExternalAddress: SocketAddress | None,
        ExternalAddressLength: int,
    ) -> None:
        args = (fSuccess, Win32ErrorCode, pIOBuffer, UserData, ExternalAddress, ExternalAddressLength)
        if not self.is_under_way:
            self._strand.tell(self._completion, "CompleteAsyncIO", args, self._owner.completion_failed)
        else:
            self._strand.post(self._completion, "CompleteAsyncIO", args, self._done)

    def _done(self, _result: Any, error: BaseException | None) -> None:
        assert self._ran is not None
        self._ran()
        if error is not None:
            self._strand.fault(self._owner.completion_failed, error)


def threaded(strand: Strand | None, completion: Any, owner: Owner) -> Any:
    """Return what to post in the place of a filter's *completion*: it is called on *strand*, if there is one."""
    if strand is None or completion is None or ILoopBound.providedBy(completion):
        return completion
    return ThreadedCompletion(strand, completion, owner)


class ThreadedSocket(FWXSocket):
    """One of the two sockets of a blocking filter's data filter: its completions come on the data filter's strand.

    It asks the network for no more than the thread takes: what a filter has posted beyond that waits here.
    """

    __slots__ = ("_strand", "_under_way")

    def __init__(self, queue: RunQueue, owner: Owner, neighbour: Neighbour, strand: Strand) -> None:
        super().__init__(queue, owner, neighbour)
        self._strand = strand
        # Recvs that were passed on and whose completions have not run.
        self._under_way = 0

    def Send(self, pIOBuffer: IFWXIOBuffer, pIFWXIOCompletion: IFWXIOCompletion | None, UserData: object) -> None:
        super().Send(pIOBuffer, threaded(self._strand, pIFWXIOCompletion, self._owner), UserData)

    def SendTo(
        self,
        pIOBuffer: IFWXIOBuffer,
        Address: SocketAddress,
        AddressLength: int | None,
        pIFWXIOCompletion: IFWXIOCompletion | None,
        UserData: object,
    ) -> None:
        completion = threaded(self._strand, pIFWXIOCompletion, self._owner)
        super().SendTo(pIOBuffer, Address, AddressLength, completion, UserData)

    def Recv(self, pIOBuffer: IFWXIOBuffer | None, pIFWXIOCompletion: IFWXIOCompletion, UserData: object) -> None:
        completion: Any = pIFWXIOCompletion
        if completion is not None and not ILoopBound.providedBy(completion):
            completion = ThreadedCompletion(self._strand, completion, self._owner, self._ran)
        super().Recv(pIOBuffer, completion, UserData)

    def _take(self, neighbour: Neighbour, operation: Operation) -> None:
        if self._closed or self._terminated:
            operation.fail(self._queue, ERROR_OPERATION_ABORTED)
            return
        if self._held is None:
            self._held = deque()
        self._held.append(operation)
        self._release_held()

    def _release_held(self) -> None:
        held = self._held
        while held and not self._must_wait():
            operation = held.popleft()
            if isinstance(operation.completion, ThreadedCompletion):
                operation.completion.is_under_way = True
                with _counting:
                    self._under_way += 1
            self._require_neighbour().recv(operation)

    def _must_wait(self) -> bool:
        return self._under_way >= MOST_UNDER_WAY or super()._must_wait()

    def _ran(self) -> None:
        """The completion of a Recv has run, on the thread."""
        with _counting:
            self._under_way -= 1
        if self._held:
            self._queue.post(self._release_held)
