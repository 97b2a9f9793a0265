"""Looking up names and addresses in a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from fwx.aio.wait import Wait
from fwx.impl.hostnames import IHostNames
from fwx.interfaces import HRESULT, COMError, Hostent


async def get_host_by_name(owner: Any, name: str) -> Hostent:
    """Look up *name* as ``GetHostByName`` of *owner* does, the firewall or a session, and wait for the answer.

    :raises COMError: as ``GetHostByName``; ``WSATRY_AGAIN`` only where no answer came before the deadline.
    """
    return await _answer(partial(_names_of(owner).look_up, name))


async def get_host_by_addr(owner: Any, address: IPv4Address | IPv6Address) -> Hostent:
    """Look up the name of *address*, as ``GetHostByAddr`` of *owner*. See :func:`get_host_by_name`."""
    return await _answer(partial(_names_of(owner).look_up_address, address))


def _names_of(owner: Any) -> Any:
    names: Any = IHostNames
    return names(owner)


async def _answer(ask: Callable[[Callable[[Hostent | None, HRESULT], None]], Callable[[], None]]) -> Hostent:
    wait: Wait[Hostent] = Wait(asyncio.get_running_loop())

    def done(found: Hostent | None, code: HRESULT) -> None:
        if found is not None:
            wait.succeed(found)
        else:
            wait.fail(COMError(code, "the look-up failed"))

    cancel = ask(done)
    try:
        return await wait
    finally:
        cancel()
