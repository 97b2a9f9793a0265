"""The PostgreSQL server of these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.postgresql import PostgreSQL


@pytest.fixture(scope="session")
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


@pytest.fixture
def url(postgresql: PostgreSQL) -> str:
    """An empty database."""
    return postgresql.create()
