"""Asking RADIUS servers: real datagrams on loopback, a server of our own that says what the test wants."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from fwx.directories import radius_packet as packet
from fwx.directories.radius import RadiusSettings, RadiusUsers
from fwx.impl.authentication import WRONG, Checked, IPasswordAuthenticator
from fwx.interfaces import SocketAddress
from tests.fwx.directories.bench import Bench
from tests.fwx.directories.test_radius_packet import SECRET, answer


class Server:
    """Reads requests when the test says so, and sends back any bytes."""

    def __init__(self, family: int = socket.AF_INET, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.settimeout(10)
        self.address = SocketAddress(*self.socket.getsockname()[:2])
        self.client: Any = None
        self.request = b""

    def read(self) -> bytes:
        self.request, self.client = self.socket.recvfrom(5000)
        return self.request

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.client)

    def answer(self, code: int = packet.ACCESS_ACCEPT, attributes: bytes = b"", **options: Any) -> bytes:
        """Make the answer to the request that was read last."""
        return answer(code, attributes, **{"identifier": self.request[1], "asked": self.request[4:20]} | options)


class Names:
    """A resolver that knows the names it is given."""

    def __init__(self, known: dict[str, SocketAddress]) -> None:
        self.known = known

    def resolve(self, name: SocketAddress, done: Callable[[list[SocketAddress], int], None]) -> Callable[[], None]:
        found = self.known.get(name.host)
        asyncio.get_running_loop().call_soon(done, [found] if found else [], 0 if found else 11001)
        return lambda: None


class Place:
    """The authenticator under test; its timers go off when the test says so, its datagrams travel by themselves."""

    def __init__(self, *servers: SocketAddress, **settings: Any) -> None:
        self.bench = Bench()
        self.done = asyncio.Event()
        self.result: Checked | None = None
        made = RadiusSettings(servers, SECRET, b"fw1")._replace(**settings)
        resolver: Any = Names({"radius.example.org": servers[0]})
        self.users = RadiusUsers(made, self.bench.context, asyncio.get_running_loop(), resolver)

    def check(self, name: str = "bob", password: bytes = b"secret") -> Callable[[], None]:
        return self.users.check(name, password, self._checked)

    def _checked(self, result: Checked) -> None:
        assert self.result is None
        self.result = result
        self.done.set()

    async def wait(self) -> Checked:
        """Wait for the result; what is posted runs meanwhile."""
        async with asyncio.timeout(10):
            while not self.done.is_set():
                self.bench.run()
                await asyncio.sleep(0)
        assert self.result is not None
        assert not any(timer.is_on for timer in self.bench.timers)
        return self.result


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.socket.close()


@pytest.fixture
def second() -> Iterator[Server]:
    made = Server()
    yield made
    made.socket.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_all(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(coroutine)

    return run_all


def attributes_of(request: bytes) -> dict[int, bytes]:
    found, body = {}, request[20:]
    while body:
        found[body[0]] = body[2 : body[1]]
        body = body[body[1] :]
    return found


def test_a_request_and_what_an_accepted_user_is(run: Any, server: Server) -> None:
    """B10.2: the name space; the server's spelling of the name; the groups, of which a value may have several."""

    async def scene() -> None:
        place = Place(server.address)
        assert IPasswordAuthenticator.providedBy(place.users)
        place.check("BOB")
        asked = attributes_of(server.read())
        assert asked[packet.USER_NAME] == b"BOB"
        assert asked[packet.USER_PASSWORD] == packet.hide_password(b"secret", SECRET, server.request[4:20])
        assert (asked[packet.NAS_IDENTIFIER], asked[packet.NAS_PORT_TYPE]) == (b"fw1", bytes((0, 0, 0, 5)))
        server.send(server.answer(attributes=b"\1\5bob\x0b\7staff\x0b\x0bnight; x;\x19\7other"))
        user = (await place.wait()).user
        assert user is not None
        assert (user.Username, user.Namespace, user.UserGroups) == (r"corp\bob", "RADIUS", "staff;night;x")

    run(scene())


def test_chap(run: Any, server: Server) -> None:
    """The response is that of RFC 1994 to the challenge in the request; the password itself is not in it."""

    async def scene() -> None:
        place = Place(server.address, method="chap", group_attribute=packet.CLASS)
        place.check()
        asked = attributes_of(server.read())
        proof, challenge = asked[packet.CHAP_PASSWORD], asked[packet.CHAP_CHALLENGE]
        assert proof[1:] == hashlib.md5(proof[:1] + b"secret" + challenge, usedforsecurity=False).digest()
        assert packet.USER_PASSWORD not in asked
        server.send(server.answer(attributes=b"\x19\7staff\x0b\7other"))
        user = (await place.wait()).user
        assert user is not None
        assert user.UserGroups == "staff"

    run(scene())


@pytest.mark.parametrize("code", [packet.ACCESS_REJECT, packet.ACCESS_CHALLENGE])
def test_refused(run: Any, server: Server, code: int) -> None:
    async def scene() -> None:
        place = Place(server.address)
        place.check()
        server.read()
        server.send(server.answer(code))
        assert await place.wait() == WRONG

    run(scene())


def test_what_is_not_to_be_believed_is_dropped(run: Any, server: Server) -> None:
    """Garbage, forgeries and answers to others change nothing; the one that is genuine still counts, and a second one
    finds nobody."""

    async def scene() -> None:
        place = Place(server.address)
        place.check()
        server.read()
        for datagram in (
            b"",
            b"garbage",
            server.answer(secret=b"another"),
            server.answer(asked=bytes(16)),
            server.answer(identifier=server.request[1] ^ 1),
            server.answer(signs=False),
        ):
            server.send(datagram)
        server.send(server.answer(packet.ACCESS_REJECT))
        server.send(server.answer(packet.ACCESS_ACCEPT))
        assert await place.wait() == WRONG

    run(scene())


def test_another_host_is_not_heard(run: Any, server: Server, second: Server) -> None:
    """The socket is connected: an answer from elsewhere does not arrive, though it be right in all else."""

    async def scene() -> None:
        place = Place(server.address, tries=1)
        place.check()
        server.read()
        second.socket.sendto(server.answer(), server.client)
        server.send(server.answer(packet.ACCESS_REJECT))
        assert await place.wait() == WRONG

    run(scene())


def test_unsigned_answers_where_the_file_takes_them(run: Any, server: Server) -> None:
    async def scene() -> None:
        place = Place(server.address, needs_signature=False)
        place.check()
        server.read()
        server.send(server.answer(signs=False))
        assert (await place.wait()).user is not None

    run(scene())


async def dropped(place: Place, count: int) -> None:
    """Wait until *count* datagrams have come and gone, by asking for the reason that is told in the end."""
    async with asyncio.timeout(10):
        while True:
            exchanges = [each for each in map(_owner, place.bench.timers) if each is not None]
            if any(exchange._dropped >= count for exchange in exchanges):
                return
            await asyncio.sleep(0)


def _owner(timer: Any) -> Any:
    return getattr(timer.function, "__self__", None) if timer.is_on else None


def test_silence(run: Any, server: Server, second: Server) -> None:
    """The same bytes are sent again, then the next server is asked, then nobody is let in; each has an alert."""

    async def scene() -> None:
        place = Place(server.address, second.address)
        place.check()
        first = server.read()
        for _ in range(2):
            place.bench.pass_time(0.75)
            assert server.read() == first
        server.send(server.answer(secret=b"another"))
        server.send(server.answer(signs=False))
        await dropped(place, 2)
        place.bench.pass_time(0.75)
        assert second.read()[4:20] != first[4:20], "each server is asked with an authenticator of its own"
        for _ in range(3):
            place.bench.pass_time(0.75)
        result = await place.wait()
        assert (result.user, result.counts) == (None, False)
        one = f"{server.address}: 2 answers were dropped, the last one because it has no Message-Authenticator"
        other = f"{second.address}: it did not answer; it may not know this client, or have another secret for it"
        assert result.reason == f"directory 'corp': {one}; {other}"
        assert place.bench.warnings == [
            (f"corp {server.address}", f"directory 'corp': {one}"),
            (f"corp {second.address}", f"directory 'corp': {other}"),
        ]

    run(scene())


def test_the_next_server_is_asked_at_once_where_nobody_listens(run: Any, server: Server, second: Server) -> None:
    """And first the next time."""
    gone = second.address
    second.socket.close()

    async def scene() -> None:
        place = Place(gone, server.address)
        for _ in range(2):
            place.check()
            async with asyncio.timeout(10):
                server.socket.setblocking(False)
                while True:
                    place.bench.run()
                    try:
                        server.read()
                        break
                    except BlockingIOError:
                        await asyncio.sleep(0)
            server.send(server.answer())
            assert (await place.wait()).user is not None
            place.result = None
            place.done.clear()
        assert len(place.bench.warnings) == 1
        assert "it cannot be reached: Connection refused" in place.bench.warnings[0][1]

    run(scene())


def test_a_server_with_a_name(run: Any, server: Server) -> None:
    async def scene() -> None:
        place = Place(server.address)
        place.users.settings = place.users.settings._replace(servers=(SocketAddress("radius.example.org", 1812),))
        place.check()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        server.read()
        server.send(server.answer())
        assert (await place.wait()).user is not None

    run(scene())


def test_a_name_that_nobody_knows(run: Any, server: Server) -> None:
    async def scene() -> None:
        place = Place(server.address)
        place.users.settings = place.users.settings._replace(servers=(SocketAddress("nowhere.example.org", 1812),))
        place.check()
        reason = (await place.wait()).reason
        assert reason == "directory 'corp': nowhere.example.org:1812: its name cannot be looked up (error 11001)"

    run(scene())


def test_called_off(run: Any, server: Server) -> None:
    """Nothing is told, sent or kept any more; the leak check looks for the descriptor."""

    async def scene() -> None:
        place = Place(server.address)
        cancel = place.check()
        server.read()
        cancel()
        cancel()
        server.send(server.answer())
        place.bench.pass_time(10)
        assert place.result is None
        assert not any(timer.is_on for timer in place.bench.timers)

    run(scene())


@pytest.mark.parametrize(
    ("name", "password"), [("x" * 254, b"x"), ("é" * 127, b"x"), ("bob", b"x" * 129), ("bob", b"a\0"), ("bob", b"a\0b")]
)
def test_what_no_request_can_carry_is_wrong(run: Any, server: Server, name: str, password: bytes) -> None:
    async def scene() -> None:
        place = Place(server.address)
        place.check(name, password)
        assert await place.wait() == WRONG
        server.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.read()

    run(scene())


@pytest.mark.parametrize("attributes", [b"\1\4\xff\xff", b"\1\2", b"\1\5a\0b", b"\x0b\4\xff\xff"])
def test_a_name_or_a_group_that_is_no_text(run: Any, server: Server, attributes: bytes) -> None:
    """Nobody is let in by a name that rules and the log could not have."""

    async def scene() -> None:
        place = Place(server.address)
        place.check()
        server.read()
        server.send(server.answer(attributes=attributes))
        result = await place.wait()
        assert result == Checked(None, "directory 'corp': the server sent a name or a group that is no text")

    run(scene())


def test_ipv6(run: Any) -> None:
    six = Server(socket.AF_INET6, "::1")

    async def scene() -> None:
        place = Place(six.address)
        place.check()
        six.read()
        six.send(six.answer())
        assert (await place.wait()).user is not None

    try:
        run(scene())
    finally:
        six.socket.close()
