"""The chain of one connection's data filters, from the client's side to the server's (B3.3 to B3.11)."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from fwx.impl.boundary import attempt
from fwx.impl.caller import STARTS_TASKS
from fwx.impl.datagramjunction import datagram_junction
from fwx.impl.filterhost import tells_of_the_end
from fwx.impl.junction import junction
from fwx.impl.sockets import FWXSocket
from fwx.impl.tasking import IFaults
from fwx.impl.threadedsocket import ThreadedSocket
from fwx.interfaces import IFWXSlowDataFilter, IFWXSocket
from fwx.interfaces.hresult import FWX_E_BAD_CONTEXT, S_FALSE, COMError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.course import Pending
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.sockets import Neighbour
    from fwx.impl.strand import Outcome
    from fwx.interfaces import IFWXDataFilter, IUnknown

logger = logging.getLogger("fwx.chain")


@implementer(IFaults)
class Member:
    """One data filter on one connection: its place, its sockets, and whom to tell when it fails."""

    __slots__ = (
        "connection",
        "context",
        "data_filter",
        "emulates",
        "external",
        "host",
        "internal",
        "over",
        "priority",
        "sees_all",
        "sockets",
        "strand",
    )

    def __init__(
        self,
        connection: ConnectionBase,
        host: FilterHost,
        data_filter: IFWXDataFilter,
        priority: int,
        context: IUnknown | None,
    ) -> None:
        self.connection = connection
        self.host = host
        self.data_filter: IFWXDataFilter | None = data_filter
        self.priority = priority
        self.context = context
        # It is the outer side, and has no socket there.
        self.emulates = False
        # Attached for one UDP destination, it sees the datagrams of all of them.
        self.sees_all = False
        # Its sockets are gone, with the connection or with the destination that it was attached for.
        self.over = False
        self.internal: Neighbour | None = None
        self.external: Neighbour | None = None
        self.sockets: dict[str, FWXSocket] = {}
        # The calls of a blocking filter's data filter, one at a time.
        self.strand = connection.engine.strands.strand(host) if host.is_blocking else None

    def socket(self, side: str) -> FWXSocket:
        """Make the service's own socket of one *side*, ``internal`` or ``external``, or return the one there is.

        The registry's default adapter calls this; another adapter may wrap the result or make something else.

        :raises COMError: ``FWX_E_BAD_CONTEXT`` the connection has not been established; or the data filter emulates it
            and has no external socket (B3.6).
        """
        socket = self.sockets.get(side)
        if socket is None:
            neighbour = self.internal if side == "internal" else self.external
            if neighbour is None:
                words = "an emulating data filter has no external socket"
                missing = self.emulates and self.internal is not None
                raise COMError(
                    FWX_E_BAD_CONTEXT, words if missing else "a data filter has its sockets from SetSockets on"
                )
            queue = self.connection.engine.queue
            if self.strand is None:
                socket = FWXSocket(queue, self, neighbour)
            else:
                socket = ThreadedSocket(queue, self, neighbour, self.strand)
            self.sockets[side] = socket
            twin = self.sockets.get("external" if side == "internal" else "internal")
            if twin is not None:
                socket.pair_with(twin)
                twin.pair_with(socket)
        return socket

    def set_sockets(self) -> BaseException | None:
        """Hand the filter its sockets, made by the registry's adapters (B1.25, B1.26); return the fault, if any.

        A blocking filter gets them on a thread: a fault of its ends the connection then.
        """
        made, error = attempt(self, "_both_sockets")
        if error is None and self.data_filter is not None and self.strand is not None:
            args = (*made, self.connection, self.context)
            self.strand.tell(self.data_filter, "SetSockets", args, self._sockets_failed)
        elif error is None and self.data_filter is not None:
            token = STARTS_TASKS.set(self.host)
            try:
                _, error = attempt(self.data_filter, "SetSockets", *made, self.connection, self.context)
            finally:
                STARTS_TASKS.reset(token)
        return error

    def _both_sockets(self) -> tuple[IFWXSocket, IFWXSocket | None]:
        registry = self.connection.engine.registry
        key = (self.connection, self.data_filter)
        internal: IFWXSocket = registry.getMultiAdapter(key, IFWXSocket, name="internal")
        external: IFWXSocket | None = None
        if not self.emulates:
            external = registry.getMultiAdapter(key, IFWXSocket, name="external")
        tracer = self.connection.engine.tracer
        if tracer is not None:
            return tracer.sockets(self.connection, self, (internal, external))
        return internal, external

    def terminate(self) -> None:
        """Have the filter's sockets refuse every call: the connection is being ended, or what it is here for."""
        self.over = True
        for socket in self.sockets.values():
            socket.terminate()

    async def holds_up(self) -> bool:
        """Tell whether the data filter says that it has data left (B1.38); one that fails has none."""
        if not IFWXSlowDataFilter.providedBy(self.data_filter):
            return False
        if self.strand is not None:
            result, error = await self.strand.ask(self.data_filter, "OkToTerminate")
        else:
            result, error = attempt(self.data_filter, "OkToTerminate")
        if error is not None:
            self.host.failed("OkToTerminate", error)
        return error is None and result is not None and int(result) == int(S_FALSE)

    def tell_at_rest(self, callback: Callable[[], None]) -> bool:
        """Have *callback* called when calls of other threads have arrived at the filter's sockets; ``False``: none is
        on its way. Ask again then: there are two sockets.
        """
        return any(socket.tell_at_rest(callback) for socket in self.sockets.values())

    def detach(self) -> Pending[Outcome] | None:
        """Tell the filter that the connection has ended (B1.29, B1.30).

        Returns what settles when a blocking filter knows, which it does behind its completions.
        """
        data_filter, self.data_filter = self.data_filter, None
        self.sockets = {}
        self.internal = self.external = None
        self.context = None
        if data_filter is not None and self.strand is not None:
            return self.host.detach_by(self.strand, data_filter)
        if data_filter is not None:
            self.host.call(data_filter, "Detach")
        return None

    def completion_failed(self, error: BaseException) -> None:
        """A completion object of the filter raised or returned a failure (asked for by its operations)."""
        if self.over or self.connection.terminating:
            logger.debug("filter %r failed while its connection was being ended: %s", self.host.name, error)
            return
        self.connection.filter_failed(self.host, "CompleteAsyncIO", error)

    def _sockets_failed(self, error: BaseException) -> None:
        """``SetSockets`` failed on a thread; it may have met the end of its connection, which is no fault."""
        if self.connection.terminating and tells_of_the_end(error):
            logger.debug("filter %r was interrupted by the end of its connection: %s", self.host.name, error)
        else:
            self.failed("SetSockets", error)

    def failed(self, method: str, error: BaseException) -> None:
        """A task of the data filter failed in *method*; when the connection has ended, it is reported and no more."""
        if self.over or self.connection.terminating:
            self.host.failed(method, error)
        else:
            self.connection.filter_failed(self.host, method, error)


def chain_order(member: Member) -> tuple[int, bool]:
    """The key to sort members by: from client to server by class, and what emulates the server at the very end."""
    return member.priority, member.emulates


def link(members: list[Member], client: Neighbour, server: Neighbour | None, queue: Any) -> list[Any]:
    """Join *members* (in chain order) to each other and to the network; return the junctions' ends.

    There is no *server* behind one that emulates it.
    """
    ends: list[Any] = []
    inner = client
    joint = datagram_junction if client.datagrams else junction
    for member, following in pairwise(members):
        towards_client, towards_server = joint(queue)
        member.internal, member.external = inner, towards_client
        following.internal = inner = towards_server
        ends += (towards_client, towards_server)
    members[-1].internal, members[-1].external = inner, server
    return ends
