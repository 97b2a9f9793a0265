"""A PostgreSQL server of the benchmark's own, with the settings that Debian gives it, on a socket in a folder."""

from __future__ import annotations

import importlib.util
import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.process import PATIENCE, find


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
    account: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    if os.geteuid() == 0:  # the server refuses to be root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        account |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data = folder / "data"
    subprocess.run([initdb, "-D", data, "-A", "trust", "-U", "fwx", "-E", "UTF8", "--locale=C"], check=True, **account)
    command = [postgres, "-D", str(data), "-k", str(folder), "-c", "listen_addresses="]
    with subprocess.Popen(command, **account) as process:
        url = f"postgresql+psycopg://fwx@/postgres?host={folder}"
        try:
            _wait(url)
            yield url
        finally:
            process.terminate()


def _wait(url: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with engine.connect():
                return
        except sqlalchemy.exc.OperationalError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not answer: {error}") from error
            time.sleep(0.05)
