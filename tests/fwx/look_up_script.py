"""Looks names up by the objects of a real service, on the machine's resolver; what came of it goes to standard output.

Run by test_names_dns.py in a mount namespace, where resolv.conf is the test's. The arguments are the event loop, one of
the scenarios below, and its questions.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import uvloop

from fwx import sdk
from fwx.config import load
from fwx.impl.logrecord import LogRecord
from fwx.interfaces import COMError, Hostent, SocketAddress, fwxSourceWSP
from fwx.service import Service

AGAIN = "HRESULT_FROM_WIN32(WSATRY_AGAIN)"


def text_of(host: Hostent) -> dict[str, Any]:
    return {"name": host.name, "aliases": host.aliases, "addresses": sorted(map(str, host.addresses))}


class Asker:
    """A firewall, a session, and ways to ask them."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.records: list[LogRecord] = []
        service.engine.write_record = self.records.append
        self.firewall: Any = service.firewall
        self.session: Any = service.sessions.of(SocketAddress("127.0.0.1"), fwxSourceWSP)

    def call(self, owner: Any, question: str) -> Any:
        """GetHostByName, or of an address GetHostByAddr: the answer, or the name of the failure."""
        try:
            if question[0].isdigit():
                address = ip_address(question)
                return text_of(owner.GetHostByAddr(address.packed, None, 2 if address.version == 4 else 23))
            return text_of(owner.GetHostByName(question))
        except COMError as error:
            return error.hresult.name

    async def poll(self, owner: Any, question: str) -> tuple[Any, Any]:
        """Ask until there is an answer; return the first result and the last."""
        first = last = self.call(owner, question)
        while last == AGAIN:
            await asyncio.sleep(0)
            last = self.call(owner, question)
        return first, last

    def told(self, owner: Any, question: str) -> asyncio.Future[Any]:
        names: Any = sdk.IHostNames(owner)
        future = asyncio.get_running_loop().create_future()

        def done(host: Hostent | None, result: Any) -> None:
            future.set_result(result.name if host is None else text_of(host))

        if question[0].isdigit():
            names.look_up_address(ip_address(question), done)
        else:
            names.look_up(question, done)
        return future

    def resolved(self, name: str) -> asyncio.Future[Any]:
        """Resolve as a connection does."""
        future = asyncio.get_running_loop().create_future()
        self.service.engine.resolver.resolve(
            SocketAddress(name, 80), lambda addresses, _: future.set_result(sorted(map(str, addresses)))
        )
        return future


async def answers(asker: Asker, *questions: str) -> Any:
    """Each question by polling the firewall, then by the session, which finds it known or looks it up again."""
    found = {}
    for question in questions:
        first, last = await asker.poll(asker.firewall, question)
        found[question] = {"first": first, "last": last, "session": await asker.told(asker.session, question)}
    return {"answers": found, "records": [(each.action.name, each.resultcode) for each in asker.records]}


async def failing(asker: Asker, *questions: str) -> Any:
    """Each question twice, one after the other."""
    return [[await asker.told(asker.firewall, question) for _ in range(2)] for question in questions]


async def many(asker: Asker, name: str, address: str) -> Any:
    """The same questions by everybody, at once and then again."""
    owners = [asker.firewall, asker.session] * 4
    waiting = [asker.told(owner, question) for owner in owners for question in (name, address)]
    waiting += [asker.resolved(name) for _ in range(4)]
    at_once = await asyncio.gather(*waiting)
    again = [asker.call(owner, question) for owner in owners for question in (name, address)]
    again += [await asker.resolved(name) for _ in range(4)]
    return {"at_once": at_once, "again": again}


async def silent(asker: Asker, name: str, other: str) -> Any:
    """Names that nobody answers for, while the loop counts its turns and serves somebody else."""
    first = asker.call(asker.firewall, name)
    waiting = asker.told(asker.session, name)
    blocked = asyncio.create_task(asyncio.to_thread(asker.call, asker.firewall, other))
    near, far = socket.socketpair()
    turns = 0
    began = time.monotonic()
    with near, far:
        _, writer = await asyncio.open_connection(sock=near)
        far_reader, far_writer = await asyncio.open_connection(sock=far)
        while not (waiting.done() and blocked.done()):
            writer.write(b"x")
            await far_reader.readexactly(1)
            turns += 1
        for each in (writer, far_writer):
            each.close()
            await each.wait_closed()
    seconds = time.monotonic() - began
    return {"first": first, "told": await waiting, "blocked": await blocked, "turns": turns, "seconds": seconds}


async def run(scenario: Callable[..., Any], arguments: list[str]) -> None:
    service = Service(load(None))
    try:
        print(json.dumps(await scenario(Asker(service), *arguments)))
    finally:
        await service.stop(0)


if __name__ == "__main__":
    loop_name, scenario, *rest = sys.argv[1:]
    factory = uvloop.new_event_loop if loop_name == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run({each.__name__: each for each in (answers, failing, many, silent)}[scenario], rest))
