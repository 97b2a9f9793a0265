"""Filters take the place of others, and go, while connections go on: hot reload and changed policy (B1.4, B1.39)."""

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
    use(engine, tuple(host if each is old else each for each in engine.filters))
    return _connections(engine, old) if old in engine.retired else 0


def use(engine: Engine, filters: tuple[FilterHost, ...]) -> None:
    """Give new connections *filters*, those that are new among them ready; on the loop thread.

    Each that is not among them any more goes on as :func:`exchange` says.
    """
    going = tuple(each for each in engine.filters if each not in filters and each.state == "ready")
    engine.filters = filters
    engine.retired = (*engine.retired, *going)
    let_go(engine)


def let_go(engine: Engine) -> None:
    """Shut down the retired filters that nothing needs any more; called when a connection or a session has ended."""
    for host in engine.retired:
        if not _is_needed(engine, host):
            proceed(_let_go(engine, host))


async def _let_go(engine: Engine, host: FilterHost) -> None:
    engine.retired = tuple(each for each in engine.retired if each is not host)
    successor = _successor(engine, host)
    for connection in engine.sessions.connections():
        if host in connection.filters:  # it has not seen it so far, and its successor may
            if successor is None:
                connection.forgo(host)
            else:
                connection.adopt(successor)
    detaching = [session.release(host) for session in engine.sessions]
    for each in detaching:
        if each is not None:
            await each
    host.stop()
    host.release()


def _successor(engine: Engine, host: FilterHost) -> FilterHost | None:
    return next((each for each in engine.filters if each.clsid == host.clsid), None)


def _connections(engine: Engine, host: FilterHost) -> int:
    return sum(connection.involves(host) for connection in engine.sessions.connections())


def _is_needed(engine: Engine, host: FilterHost) -> bool:
    """Tell whether a connection needs *host*: one that nothing succeeds is needed also by those that it is yet to see,
    as they go on with the filters that they began with; or whether it has announced something."""
    is_succeeded = _successor(engine, host) is not None
    for connection in engine.sessions.connections():
        if connection.involves(host) if is_succeeded else connection.may_meet(host):
            return True
    return any(session.secondary.has_any_of(host) for session in engine.sessions)
