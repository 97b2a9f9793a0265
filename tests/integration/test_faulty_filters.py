"""Filters that fail, and filters that misbehave: what becomes of their connections, and what is said about it.

The filter of a test misbehaves for the client 127.0.0.66 alone.
"""

from __future__ import annotations

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
BAD = "127.0.0.66"

JUDGE = """
BAD = "127.0.0.66"

def fail():
    {fault}
"""
# The fault, and how it reads in the log.
FAULTS = {
    "raises": ('raise ValueError("boom")', "ValueError: boom"),
    "raises E_NOTIMPL": ('raise sdk.COMError(sdk.E_NOTIMPL, "boom")', "COMError: .*E_NOTIMPL.*boom"),
    "exits": ('raise SystemExit("boom")', "SystemExit: boom"),
    "returns E_FAIL": ("return sdk.E_FAIL", "COMError: .*E_FAIL"),
    "returns a number": ("return 0x80004005", "COMError: .*E_FAIL"),
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
        super().CompleteAsyncIO(*args)
        if self.connection.GetSession().GetClientAddress().host == BAD:
            return fail()
""",
    "Detach": """
class Data(Data):
    def SetSockets(self, *args):
        super().SetSockets(*args)
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
@pytest.mark.parametrize("method", METHODS)
def test_a_method_fails(serve: Any, origin: Any, client: Any, method: str, fault: str) -> None:
    """The connection ends, every time; others live; the traceback is shown once."""
    code, words = FAULTS[fault]
    firewall = serve(filters={"faulty": JUDGE.format(fault=code) + METHODS[method]})
    firewall.traceback_expected = True
    proxy, server = firewall.address(), origin()
    good = client.socks(proxy, server.address)
    for _ in range(3):
        if method in ("AttachToSession", "FirewallEventHandler"):
            assert client.socks_code(proxy, server.address, BAD) == 1
        else:
            _talk_until_the_end(client, client.socks(proxy, server.address, BAD), whole=method == "Detach")
    good.sendall(b"still there")
    assert client.exactly(good, 11) == b"still there"
    good.close()
    assert client.socks_code(proxy, server.address) == 0

    said = rf"filter 'faulty' failed in {method}: {words}"
    rows = firewall.wait_rows(3, SourceIP=BAD)
    for row in rows:
        if method == "Detach":
            assert (row["resultcode"], row["reason"]) == (0, "")
        else:
            assert row["resultcode"] == int(E_UNEXPECTED)
            assert re.search(said, row["reason"])
    assert {row["resultcode"] for row in firewall.wait_rows(2, SourceIP="127.0.0.1")} == {0}
    firewall.wait_base_line()
    firewall.stop()
    errors = firewall.stderr()
    assert len(re.findall(rf"ERROR: {said}", errors)) == 3
    assert spoken(errors) == (1 if fault.startswith(("raises", "exits")) else 0)
    alerts = [alert for alert in firewall.alerts() if alert["event"] == "Filter fault"]
    assert sum(alert["count"] for alert in alerts) == 3
    assert {alert["key"] for alert in alerts} == {f"faulty/{method}"}
    assert sum(spoken(alert["traceback"]) for alert in alerts) == spoken(errors)


def _talk_until_the_end(client: Any, opened: socket.socket, *, whole: bool) -> None:
    """Echo to the end; unless *whole*, the connection is reset before that."""
    try:
        opened.sendall(b"hello")
        opened.shutdown(socket.SHUT_WR)
        assert client.to_end(opened) == b"hello"
        came_to_an_end = True
    except ConnectionError:
        came_to_an_end = False
    assert came_to_an_end == whole


INITS = {
    "raises": "class Filter(Filter):\n def FilterInit(self, firewall): raise OSError('no such list')",
    "fails": "class Filter(Filter):\n def FilterInit(self, firewall): return sdk.E_FAIL",
    "returns nothing": "class Filter(Filter):\n def FilterInit(self, firewall): return None",
    "is not made": "class Filter(Filter):\n def __init__(self): raise OSError('no such list')",
}
NAMED = """
[[filter]]
name = "faulty"
use = "filter_faulty:Filter"
on_error = "{on_error}"

[[protocol]]
name = "watched"
ports = [{{ transport = "tcp", direction = "outbound", first = {port} }}]

[[rule]]
name = "watched"
action = "allow"
protocols = ["watched"]
from = ["localhost"]
to = ["localhost"]
filters = ["faulty"]

[[rule]]
name = "rest"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
"""


@pytest.mark.parametrize("on_error", ["close", "open"])
@pytest.mark.parametrize("fault", INITS)
def test_filter_init_fails(serve: Any, origin: Any, client: Any, fault: str, on_error: str) -> None:
    """What names the filter is denied unless it may be left out; the rest passes."""
    watched, rest = origin(), origin()
    firewall = serve(NAMED.format(on_error=on_error, port=watched.port), filters={"faulty": INITS[fault]})
    firewall.traceback_expected = True
    proxy = firewall.address()
    opens = on_error == "open"
    for _ in range(2):
        assert client.socks_code(proxy, watched.address) == (0 if opens else 1)
        assert client.socks_code(proxy, rest.address) == 0
    rows = firewall.wait_rows(2, rule="watched")
    for row in rows:
        assert row["resultcode"] == (0 if opens else int(FWX_E_FILTER_NOT_REGISTERED))
        assert row["Action"] == (Action.Terminate if opens else Action.Denied)
        assert opens or "filter 'faulty' is failed: filter 'faulty' failed in FilterInit" in row["reason"]
    (alert,) = firewall.alerts()
    assert (alert["event"], alert["key"]) == ("Filter fault", "faulty/FilterInit")
    firewall.stop()
    assert firewall.stderr().count("filter 'faulty' failed in FilterInit") == 2  # the fault, and its alert
    assert spoken(firewall.stderr()) == (fault in ("raises", "is not made"))


@pytest.mark.parametrize("method", ["AttachToSession", "FirewallEventHandler"])
def test_on_error_open(serve: Any, origin: Any, client: Any, method: str) -> None:
    """A filter that may be left out and fails before data flows: the connection goes on without it."""
    server = origin()
    source = JUDGE.format(fault='raise ValueError("boom")') + METHODS[method].replace("BAD", '"127.0.0.1"')
    firewall = serve(NAMED.format(on_error="open", port=server.port), filters={"faulty": source})
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
    def inspect(self, to_server, buffer):
        if to_server and self.connection.GetSession().GetClientAddress().host == "127.0.0.66":
            self.misbehave(self._internal, self._external, buffer)
        return buffer

    def CompleteAsyncIO(self, ok, code, buffer, user_data, *rest):
        if self.connection.GetSession().GetClientAddress().host != "127.0.0.66":
            return super().CompleteAsyncIO(ok, code, buffer, user_data, *rest)
        if ok and user_data == "to server":
            self.misbehave(self._internal, self._external, buffer)

    def misbehave(self, internal, external, buffer):
        {deed}
"""
IMPATIENT = "import fwx.service; fwx.service.LINGER_SECONDS = 0.3\n"


@pytest.mark.parametrize("deed", DEEDS)
def test_a_filter_misbehaves(serve: Any, origin: Any, client: Any, deed: str) -> None:
    """Every misdeed has a defined end, and costs nobody else anything."""
    code, result, reason = DEEDS[deed]
    firewall = serve(filters={"odd": ODD.format(deed=code)}, prelude=IMPATIENT)
    firewall.traceback_expected = True
    proxy, server = firewall.address(), origin()
    good = client.socks(proxy, server.address)
    bad = client.socks(proxy, server.address, BAD)
    bad.sendall(b"hello")
    row = firewall.wait_row(SourceIP=BAD)
    assert row["resultcode"] == result, row["reason"]
    assert re.fullmatch(f"{reason}.*", row["reason"])
    assert (row["Action"], row["filters"]) == (Action.Terminate, "odd")
    good.sendall(b"still there")
    assert client.exactly(good, 11) == b"still there"
    good.close()
    bad.close()
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
def test_a_filter_never_completes(serve: Any, origin: Any, client: Any, source: str) -> None:
    """It holds its own connection up, which the client's reset ends; the service is not held up by it when it stops."""
    firewall = serve(filters={"stuck": source}, prelude=IMPATIENT + "fwx.service.DRAIN_SECONDS = 0.3\n")
    server = origin()
    opened = client.socks(firewall.address(), server.address)
    opened.sendall(b"hello")
    client.reset(opened)
    row = firewall.wait_row()
    assert row["resultcode"] in {int(HRESULT_FROM_WIN32(code)) for code in (WSAECONNRESET, WSAECONNABORTED)}
    assert row["reason"] == "one side had ended and filters stuck did not end the other"
    firewall.wait_base_line()
    client.socks(firewall.address(), server.address).sendall(b"hello")
    firewall.stop()
    assert firewall.rows()[-1]["reason"] == "the service stopped"


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
        assert (b"".join(parts) == data * 2) is True
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
            assert (client.exactly(opened, len(part)) == part) is True
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
