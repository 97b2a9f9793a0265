"""A service that logs to four places: SQLite, W3C files, JSON lines, and PostgreSQL, which goes away and comes back."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy
from click.testing import CliRunner

from fwx.commands.log import log
from fwx.firewall_log import read
from fwx.impl.logrecord import Action
from tests.postgresql import PostgreSQL

CONFIG = """
[log]
sql = "{url}"
json = {{ directory = "json", fields = ["Action", "connectionid"] }}
w3c = {{ directory = "w3c", fields = ["action", "connection ID", "x-nat-address"] }}
establish = true
intermediate_seconds = 0.3
"""


@pytest.fixture(scope="module")
def server(program_path: Callable[[str], str]) -> Iterator[PostgreSQL]:
    server = PostgreSQL(program_path)
    yield server
    server.close()


@pytest.fixture
def postgresql(server: PostgreSQL) -> Iterator[PostgreSQL]:
    """The server; one that a test has stopped is started again."""
    yield server
    if not server.is_running:
        server.start()


def tables(url: str) -> list[str]:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    return sqlalchemy.inspect(engine).get_table_names()


@pytest.mark.requires("initdb", "postgres")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
def test_every_place_has_every_record(
    serve: Any, origin: Any, client: Any, eventually: Any, postgresql: PostgreSQL
) -> None:
    """B9.11, B9.19: also those of the time when the server was away, in which clients were served."""
    url = postgresql.create()
    firewall = serve(CONFIG.format(url=url))
    firewall.leaves |= {"json", "w3c"}
    proxy, server = firewall.address(), origin()
    lasting = client.socks(proxy, server.address)
    lasting.sendall(b"abc")
    assert client.exactly(lasting, 3) == b"abc"
    eventually(lambda: firewall.rows(Action=int(Action.Intermediate)), "a record in between")
    lasting.close()
    eventually(lambda: firewall.rows(Action=int(Action.Terminate)), "the end")
    eventually(lambda: list(read(url, where={"Action": int(Action.Terminate)})), "the end in the other database")

    postgresql.stop()
    for _ in range(3):
        assert client.socks_code(proxy, server.address) == 0
    eventually(lambda: "records wait in " in firewall.stderr(), "the log to fail")
    assert "new connections are refused" not in firewall.stderr()
    assert client.socks_code(proxy, server.address) == 0
    eventually(lambda: len(firewall.rows(Action=int(Action.Terminate))) == 5, "all ends")
    told = CliRunner().invoke(log, ["--config", str(firewall.folder / "fwx.toml"), "--sql"])
    assert told.exit_code == 1
    assert told.output.startswith("Error: postgresql+psycopg://fwx@/fwx_")

    postgresql.start()
    eventually(lambda: "the firewall log works again" in firewall.stderr(), "the log to work again")
    (alert,) = firewall.alerts()
    assert alert["event"] == "Log failure"
    firewall.base_line += 1  # the connection to the database
    firewall.wait_base_line()
    firewall.stop()
    rows = firewall.rows()
    actions = [Action(row["Action"]) for row in rows if row["connectionid"] == 1]
    assert actions[0] == Action.Establish
    assert set(actions[1:-1]) == {Action.Intermediate}
    assert actions[-1] == Action.Terminate
    assert [row["bytessentDelta"] for row in rows if row["connectionid"] == 1 and row["bytessentDelta"]] == [3]
    assert list(read(url)) == rows
    assert list(read(url, alerts=True)) == firewall.alerts()
    (file,) = (firewall.state / "json").glob("*.jsonl")
    objects = [json.loads(line) for line in file.read_text().splitlines()]
    assert objects == [{name: row[name] for name in ("Action", "connectionid")} for row in rows]
    (file,) = (firewall.state / "w3c").glob("*.w3c")
    lines = [line.split("\t") for line in file.read_text().splitlines() if not line.startswith("#")]
    expected = [[Action(row["Action"]).name, str(row["connectionid"]), row["NATAddress"]] for row in rows]
    assert lines == expected
    assert {row["NATAddress"] for row in rows} == {"127.0.0.1"}


@pytest.mark.requires("initdb", "postgres")
def test_a_service_that_is_killed_while_the_server_is_away(
    serve: Any, origin: Any, client: Any, eventually: Any, postgresql: PostgreSQL
) -> None:
    """The next one hands over what has waited, once."""
    url = postgresql.create()
    config = f'[log]\nsql = "{url}"\n'
    folder = serve.make_folder()
    firewall = serve(config, folder=folder)
    server = origin()
    assert client.socks_code(firewall.address(), server.address) == 0
    eventually(lambda: "firewall_log" in tables(url) and list(read(url)), "the first record")
    postgresql.stop()
    for _ in range(5):
        assert client.socks_code(firewall.address(), server.address) == 0
    spool = firewall.state / "firewall-log.sql.spool"
    eventually(lambda: spool.exists() and spool.read_bytes().count(b'"127.0.0.1"') and len(firewall.rows()) == 6, "six")
    eventually(lambda: "records wait in " in firewall.stderr(), "the spool")
    firewall.tell(signal.SIGKILL)
    assert firewall.process.wait(10) == -signal.SIGKILL
    postgresql.start()
    again = serve(config, folder=folder)
    eventually(lambda: len(list(read(url))) >= 6, "what has waited")
    again.stop()
    assert sorted(row["connectionid"] for row in read(url)) == list(range(1, 7))
    assert list(read(url)) == again.rows()
