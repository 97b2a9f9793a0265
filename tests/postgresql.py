"""A PostgreSQL server of the tests' own, on a socket in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy

# The server does not start as root.
ACCOUNT = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
FAST = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "listen_addresses=", "-c", "max_connections=20")


class PostgreSQL:
    """A cluster, and the server that is started and stopped with it."""

    def __init__(self, programs: Callable[[str], str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fwx-pg-"))
        os.chown(self._folder, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        data = self._folder / "data"
        self._run("initdb", "-D", data, "-A", "trust", "-U", "fwx", "-E", "UTF8", "--locale=C", "-N").wait()
        self.start()

    def _run(self, program: str, *arguments: object) -> subprocess.Popen[bytes]:
        account: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = {"user": ACCOUNT.pw_uid, "group": ACCOUNT.pw_gid, "extra_groups": []}
        command = [self._programs(program), *map(str, arguments)]
        with (self._folder / f"{program}.txt").open("wb") as output:
            return subprocess.Popen(command, cwd=self._folder, stdout=output, stderr=output, **account)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._process = self._run("postgres", "-D", self._folder / "data", "-k", self._folder, *FAST)
        engine = sqlalchemy.create_engine(self.url_of("postgres"), poolclass=sqlalchemy.NullPool)
        while True:
            assert self._process.poll() is None, (self._folder / "postgres.txt").read_text()
            try:
                with engine.connect():
                    return
            except sqlalchemy.exc.OperationalError:
                continue

    def stop(self) -> None:
        """End the server at once: its clients lose their connections."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(2)  # "fast"
            assert process.wait(30) == 0

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def url_of(self, database: str) -> str:
        return f"postgresql+psycopg://fwx@/{database}?host={self._folder}"

    def create(self, encoding: str = "UTF8") -> str:
        """Make a database; return its URL."""
        name = f"fwx_{uuid.uuid4().hex}"
        engine = sqlalchemy.create_engine(
            self.url_of("postgres"), isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
        return self.url_of(name)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)
