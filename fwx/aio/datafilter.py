"""AsyncDataFilter: a data filter that is one coroutine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from zope.interface import implementer
from zope.interface.interfaces import IComponentLookup

from fwx.aio.arrivals import CompletionError
from fwx.aio.pump import pump, together
from fwx.aio.socket import AsyncSocket
from fwx.impl.tasking import IFaults, ITasks
from fwx.impl.unknown import Unknown
from fwx.interfaces import FWX_E_TERMINATING, COMError, IFWXDataFilter, IFWXSocket

if TYPE_CHECKING:
    from fwx.aio.tasks import Task


@implementer(IFWXDataFilter)
class AsyncDataFilter(Unknown):
    """A data filter to derive from: override :meth:`run`, which lives as long as the connection."""

    _task: Task | None = None

    async def run(self, internal: AsyncSocket, external: AsyncSocket, connection: Any, context: Any) -> None:
        """Move the data; without an override everything passes in both directions.

        Started by ``SetSockets``, as a task. When it returns, both sockets are closed; what was sent still goes out.
        When it raises because a peer has reset the connection, or because the connection ends, both sides are reset
        (B3.30). Anything else that it raises is a fault of the filter, as in a completion. It is cancelled by
        ``Detach``; its ``finally`` blocks run, and what they post fails with ``FWX_E_TERMINATING``.

        :param internal: the socket towards the client; *external*, towards the server.
        :param connection: the ``IFWXConnection``; *context*, what was given to ``AttachDataFilter``.
        """
        await together(pump(internal, external), pump(external, internal))

    def SetSockets(
        self,
        piInternalSocket: IFWXSocket,
        pIExternalSocket: IFWXSocket | None,
        piConnection: Any,
        punkFilterContext: Any,
    ) -> None:
        lookup: Any = IComponentLookup
        registry = lookup(piConnection)
        faults = registry.getMultiAdapter((piConnection, self), IFaults)
        internal = AsyncSocket(piInternalSocket)
        # An emulating data filter has none (B3.6); its author knows.
        external = cast("AsyncSocket", None if pIExternalSocket is None else AsyncSocket(pIExternalSocket))
        running = self._run(internal, external, piConnection, punkFilterContext, faults)
        self._task = registry.getUtility(ITasks).start(running, type(self).__name__)

    def Detach(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _run(
        self, internal: AsyncSocket, external: AsyncSocket, connection: Any, context: Any, faults: Any
    ) -> None:
        sockets = [each for each in (internal, external) if each is not None]
        abortive = True
        try:
            await self.run(internal, external, connection, context)
            abortive = False
        except GeneratorExit:
            raise
        except BaseException as error:
            if self._task is None and isinstance(error, asyncio.CancelledError):
                raise
            if not _tells_of_the_end(error, [each.socket for each in sockets], connection):
                faults.failed("run", error)
        finally:
            for each in sockets:
                each.close(abortive)


def _tells_of_the_end(error: BaseException, sockets: list[IFWXSocket], connection: Any) -> bool:
    """Tell whether *error* says that one of *sockets* was reset or closed, or that *connection* ends, alone."""
    if isinstance(error, BaseExceptionGroup):
        return all(_tells_of_the_end(each, sockets, connection) for each in error.exceptions)
    if isinstance(error, CompletionError):
        return any(error.socket is socket for socket in sockets)
    return isinstance(error, COMError) and error.hresult == FWX_E_TERMINATING and _ends(connection)


def _ends(connection: Any) -> bool:
    try:
        connection.GetSession()
    except COMError:
        return True
    return False
