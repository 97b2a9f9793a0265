"""Who is compared in benchmarks/proxy_port.py: the service's proxy port, Dante, microsocks."""

from __future__ import annotations

import os
from pathlib import Path

from harness.process import Running, find, free_port
from harness.relays import FREELY, Relay, Start, listening, serve

_FWX = """\
[service]
state_dir = "{folder}/state"

[[listener]]
name = "relay"
kind = "proxy"
bind = "127.0.0.1:0"
"""
_DANTE = """\
logoutput: {folder}/dante.log
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
{accounts}
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0 }}
"""


def start_fwx(folder: Path, target: int) -> Relay:  # noqa: ARG001  clients say where they want to go
    return serve(folder, _FWX.format(folder=folder) + FREELY, "relay listens on")


def start_dante(folder: Path, target: int) -> Relay:  # noqa: ARG001
    port = free_port()
    accounts = "user.privileged: root\nuser.unprivileged: nobody" if os.geteuid() == 0 else ""
    file = folder / "danted.conf"
    file.write_text(_DANTE.format(folder=folder, port=port, accounts=accounts))
    return listening(Running([find("danted") or "danted", "-f", str(file)], folder / "said"), port)


def start_microsocks(folder: Path, target: int) -> Relay:  # noqa: ARG001
    port = free_port()
    command = [find("microsocks") or "microsocks", "-i", "127.0.0.1", "-p", str(port)]
    return listening(Running(command, folder / "said"), port)


def streams() -> dict[str, Start]:
    """Return who is compared for CONNECT."""
    found: dict[str, Start] = {"fwx": start_fwx}
    if find("danted"):
        found["dante"] = start_dante
    if find("microsocks"):
        found["microsocks"] = start_microsocks
    return found


def half_closing() -> dict[str, Start]:
    """Return who is compared for bulk and UDP: microsocks has no UDP, and ends a half-closed connection."""
    return {name: start for name, start in streams().items() if name != "microsocks"}
