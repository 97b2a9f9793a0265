"""Starting and stopping: root given up, files, signals, what is refused at the start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fwx.interfaces.hresult import FWX_E_TERMINATING

LOOPS = ("uvloop", "asyncio")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which the service then gives up")


@as_root
@pytest.mark.parametrize(("user", "account"), [("", "nobody"), ("daemon", "daemon")])
def test_root_is_given_up(serve: Any, origin: Any, client: Any, user: str, account: str) -> None:
    """No user, group or capability of root is left, and the log is the account's alone."""
    ids = [subprocess.check_output(["id", option, account], text=True).strip() for option in ("-u", "-g")]
    firewall = serve(f'[service]\nuser = "{user}"\n' if user else "")
    assert firewall.status("Uid") == ids[:1] * 4
    assert firewall.status("Gid") == ids[1:] * 4
    assert set(firewall.status("Groups")) <= set(ids[1:])
    assert firewall.status("CapEff") == firewall.status("CapPrm") == ["0" * 16]
    with client.socks(firewall.address(), origin().address) as opened:
        opened.sendall(b"x")
        client.exactly(opened, 1)
    firewall.wait_row()
    modes = {path.name: (path.stat().st_mode & 0o777, str(path.stat().st_uid)) for path in firewall.state.iterdir()}
    assert modes.pop("firewall.db") == (0o600, ids[0])
    assert modes.pop("history") == (0o700, ids[0])
    assert {mode for mode, _ in modes.values()} <= {0o600}
    assert firewall.state.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("loop", LOOPS)
def test_a_folder_that_only_root_reaches(serve: Any, origin: Any, client: Any, tmp_path: Path, loop: str) -> None:
    """The log works all the same, across restarts; what cannot be removed without root stays beside it."""
    server = origin()
    for number in (1, 2):
        firewall = serve(folder=tmp_path, loop=loop)
        assert client.socks_code(firewall.address(), ("localhost", server.port)) == 0
        firewall.wait_rows(number)
        if os.geteuid() == 0:
            firewall.leaves |= {"firewall.db-wal", "firewall.db-shm"}
        firewall.stop()
    assert [row["DestinationName"] for row in firewall.rows()] == ["localhost"] * 2


def test_killed_and_started_again(serve: Any, origin: Any, client: Any) -> None:
    """What was in the log stays, and the log goes on."""
    server, folder = origin(), serve.make_folder()
    firewall = serve(folder=folder)
    assert client.socks_code(firewall.address(), server.address) == 0
    firewall.wait_row()
    firewall.tell(signal.SIGKILL)
    firewall.process.wait(10)
    again = serve(folder=folder)
    assert client.socks_code(again.address(), server.address) == 0
    again.wait_rows(2)


@pytest.mark.parametrize(("filters", "loop"), [({}, "uvloop"), ({"one": ""}, "asyncio")], ids=["pump", "filter"])
def test_drain(serve: Any, origin: Any, client: Any, eventually: Any, filters: dict[str, str], loop: str) -> None:
    """SIGTERM: nobody new is let in, the connections go on to their end, and the service ends with the last one."""
    firewall = serve(filters=filters, loop=loop)
    server, proxy = origin(), firewall.address()
    opened = [client.socks(proxy, server.address) for _ in range(3)]
    waiting = client.connect(proxy)
    firewall.tell()
    assert client.to_end(waiting) == b""
    eventually(lambda: "waiting up to 10 s for 3 connections" in firewall.stderr(), "the drain to begin")
    with pytest.raises(ConnectionRefusedError):
        client.connect(proxy)
    for sock in opened:
        sock.sendall(b"x" * 100_000)
        assert client.exactly(sock, 100_000)
        sock.shutdown(socket.SHUT_WR)
        assert client.to_end(sock) == b""
        sock.close()
    firewall.wait_stopped(seconds=5)
    rows = firewall.rows()
    assert [row["resultcode"] for row in rows if row["bytessent"] == 100_000] == [0] * 3
    (left,) = (row for row in rows if row["bytessent"] != 100_000)
    assert left["reason"] == "the service is stopping"


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["second signal", "time is up"])
def test_an_end_without_mercy(serve: Any, origin: Any, client: Any, eventually: Any, how: str, loop: str) -> None:
    """In the middle of transfers, look-ups and handshakes: everything is ended, logged and given back."""
    slow = (
        "import fwx.service, socket, threading\n"
        "real = socket.getaddrinfo\n"
        "def look_up(host, *args, **options):\n"
        "    return threading.Event().wait(60) if host == 'slow.test' else real(host, *args, **options)\n"
        "socket.getaddrinfo = look_up\n"
        f"fwx.service.Service.stop.__defaults__ = ({30 if how == 'second signal' else 0.3},)\n"
    )
    firewall = serve(filters={"one": ""}, prelude=slow, loop=loop)

    def pour(sock: socket.socket) -> None:
        while True:
            sock.sendall(bytes(100_000))

    proxy, server = firewall.address(), origin(pour)
    client.connect(proxy)
    client.connect(proxy).sendall(b"\x05\x01\x00" + client.socks_request(("slow.test", 80)))
    for _ in range(3):
        client.exactly(client.socks(proxy, server.address), 1_000_000)
    eventually(lambda: server.connections == 3, "the transfers to be under way")
    firewall.tell(signal.SIGINT)
    eventually(lambda: "waiting up to" in firewall.stderr(), "the drain to begin")
    if how == "second signal":
        firewall.tell()
    firewall.wait_stopped(seconds=5)
    reasons = sorted(row["reason"] for row in firewall.rows())
    assert reasons == ["the service is stopping"] * 2 + ["the service stopped"] * 3
    codes = {row["resultcode"] for row in firewall.rows() if row["reason"] == "the service stopped"}
    assert codes == {int(FWX_E_TERMINATING)}


REFUSED = {
    "workers": ("[service]\nworkers = 2\n", 2, "runs one worker process"),
    "password": ('\n\n[[user]]\nname = "alice"\npassword = "$argon2id$v=19$m=65536,t=3,p=4$..."\n',
                 5, "user.password: is no Argon2id hash"),
    "console": ('[console]\nbind = "127.0.0.1:0"\n', 1, "has no console"),
    "unknown key": ("[limits]\ntcp_per_adress = 5\n", 2, "tcp_per_address"),
    "unknown filter": ('\n[[filter]]\nname = "a"\nuse = "data-monitr"\n', 0, "data-monitr"),
    "filter option": ('[[filter]]\nname = "a"\nuse = "fwx.filters.data_monitor:DataMonitor"\n'
                      'options = { alert_off = "x" }\n', 4, "alert_o"),
    "module": ('[[filter]]\nname = "a"\nuse = "no_such_module:Filter"\n', 0, "no_such_module"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(serve: Any, case: str) -> None:
    """Nothing is ignored: exit status 1, the file and the line; nothing is opened or left."""
    config, line, words = REFUSED[case]
    folder, status, errors = serve.refused(config)
    assert status == 1
    assert words in errors
    assert not line or f"{folder / 'fwx.toml'}:{line}:" in errors
    assert "Traceback" not in errors
    assert "listens on" not in errors
    assert not (folder / "state").exists()


def test_what_cannot_be_opened(serve: Any, client: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = f'[[listener]]\nname = "mine"\nkind = "proxy"\nbind = "127.0.0.1:{port}"\n'
        _, status, errors = serve.refused(config)
    assert (status, "Traceback" in errors) == (1, False)
    assert f"listener 'mine': cannot listen on 127.0.0.1:{port}: Address already in use" in errors

    folder = serve.make_folder()
    (folder / "state").mkdir()
    (folder / "state" / "firewall.db").write_text("this is no database, whatever its name may say " * 50)
    _, status, errors = serve.refused("", folder)
    assert (status, "Traceback" in errors) == (1, False)
    assert f"{folder / 'state' / 'firewall.db'}: the firewall log cannot be opened" in errors

    if os.geteuid() == 0:
        for user, words in (("root", "is root"), ("nobody-at-all", "no account")):
            _, status, errors = serve.refused(f'[service]\nuser = "{user}"\n')
            assert (status, "Traceback" in errors) == (1, False)
            assert words in errors
