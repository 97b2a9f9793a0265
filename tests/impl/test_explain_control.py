"""What ``fwx explain --connection`` says of each kind of connection."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from fwx.config import load
from fwx.control import ControlError
from fwx.explain_control import ExplainControl
from fwx.impl.gateway import Gateway
from fwx.impl.policy import Rule
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import SocketAddress, fwxSourceWSP
from tests.impl.door import Door
from tests.impl.inward import Handed, Inward
from tests.impl.parts import Watcher
from tests.impl.test_datagramconnection import Association

if TYPE_CHECKING:
    from fwx.impl.connectionbase import ConnectionBase
    from tests.impl.conftest import Rig

ANYWHERE = ("any", "localhost")


class Lines:
    """What would be sent."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []

    async def send(self, line: Mapping[str, Any]) -> None:
        self.sent.append(json.loads(json.dumps(line)))


def asked(rig: Rig, number: object) -> list[Mapping[str, Any]]:
    lines: Any = Lines()
    asyncio.run(
        ExplainControl(SimpleNamespace(configuration=load(None)), rig.engine).explain({"connection": number}, lines)
    )
    assert lines.sent[0] == {"done": {}}
    return list(lines.sent[1:])


def by(rig: Rig, *rules: Rule) -> None:
    rig.engine.policy = rig.policy(*rules)


def allow(name: str, **parts: Any) -> Rule:
    return Rule(name, "allow", ("any",), ANYWHERE, ANYWHERE, **parts)


def with_gateway(rig: Rig) -> None:
    """Have somebody who knows which filters see a connection."""
    Gateway(rig.engine, rig.sessions, lambda _: None)


def the_only(rig: Rig) -> ConnectionBase:
    (connection,) = rig.sessions.connections()
    return connection


def test_how_it_began_and_what_the_rules_say_now(rig: Rig) -> None:
    with_gateway(rig)
    opened = rig.open(Watcher("watcher", rig.journal))
    by(rig, allow("alice alone", users=("alice",)), allow("all of them", filters=("other",)))
    (told,) = asked(rig, opened.connection.id)
    assert told["began"]["filters"] == ["filter"]
    assert told["began"]["rule"] == "everything"
    assert told["began"]["announced"] is False
    assert [(rule["rule"], rule["element"]) for rule in told["rules"]] == [
        ("alice alone", "users"),
        ("all of them", None),
    ]
    assert (told["decision"]["rule"], told["decision"]["filters"]) == ("all of them", ["filter", "other"])


def test_the_user_and_the_address_of_a_name_count(rig: Rig) -> None:
    by(rig, allow("alice alone", users=("alice",)))
    rig.names.table["www.example"] = ["127.0.0.1"]
    door = Door(rig)
    door.open(SocketAddress("www.example", door.address.port), user=FWXAuthenticatedUser("alice"))
    door.accept()
    (told,) = asked(rig, the_only(rig).id)
    assert (told["asked"]["user"], told["asked"]["address"]) == ("alice", "127.0.0.1")
    assert told["decision"]["rule"] == "alice alone"
    door.gateway.close()
    door.listener.close()


def test_what_a_filter_has_announced_is_no_question_for_the_rules(rig: Rig) -> None:
    with_gateway(rig)
    opened = rig.open()
    opened.connection.is_secondary = True
    (told,) = asked(rig, opened.connection.id)
    assert told["began"]["announced"] is True
    assert "asked" not in told


def test_who_waits_and_who_has_come(rig: Rig) -> None:
    transport, client = rig.pair()
    inward = Inward(rig, Handed(transport))
    inward.listen(SocketAddress("127.0.0.1", 0))
    peer = inward.come()
    peer.send(b"hello")
    client.expect(b"hello")
    listening, accepted = sorted(rig.sessions.connections(), key=lambda each: each.id)
    (told,) = asked(rig, listening.id)
    assert "asked" not in told
    (told,) = asked(rig, accepted.id)
    bound = inward.connection.bound
    assert told["asked"]["source"] == str(SocketAddress.from_sockaddr(peer._sock.getsockname()))
    assert told["asked"]["destination"] == str(bound)
    assert told["decision"]["allowed"]


def test_each_destination_of_a_udp_connection(rig: Rig) -> None:
    with_gateway(rig)
    rig.names.table["www.example"] = ["127.0.0.1"]
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        literal = SocketAddress.from_sockaddr(server.getsockname())
        association = Association(rig)
        association.say(b"one", literal)
        association.say(b"two", SocketAddress("www.example", literal.port))
        first, second = asked(rig, association.connection.id)
        assert (first["asked"]["destination"], first["asked"]["transport"]) == (str(literal), "UDP")
        assert (second["asked"]["destination"], second["asked"]["address"]) == (
            f"www.example:{literal.port}",
            "127.0.0.1",
        )
        assert first["decision"]["allowed"]
        association.end()


@pytest.mark.parametrize("number", [7, None, "7", True])
def test_a_connection_that_is_not_there(rig: Rig, number: object) -> None:
    rig.session(source=fwxSourceWSP)
    with pytest.raises(ControlError, match="there is no live connection"):
        asked(rig, number)
