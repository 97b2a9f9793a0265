"""Filters that fail, and filters that misbehave: what becomes of their connections, and what is said about it."""

from __future__ import annotations

import hashlib
import random
import re
import socket
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import (
    E_UNEXPECTED,
    FWX_E_FILTER_NOT_REGISTERED,
    HRESULT_FROM_WIN32,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAECONNRESET,
)

LOOPS = ("uvloop", "asyncio")

# The client that a filter fails for, and how.
FAULTY = """
BAD = "{client}"

def fail():
    {fault}
"""
# The fault, and how it reads in the log.
FAULTS = {
    "raises": ('raise ValueError("boom")', "ValueError: boom"),
    "raises E_NOTIMPL": ('raise sdk.COMError(sdk.E_NOTIMPL, "boom")', "COMError: .*E_NOTIMPL.*boom"),
    "exits": ('raise SystemExit("boom")', "SystemExit: boom"),
    "returns E_FAIL": ("return sdk.E_FAIL", "COMError: .*E_FAIL.*returned by {method}"),
    "returns a number": ("return 0x80004005", "COMError: .*E_FAIL.*returned by {method}"),
}
METHODS = {
    "AttachToSession": """
class Filter(Filter):
    def AttachToSession(self, piSession, pFilterHookEvents):
        if piSession.GetClientAddress().host == BAD:
            return fail()
        return super().AttachToSession(piSession, pFilterHookEvents)
""",
    "FirewallEventHandler": """
class Session(Session):
    def FirewallEventHandler(self, pProxyEvent):
        super().FirewallEventHandler(pProxyEvent)
        if pProxyEvent.Parameters.Connect.piConnection.GetSession().GetClientAddress().host == BAD:
            return fail()
""",
    "SetSockets": """
class Data(Data):
    def SetSockets(self, *args):
        super().SetSockets(*args)
        if self.connection.GetSession().GetClientAddress().host == BAD:
            return fail()
""",
    "CompleteAsyncIO": """
class Data(Data):
    def CompleteAsyncIO(self, *args):
        bad = self.connection.GetSession().GetClientAddress().host == BAD
        super().CompleteAsyncIO(*args)
        if bad:
            return fail()
""",
    "Detach": """
class Data(Data):
    def __init__(self, *args):
        super().__init__(*args)
        self.client = self.connection.GetSession().GetClientAddress().host

    def Detach(self):
        super().Detach()
        if self.client == BAD:
            return fail()
""",
}


def spoken(text: str) -> int:
    return text.count("Traceback (most recent call last)")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_method_fails(serve: Any, origin: Any, client: Any, fault: str) -> None:
    """Five filters on every connection, each failing in another method for one client.

    That client's connection ends, every time; others live; the traceback is shown once.
    """
    code, words = FAULTS[fault]
    clients = {method: f"127.0.0.{number}" for number, method in enumerate(METHODS, 60)}
    firewall = serve(
        filters={name: FAULTY.format(client=clients[name], fault=code) + METHODS[name] for name in METHODS}
    )
    firewall.traceback_expected = True
    proxy, server = firewall.address(), origin()
    good = client.socks(proxy, server.address)
    for method, bad in clients.items():
        for _ in range(3):
            if method in ("AttachToSession", "FirewallEventHandler"):
                assert client.socks_code(proxy, server.address, bad) == 1
            else:
                _talk_until_the_end(client, client.socks(proxy, server.address, bad), whole=method == "Detach")
    good.sendall(b"still there")
    assert client.exactly(good, 11) == b"still there"
    good.close()
    assert client.socks_code(proxy, server.address) == 0
    firewall.wait_rows(17)

    said = {method: f"filter '{method}' failed in {method}: {words.format(method=method)}" for method in METHODS}
    for method, bad in clients.items():
        rows = firewall.rows(SourceIP=bad)
        assert len(rows) == 3
        for row in rows:
            if method == "Detach":
                assert (row["resultcode"], row["reason"]) == (0, "")
            else:
                assert row["resultcode"] == int(E_UNEXPECTED)
                assert re.search(said[method], row["reason"])
    assert {row["resultcode"] for row in firewall.rows(SourceIP="127.0.0.1")} == {0}
    firewall.wait_base_line()
    firewall.stop()
    shown = 1 if fault.startswith(("raises", "exits")) else 0
    errors = firewall.stderr()
    assert spoken(errors) == shown * len(METHODS)
    for method in METHODS:
        assert len(re.findall(f"ERROR: {said[method]}", errors)) == 3
        alerts = [alert for alert in firewall.alerts() if alert["key"] == f"{method}/{method}"]
        assert sum(alert["count"] for alert in alerts) == 3
        assert {alert["event"] for alert in alerts} == {"Filter fault"}
        assert sum(spoken(alert["traceback"]) for alert in alerts) == shown


def _talk_until_the_end(client: Any, opened: socket.socket, *, whole: bool) -> None:
    """Echo to the end; unless *whole*, the connection is reset before that."""
    try:
        opened.sendall(b"hello")
        opened.shutdown(socket.SHUT_WR)
        assert client.to_end(opened) == b"hello"
        came_to_an_end = True
    except OSError:  # reset, or not connected any more
        came_to_an_end = False
    assert came_to_an_end == whole


INITS = {
    "raises": "class Filter(Filter):\n def FilterInit(self, firewall): raise OSError('no such list')",
    "fails": "class Filter(Filter):\n def FilterInit(self, firewall): return sdk.E_FAIL",
    "empty": "class Filter(Filter):\n def FilterInit(self, firewall): return None",
    "unmade": "class Filter(Filter):\n def __init__(self): raise OSError('no such list')",
}
NAMED = """
[[filter]]
name = "{name}"
use = "filter_{name}:Filter"
on_error = "{on_error}"

[[protocol]]
name = "{name}"
ports = [{{ transport = "tcp", direction = "outbound", first = {port} }}]

[[rule]]
name = "{name}"
action = "allow"
protocols = ["{name}"]
from = ["localhost"]
to = ["localhost"]
filters = ["{name}"]
"""
REST = """
[[rule]]
name = "rest"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
"""


@pytest.mark.parametrize("on_error", ["close", "open"])
def test_filter_init_fails(serve: Any, origin: Any, client: Any, on_error: str) -> None:
    """What names the filter is denied unless it may be left out; the rest passes."""
    servers = {name: origin() for name in INITS}
    tables = [NAMED.format(name=name, on_error=on_error, port=server.port) for name, server in servers.items()]
    firewall = serve("".join(tables) + REST, filters=INITS)
    firewall.traceback_expected = True
    proxy, rest = firewall.address(), origin()
    opens = on_error == "open"
    for server in (*servers.values(), *servers.values()):
        assert client.socks_code(proxy, server.address) == (0 if opens else 1)
    assert client.socks_code(proxy, rest.address) == 0
    for name, rows in {name: firewall.wait_rows(2, rule=name) for name in INITS}.items():
        for row in rows:
            assert row["resultcode"] == (0 if opens else int(FWX_E_FILTER_NOT_REGISTERED))
            assert row["Action"] == (Action.Terminate if opens else Action.Denied)
            assert opens or f"filter '{name}' is failed: filter '{name}' failed in FilterInit" in row["reason"]
    assert firewall.wait_row(rule="rest")["resultcode"] == 0
    firewall.stop()
    assert [alert["key"] for alert in firewall.alerts()] == [f"{name}/FilterInit" for name in INITS]
    assert [spoken(alert["traceback"]) for alert in firewall.alerts()] == [1, 0, 0, 1]
    assert spoken(firewall.stderr()) == 2


@pytest.mark.parametrize("method", ["AttachToSession", "FirewallEventHandler"])
def test_on_error_open(serve: Any, origin: Any, client: Any, method: str) -> None:
    """A filter that may be left out and fails before data flows: the connection goes on without it."""
    server = origin()
    source = FAULTY.format(client="127.0.0.1", fault='raise ValueError("boom")') + METHODS[method]
    firewall = serve(NAMED.format(name="faulty", on_error="open", port=server.port), filters={"faulty": source})
    firewall.traceback_expected = True
    with client.socks(firewall.address(), server.address) as opened:
        opened.sendall(b"x")
        client.exactly(opened, 1)
    row = firewall.wait_row()
    assert (row["Action"], row["resultcode"], row["filters"]) == (Action.Terminate, 0, "")
    firewall.stop()
    assert f"filter 'faulty' failed in {method}: ValueError: boom" in firewall.stderr()


# What the filter does at the first data, and how the connection's record reads.
DEEDS = {
    "closes twice": (
        "for socket in (internal, external) * 2: socket.Close(False)",
        0,
        "",
    ),
    "resets twice": (
        "for socket in (internal, external) * 2: socket.Close(True)",
        0,
        "",
    ),
    "sends after close": (
        "external.Close(False); external.Send(buffer, None, None)",
        int(E_UNEXPECTED),
        "filter 'odd' failed in CompleteAsyncIO: COMError: .*WSAENOTSOCK",
    ),
    "receives after close": (
        "internal.Close(False); internal.Recv(None, self, None)",
        int(E_UNEXPECTED),
        "filter 'odd' failed in CompleteAsyncIO: COMError: .*WSAENOTSOCK",
    ),
    "sends after shutdown": (
        "external.Shutdown(False); external.Send(buffer, None, None)",
        int(E_UNEXPECTED),
        "filter 'odd' failed in CompleteAsyncIO: COMError: .*WSAESHUTDOWN",
    ),
    "closes one side": (
        "external.Close(False)",
        int(HRESULT_FROM_WIN32(WSAECONNABORTED)),
        "one side had ended and filters odd did not end the other",
    ),
    "kills": (
        "self.connection.Kill()",
        int(HRESULT_FROM_WIN32(WSAECONNABORTED)),
        "killed by a filter",
    ),
    "changes what it sends": (
        "external.Send(buffer, None, None); buffer.SetDataSize(1)",
        int(E_UNEXPECTED),
        "filter 'odd' failed in CompleteAsyncIO: COMError",
    ),
}  # fmt: skip
ODD = """
class Data(Data):
    def CompleteAsyncIO(self, ok, code, buffer, user_data, *rest):
        deed = DEEDS.get(self.connection.GetSession().GetClientAddress().host)
        if deed is None:
            super().CompleteAsyncIO(ok, code, buffer, user_data, *rest)
        elif ok and user_data == "to server":
            deed(self, self._internal, self._external, buffer)

"""
IMPATIENT = "import fwx.service; fwx.service.LINGER_SECONDS = 0.3\n"


def test_a_filter_misbehaves(serve: Any, origin: Any, client: Any) -> None:
    """Every misdeed, each for a client of its own, has a defined end and costs nobody else anything."""
    clients = {deed: f"127.0.0.{number}" for number, deed in enumerate(DEEDS, 60)}
    source = ODD
    for number, (code, *_) in enumerate(DEEDS.values()):
        source += f"def deed_{number}(self, internal, external, buffer):\n    {code}\n"
    places = ", ".join(f"{bad!r}: deed_{number}" for number, bad in enumerate(clients.values()))
    firewall = serve(filters={"odd": f"{source}\nDEEDS = {{{places}}}\n"}, prelude=IMPATIENT)
    firewall.traceback_expected = True
    proxy, server = firewall.address(), origin()
    good = client.socks(proxy, server.address)
    for bad in clients.values():
        client.socks(proxy, server.address, bad).sendall(b"hello")
    rows = firewall.wait_rows(len(DEEDS))
    for deed, (_, result, reason) in DEEDS.items():
        (row,) = (row for row in rows if row["SourceIP"] == clients[deed])
        assert row["resultcode"] == result, deed
        assert re.fullmatch(f"{reason}.*", row["reason"]), deed
        assert (row["Action"], row["filters"]) == (Action.Terminate, "odd"), deed
    good.sendall(b"still there")
    assert client.exactly(good, 11) == b"still there"
    good.close()
    firewall.wait_base_line()


DEAF = """
class Data(Data):
    def SetSockets(self, internal, external, connection, context):
        self.sockets = internal, external
"""
MUTE = """
class Data(Data):
    def CompleteAsyncIO(self, *args):
        pass
"""


@pytest.mark.parametrize("source", [DEAF, MUTE], ids=["receives nothing", "does nothing with it"])
def test_a_filter_never_completes(serve: Any, origin: Any, client: Any, eventually: Any, source: str) -> None:
    """It holds its own connection up, which the client's reset ends; the service is not held up by it when it stops."""
    firewall = serve(filters={"stuck": source}, prelude=IMPATIENT)
    server = origin()
    opened = client.socks(firewall.address(), server.address)
    opened.sendall(b"hello")
    client.reset(opened)
    row = firewall.wait_row()
    assert row["resultcode"] in {int(HRESULT_FROM_WIN32(code)) for code in (WSAECONNRESET, WSAECONNABORTED)}
    assert row["reason"] == "one side had ended and filters stuck did not end the other"
    firewall.wait_base_line()
    client.socks(firewall.address(), server.address).sendall(b"hello")
    firewall.tell()
    eventually(lambda: "fwx: stopping" in firewall.stderr(), "the first signal to be taken")
    firewall.stop()
    assert firewall.rows()[-1]["reason"] == "the service stopped"


@pytest.mark.parametrize("source", [DEAF, MUTE], ids=["receives nothing", "does nothing with it"])
@pytest.mark.parametrize("sent", [b"", b"hello"], ids=["no data", "data"])
def test_a_filter_never_completes_and_both_peers_close(
    serve: Any, origin: Any, client: Any, eventually: Any, source: str, sent: bytes
) -> None:
    """Both ends are gone for good: the connection must not stay for ever."""
    firewall = serve(filters={"stuck": source}, prelude=IMPATIENT + "fwx.service.Service.stop.__defaults__ = (0.1,)\n")
    with client.socks(firewall.address(), origin(lambda sock: None).address) as opened:
        opened.sendall(sent)
    eventually(lambda: firewall.rows(), "the record of the connection", 1)
    assert firewall.wait_row()["reason"] == "one side had ended and filters stuck did not end the other"
    firewall.wait_base_line()


KEEPER = """
class Data(Data):
    def __init__(self, *args):
        super().__init__(*args)
        self.kept = []

    def inspect(self, to_server, buffer):
        if not to_server:
            return buffer
        if buffer.GetBufferSizes()[1]:
            self.kept.append(buffer)
            return buffer
        data = b"".join(bytes(one.GetBufferAndSize()) for one in self.kept)
        return self.firewall.CreateConstBuffer(data, len(data))
"""


def test_a_filter_keeps_its_buffers(serve: Any, origin: Any, client: Any) -> None:
    """A kept buffer stays what it was: each connection's data arrives, and then arrives again."""
    firewall = serve(filters={"keeper": KEEPER})
    server = origin()
    for seed in range(5):
        data = random.Random(seed).randbytes(300_000)
        opened = client.socks(firewall.address(), server.address)
        parts: list[bytes] = []
        for start in range(0, len(data), 50_000):
            opened.sendall(data[start : start + 50_000])
            parts.append(client.exactly(opened, len(data[start : start + 50_000])))
        opened.shutdown(socket.SHUT_WR)
        parts.append(client.to_end(opened))
        assert hashlib.sha256(b"".join(parts)).digest() == hashlib.sha256(data * 2).digest()
        opened.close()
    firewall.wait_rows(5)
    firewall.wait_base_line()


CLINGING = """
OLD = []

class Data(Data):
    def SetSockets(self, internal, external, connection, context):
        if OLD:
            self.try_the_old_ones(*OLD)
        OLD[:] = internal, external, connection
        super().SetSockets(internal, external, connection, context)

    def try_the_old_ones(self, internal, external, connection):
        buffer = self.firewall.CreateConstBuffer(b"x", 1)
        for call in (
            lambda: internal.Send(buffer, None, None),
            lambda: external.Recv(None, self, None),
            lambda: external.Shutdown(False),
            lambda: connection.GetSession(),
            lambda: connection.SetBufferSize(1000),
        ):
            try:
                call()
            except sdk.COMError as error:
                assert error.hresult == sdk.FWX_E_TERMINATING, error
            else:
                raise AssertionError("a call on a connection that has ended went through")
        internal.Close(False)
"""


def test_a_filter_keeps_its_sockets(serve: Any, origin: Any, client: Any) -> None:
    """After Detach they refuse every call, and nothing of the connection is kept alive."""
    firewall = serve(filters={"clinging": CLINGING})
    server = origin()
    for number in range(1, 4):
        with client.socks(firewall.address(), server.address) as opened:
            opened.sendall(b"x")
            assert client.exactly(opened, 1) == b"x"
        assert firewall.wait_rows(number)[-1]["reason"] == ""
        firewall.wait_base_line()


THREADED = """
from concurrent.futures import ThreadPoolExecutor

class Data(Data):
    def SetSockets(self, *args):
        self.pool = ThreadPoolExecutor(1)
        self.complete = super().CompleteAsyncIO
        super().SetSockets(*args)

    def CompleteAsyncIO(self, *args):
        self.pool.submit(self.complete, *args)

    def ended(self):
        self.pool.shutdown(wait=False)
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_filter_posts_from_other_threads(serve: Any, origin: Any, client: Any, loop: str) -> None:
    firewall = serve(filters={"threaded": THREADED}, loop=loop)
    data = random.Random(8).randbytes(1_000_000)
    with client.socks(firewall.address(), origin().address) as opened:
        for start in range(0, len(data), 100_000):
            part = data[start : start + 100_000]
            opened.sendall(part)
            assert hashlib.sha256(client.exactly(opened, len(part))).digest() == hashlib.sha256(part).digest()
        opened.shutdown(socket.SHUT_WR)
        assert client.to_end(opened) == b""
    row = firewall.wait_row()
    assert (row["bytessent"], row["bytesrecvd"], row["reason"]) == (1_000_000, 1_000_000, "")
    firewall.wait_base_line()


REFUSER = """
class Session(Session):
    def FirewallEventHandler(self, pProxyEvent):
        super().FirewallEventHandler(pProxyEvent)
        pProxyEvent.Parameters.Connect.piConnection.Deny(0)
"""


def test_a_filter_denies(serve: Any, origin: Any, client: Any) -> None:
    firewall = serve(filters={"refuser": REFUSER, "other": ""})
    server = origin()
    assert client.socks_code(firewall.address(), server.address) == 5
    row = firewall.wait_row()
    assert (row["Action"], row["resultcode"]) == (Action.Denied, int(HRESULT_FROM_WIN32(WSAECONNREFUSED)))
    assert row["reason"] == "denied by filter 'refuser'"
    assert server.connections == 0
