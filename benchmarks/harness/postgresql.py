"""A PostgreSQL server of the benchmark's own, with the settings that Debian gives it, on a socket in a folder."""

from __future__ import annotations

import importlib.util
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.process import PATIENCE, find, run_to_end

INITDB_PATIENCE = 60.0


def program(name: str) -> str | None:
    """Return the path of a program of PostgreSQL; Debian keeps them by version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else find(name)


@contextmanager
def serving(folder: Path) -> Iterator[str | None]:
    """Make a cluster in *folder*, an empty one, and run its server meanwhile; yield the URL.

    ``None`` where PostgreSQL or the extra ``fwx[sql]`` is not installed.

    :raises RuntimeError: the server does not start.
    """
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None or importlib.util.find_spec("sqlalchemy") is None:
        yield None
        return
    account: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:  # the server refuses to be root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        account |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data = folder / "data"
    run_to_end([initdb, "-D", data, "-A", "trust", "-U", "fwx", "-E", "UTF8", "--locale=C"], INITDB_PATIENCE, **account)
    command = [postgres, "-D", str(data), "-k", str(folder), "-c", "listen_addresses="]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **account) as process:
        url = f"postgresql+psycopg://fwx@/postgres?host={folder}"
        try:
            _wait(url)
            yield url
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and whoever is connected: at SIGTERM it would wait for them."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)  # SIGKILL would leave its children


def _wait(url: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args={"connect_timeout": 5})
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with engine.connect():
                return
        except sqlalchemy.exc.OperationalError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not answer: {error}") from error
            time.sleep(0.05)
