"""Real proxy servers to be upstreams of a service under test: Dante, microsocks, tinyproxy, squid and ``ssh -D``."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

Address = tuple[str, int]

USER, PASSWORD = "branch", "secretword77"

DANTE = """
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: {method}
{accounts}
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0 command: bind bindreply connect udpassociate udpreply }}
"""
TINYPROXY = """
Listen 127.0.0.1
Port {port}
Timeout 600
LogLevel Info
"""
# A parent is another proxy that squid is a client of.
SQUID = """
http_port 127.0.0.1:{port}
{account}
{parent}
http_access allow {who}
http_access deny all
cache deny all
cache_mem 1 MB
access_log none
cache_log stdio:/dev/stderr
netdb_filename none
pid_filename {folder}/squid.pid
shutdown_lifetime 0 seconds
dns_nameservers 127.0.0.1
"""
SQUID_ACCOUNT = """
auth_param basic program /usr/lib/squid/basic_ncsa_auth {folder}/passwords
acl known proxy_auth REQUIRED
"""
SQUID_PARENT = """
cache_peer {host} parent {port} 0 no-query no-digest default {login}
never_direct allow all
"""
SSHD = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PermitRootLogin yes
"""
# What the programs read of the machine is put before them in a mount namespace of their own.
WITH_ACCOUNTS = 'mount --bind "$0/passwd" /etc/passwd; mount --bind "$0/shadow" /etc/shadow; exec "$@"'
WITH_RUN_SSHD = 'mount -t tmpfs none /run; mkdir /run/sshd; exec "$@"'


def free_port() -> int:
    """A port nobody has; these programs cannot choose their own and say which.

    It is none that the kernel gives to others, so that no connection of a test that runs beside gets it meanwhile.
    """
    for _ in range(1000):
        port = random.randrange(10_000, 32_768)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    pytest.fail("no port is free")


class Proxies:
    """Starts proxy servers, and ends them with all their processes."""

    def __init__(self, path_of: Callable[[str], str], make_folder: Callable[[], Path], eventually: Any) -> None:
        self._path_of = path_of
        self._make_folder = make_folder
        self._eventually = eventually
        self._started: list[subprocess.Popen[bytes]] = []
        self._squids: dict[int, str] = {}

    def start(self, kind: str, *, account: bool = False) -> Address:
        """Start a proxy server of *kind*; with *account* it wants the user and the password."""
        port = free_port()
        folder = self._make_folder()
        getattr(self, f"_start_{kind}")(folder, port, account)
        return "127.0.0.1", port

    def _start_dante(self, folder: Path, port: int, account: bool) -> None:
        users = "user.privileged: root\nuser.unprivileged: nobody" if os.geteuid() == 0 else ""
        config = DANTE.format(port=port, method="username" if account else "none", accounts=users)
        (folder / "danted.conf").write_text(config)
        command = [self._path_of("danted"), "-f", str(folder / "danted.conf")]
        if account:
            self._write_accounts(folder)
            command = [self._namespace(), "--mount", "sh", "-ec", WITH_ACCOUNTS, str(folder), *command]
        self._run(folder, port, command, " running")

    def _write_accounts(self, folder: Path) -> None:
        crypted = subprocess.run(
            ["openssl", "passwd", "-6", PASSWORD], capture_output=True, text=True, check=True
        ).stdout.strip()
        passwd, shadow = Path("/etc/passwd").read_text(), Path("/etc/shadow").read_text()
        (folder / "passwd").write_text(f"{passwd}{USER}:x:64242:65534::/nonexistent:/usr/sbin/nologin\n")
        (folder / "shadow").write_text(f"{shadow}{USER}:{crypted}:19000:0:99999:7:::\n")

    def _start_microsocks(self, folder: Path, port: int, account: bool) -> None:
        command = [self._path_of("microsocks"), "-i", "127.0.0.1", "-p", str(port)]
        self._run(folder, port, [*command, *(("-u", USER, "-P", PASSWORD) if account else ())])

    def _start_tinyproxy(self, folder: Path, port: int, account: bool) -> None:
        config = TINYPROXY.format(port=port) + f"BasicAuth {USER} {PASSWORD}\n" * account
        (folder / "tinyproxy.conf").write_text(config)
        command = [self._path_of("tinyproxy"), "-d", "-c", str(folder / "tinyproxy.conf")]
        self._run(folder, port, command, "Accepting connections")

    def _start_squid(self, folder: Path, port: int, account: bool, parent: str = "") -> None:
        told = SQUID_ACCOUNT.format(folder=folder) if account else ""
        config = SQUID.format(port=port, folder=folder, account=told, who="known" if account else "all", parent=parent)
        (folder / "squid.conf").write_text(config)
        crypted = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True)
        (folder / "passwords").write_text(f"{USER}:{crypted.stdout}")
        name = f"fwx{port}"
        self._run(folder, port, [self._path_of("squid"), "-N", "-n", name, "-f", str(folder / "squid.conf")])
        self._squids[self._started[-1].pid] = name

    def start_squid_behind(self, parent: Address, login: str = "") -> Address:
        """Start squid as a client of the HTTP proxy at *parent*; *login* is ``user:password``."""
        port = free_port()
        told = SQUID_PARENT.format(host=parent[0], port=parent[1], login=f"login={login}" if login else "")
        self._start_squid(self._make_folder(), port, False, told)
        return "127.0.0.1", port

    def _start_ssh(self, folder: Path, port: int, account: bool) -> None:
        assert not account
        server = self.start_sshd(folder)
        options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        client = [self._path_of("ssh"), "-F", "/dev/null", "-N", "-D", f"127.0.0.1:{port}", "-p", str(server)]
        key = ["-i", str(folder / "key"), *(part for option in options for part in ("-o", option))]
        self._run(folder, port, [*client, *key, "root@127.0.0.1"])

    def start_sshd(self, folder: Path) -> int:
        """Start an SSH server for root with the key ``folder/key``, which is made; return its port."""
        server = free_port()
        for name in ("host", "key"):
            subprocess.run(
                [self._path_of("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
            )
        (folder / "sshd.conf").write_text(SSHD.format(port=server, folder=folder))
        daemon = [self._path_of("sshd"), "-D", "-e", "-f", str(folder / "sshd.conf")]
        self._run(folder, server, [self._namespace(), "--mount", "sh", "-ec", WITH_RUN_SSHD, str(folder), *daemon])
        return server

    def _namespace(self) -> str:
        unshare = shutil.which("unshare")
        if os.geteuid() != 0 or unshare is None:
            pytest.skip("needs root, for a mount namespace")
        return unshare

    def _run(self, folder: Path, port: int, command: list[str], says: str = "") -> None:
        output = folder / f"output-{len(self._started)}.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        self._started.append(process)

        def is_up() -> bool:
            assert process.poll() is None, output.read_text()
            if says:
                return says in output.read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        self._eventually(is_up, f"{command[0]} to start")

    def close(self) -> None:
        for process in reversed(self._started):
            # squid takes seconds to leave; what it keeps is cleared away below.
            for number in (signal.SIGKILL,) if process.pid in self._squids else (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                    process.wait(5)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue
            process.wait(5)
        for name in self._squids.values():
            for shared in Path("/dev/shm").glob(f"{name}-*"):
                shared.unlink()
