"""The way in of look-ups: a client of the proxy port that asks for an address or a name, and for no connection."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from fwx.entrance import outcome_of
from fwx.impl.clientlookup import ClientLookUp, ClientReverseLookUp, Found, FoundName
from fwx.impl.lookuprecord import record_of
from fwx.impl.transport import ERROR, HANGUP, PEER_CLOSED
from fwx.interfaces import Hostent, SocketAddress
from fwx.interfaces.enums import fwxSourceWSP
from fwx.interfaces.hresult import (
    FWX_E_IS_BUSY,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAECONNRESET,
    WSANO_DATA,
    WSANO_RECOVERY,
)
from fwx.proxy.request import connect_target, quoted

if TYPE_CHECKING:
    from fwx.entrance import Arrival, Entrance
    from fwx.impl.engine import Question
    from fwx.impl.policy import Verdict
    from fwx.impl.user import FWXAuthenticatedUser
    from fwx.proxy import ProxyHandshake


class ResolveEntry:
    """Answers RESOLVE and RESOLVE_PTR, Tor's extensions of SOCKS (socks-extensions section 2).

    Session, user and rules are those of the connection that asks. The rules say whether the client may have the name
    looked up, as for a filter's look-up on its behalf, and of the addresses that are found, which of them it may hear;
    filters see it (B2.25), and so many are under way for one client address at a time (B5.17). The connection ends with
    the reply; a client that goes away before that ends the look-up.
    """

    __slots__ = (
        "_arrival",
        "_cancel",
        "_client",
        "_entrance",
        "_handshake",
        "_over",
        "_question",
        "_reversed",
        "_session",
        "_started",
        "_verdict",
    )

    def __init__(
        self, entrance: Entrance, arrival: Arrival, handshake: ProxyHandshake, user: FWXAuthenticatedUser | None
    ) -> None:
        """*handshake* has come to its request, to resolve."""
        asked = handshake.request
        assert asked is not None
        self._entrance = entrance
        self._arrival = arrival
        self._client = arrival.client
        self._handshake = handshake
        self._reversed = asked.command == "resolve-ptr"
        literal = asked.target.address
        self._question: Question = literal if self._reversed and literal is not None else asked.target.host
        self._session = entrance.gateway.sessions.of(arrival.address, fwxSourceWSP, user)
        self._started = entrance.gateway.engine.clock()
        self._verdict: Verdict | None = None
        self._cancel: Callable[[], None] | None = None
        self._over = False

    def start(self) -> None:
        """Begin; the answer may be given at once."""
        self._session.looks_up += 1
        self._entrance.pending.add(self)
        self._client.watch(self._event)
        if self._over:
            return
        engine = self._entrance.gateway.engine
        verdict = self._verdict = self._judge(str(self._question))
        if not engine.accepting():
            self._fail(FWX_E_IS_BUSY, "the firewall log fails")
        elif not verdict.allowed:
            self._fail(verdict.hresult, verdict.reason)
        else:
            self._look_up(verdict)

    def close(self) -> None:
        """The service stops."""
        self._leave()
        self._client.close(False)

    def _look_up(self, verdict: Verdict) -> None:
        hosts = self._entrance.gateway.hosts_of(verdict)
        request = self._handshake.request
        assert request is not None
        if not isinstance(self._question, str):
            by_address = ClientReverseLookUp(self._session, hosts, self._question, self._found_name)
            self._cancel = by_address.cancel
            by_address.start()
        elif request.target.address is not None:
            self._answer(request.target)
        else:
            by_name = ClientLookUp(self._session, hosts, request.target, self._found)
            self._cancel = by_name.cancel
            by_name.start()

    # What was found.

    def _found(self, found: Found) -> None:
        if not found.addresses:
            self._fail(found.result, found.reason)
            return
        usable = [each for each in found.addresses if self._can_say(each)]
        if not usable:
            reason = f"{self._question} has no address that the client's protocol can say"
            self._fail(HRESULT_FROM_WIN32(WSANO_DATA), reason)
            return
        verdicts = [(each, self._judge(each.host)) for each in usable]
        for address, verdict in verdicts:
            if verdict.allowed:
                self._answer(address)
                return
        verdict = verdicts[0][1]
        self._fail(verdict.hresult, verdict.reason)

    def _found_name(self, found: FoundName) -> None:
        if not found.name:
            self._fail(found.result, found.reason)
            return
        try:
            # Whoever owns the address has written the name.
            name = connect_target(found.name, 1).with_port(0)
            if name.address is not None:
                raise ValueError(f"{quoted(found.name)} is an address")
        except ValueError as error:
            self._fail(HRESULT_FROM_WIN32(WSANO_RECOVERY), str(error))
            return
        self._answer(name)

    def _can_say(self, address: SocketAddress) -> bool:
        request = self._handshake.request
        assert request is not None
        return request.protocol == "SOCKS5" or isinstance(address.address, IPv4Address)

    def _judge(self, host: str) -> Verdict:
        session = self._session
        return self._entrance.gateway.engine.policy.judge_look_up(session.address.host, host, session.who)

    # The ends.

    def _event(self, mask: int) -> None:
        if mask & (ERROR | HANGUP | PEER_CLOSED) and not self._over:
            self._log(None, HRESULT_FROM_WIN32(WSAECONNRESET), "the client went away")
            self._leave()
            self._client.close(False)

    def _answer(self, answer: SocketAddress) -> None:
        self._log(answer, S_OK, "")
        self._leave()
        self._entrance.say_farewell(self._client, self._handshake.succeeded(answer.with_port(0)))

    def _fail(self, result: int, reason: str) -> None:
        self._log(None, result, reason)
        self._leave()
        self._entrance.say_farewell(self._client, self._handshake.refused(outcome_of(result)))

    def _leave(self) -> None:
        """The client's place, and the look-up, are over."""
        if self._over:
            return
        self._over = True
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()
        self._entrance.pending.discard(self)
        self._session.looks_up -= 1
        self._entrance.gateway.sessions.rest(self._session)
        self._entrance.release(self._arrival.address)

    def _log(self, answer: SocketAddress | None, result: int, reason: str) -> None:
        verdict, engine = self._verdict, self._entrance.gateway.engine
        if verdict is None or not verdict.log:
            return
        literal = None if answer is None else answer.address
        host = None if answer is None else Hostent(answer.host, (), () if literal is None else (literal,))
        seconds = engine.clock() - self._started
        write = partial(record_of, self._session, self._question, verdict, host, result, reason, seconds)
        engine.write_record(write(client=self._arrival.address, interface=self._entrance.name))
