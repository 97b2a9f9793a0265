"""One filter takes the place of another while connections go on: hot reload (B1.4, B1.39)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.course import proceed

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.impl.filterhost import FilterHost


def exchange(engine: Engine, host: FilterHost) -> int:
    """Give new connections *host*, which is ready, in place of the filter of its CLSID; on the loop thread.

    The old one goes on with its connections, and with what it announced by its session filters; when the last of that
    has gone its session filters are detached and it is shut down. Returns how many connections it still has.

    :raises LookupError: there is no filter of the CLSID.
    """
    old = next((each for each in engine.filters if each.clsid == host.clsid), None)
    if old is None:
        raise LookupError(f"no filter has the CLSID {host.clsid}")
    engine.filters = tuple(host if each is old else each for each in engine.filters)
    if old.state != "ready":
        return 0
    engine.retired = (*engine.retired, old)
    let_go(engine)
    return _connections(engine, old)


def let_go(engine: Engine) -> None:
    """Shut down the retired filters that nothing needs any more; called when a connection or a session has ended."""
    for host in engine.retired:
        if not _connections(engine, host) and not any(each.secondary.has_any_of(host) for each in engine.sessions):
            proceed(_let_go(engine, host))


async def _let_go(engine: Engine, host: FilterHost) -> None:
    engine.retired = tuple(each for each in engine.retired if each is not host)
    successor = next(each for each in engine.filters if each.clsid == host.clsid)
    for connection in engine.sessions.connections():
        if host in connection.filters:  # it has not seen it so far, and its successor may
            connection.adopt(successor)
    detaching = [session.release(host) for session in engine.sessions]
    for each in detaching:
        if each is not None:
            await each
    host.stop()
    host.release()


def _connections(engine: Engine, host: FilterHost) -> int:
    return sum(connection.involves(host) for connection in engine.sessions.connections())
