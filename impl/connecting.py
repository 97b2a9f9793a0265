"""What stands behind a network socket while it connects."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fwx.impl.ceiling import FREE, has_room
from fwx.impl.operation import MOST_PENDING, Operation
from fwx.interfaces.hresult import ERROR_OPERATION_ABORTED

if TYPE_CHECKING:
    from fwx.impl.ceiling import Holder
    from fwx.impl.runqueue import RunQueue
    from fwx.impl.sockets import Neighbour


class Connecting:
    """Stands behind a socket while it connects: keeps the operations for the endpoint that comes, or fails them.

    What another thread posted meanwhile may arrive when connecting has ended; it goes the way of the others.
    """

    def __init__(
        self,
        queue: RunQueue,
        on_close: Callable[[], None],
        *,
        datagrams: bool = False,
        told: Callable[[int], None] | None = None,
    ) -> None:
        """*on_close* is called when the socket is closed before it has connected, *told* once with how connecting has
        ended: 0 or the Windows error."""
        self.datagrams = datagrams
        self._queue = queue
        self._on_close = on_close
        self._posted: list[tuple[str, Any]] = []
        self._endpoint: Neighbour | None = None
        self._told = told
        self.code = 0
        self.backlog = 0
        self.on_room: Any = None
        self.holder: Holder | None = None

    def takes_recv(self) -> bool:
        return len(self._posted) < MOST_PENDING

    def takes_send(self, ahead: int = 0) -> bool:
        waiting = self.backlog + ahead
        return (waiting < FREE or has_room(self, waiting, ahead)) and len(self._posted) < MOST_PENDING

    def has_data(self) -> bool:
        return False

    def recv(self, operation: Operation) -> None:
        self._keep("recv", operation)

    def send(self, operation: Operation) -> None:
        self.backlog += len(operation.data)
        self._keep("send", operation)

    def shutdown(self, abortive: bool) -> None:
        self._keep("shutdown", abortive)

    def close(self, abortive: bool) -> None:
        if self._endpoint is not None:
            self._endpoint.close(abortive)
        elif self.backlog and not abortive:
            # What is queued still goes out (B3.26); the deadline of connecting bounds the wait.
            self._keep("close", False)
        else:
            self.fail(ERROR_OPERATION_ABORTED)
            self._on_close()

    def pass_on(self, endpoint: Neighbour) -> None:
        self._endpoint = endpoint
        self._tell(0)
        posted, self._posted = self._posted, []
        for method, argument in posted:
            getattr(endpoint, method)(argument)

    def fail(self, code: int) -> None:
        self.code = code
        self._tell(code)
        posted, self._posted = self._posted, []
        for method, argument in posted:
            if method in ("recv", "send"):
                argument.fail(self._queue, code)

    def _tell(self, code: int) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(code)

    def _keep(self, method: str, argument: Any) -> None:
        self._posted.append((method, argument))
        if self._endpoint is not None:
            self.pass_on(self._endpoint)
        elif self.code:
            self.fail(self.code)
