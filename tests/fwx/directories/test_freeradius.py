"""The requests as FreeRADIUS reads them, and its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from fwx.directories.radius_packet import CLASS, FILTER_ID
from fwx.impl.authentication import WRONG, Checked
from fwx.interfaces import SocketAddress
from tests.directory_servers import RADIUS_SECRET, FreeRadius
from tests.fwx.directories.test_radius import Place, dropped

pytestmark = pytest.mark.requires("freeradius")


@pytest.fixture(scope="module")
def signing(program_path: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadius]:
    server = FreeRadius(program_path("freeradius"), tmp_path_factory.mktemp("signing"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def unsigning(program_path: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadius]:
    server = FreeRadius(program_path("freeradius"), tmp_path_factory.mktemp("unsigning"), signs=False)
    yield server
    server.stop()


def check(server: FreeRadius, name: str, password: bytes, *, drops: int = 0, **settings: Any) -> Checked:
    """Ask *server*. Where *drops* answers must have been dropped, the time is over then."""

    async def scene() -> Checked:
        address = SocketAddress("127.0.0.1", server.port)
        place = Place(address, **{"secret": RADIUS_SECRET.encode()} | settings)
        place.check(name, password)
        if drops:
            await dropped(place, drops)
            place.bench.pass_time(10)
        return await place.wait()

    return asyncio.run(scene())


@pytest.mark.parametrize("method", ["pap", "chap"])
def test_users_groups_and_wrong_passwords(signing: FreeRadius, method: str) -> None:
    user = check(signing, "carol", b"carol's own", method=method).user
    assert user is not None
    assert (user.Username, user.Namespace, user.UserGroups) == (r"corp\carol", "RADIUS", "staff;night")
    user = check(signing, "erik", b"erik's own", method=method, group_attribute=CLASS).user
    assert user is not None
    assert (user.Username, user.UserGroups) == (r"corp\erik", "staff")
    user = check(signing, "erik", b"erik's own", method=method, group_attribute=FILTER_ID).user
    assert user is not None
    assert user.UserGroups == ""
    for name, password in (("carol", b"erik's own"), ("nobody", b"x"), ("carol", b"x" * 128)):
        assert check(signing, name, password, method=method) == WRONG


def test_a_server_that_does_not_sign(unsigning: FreeRadius) -> None:
    """What it says is dropped, unless the file says that it is to be taken."""
    result = check(unsigning, "carol", b"carol's own", tries=1, drops=1)
    assert (result.user, result.counts) == (None, False)
    assert result.reason.endswith("the last one because it has no Message-Authenticator")
    assert check(unsigning, "carol", b"carol's own", needs_signature=False).user is not None
    assert check(unsigning, "carol", b"wrong", needs_signature=False) == WRONG
