"""The directories of a service, made from the file: plugins, the registry, the end."""

from __future__ import annotations

import asyncio
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fwx.config import Configuration, load
from fwx.impl.authentication import WRONG, Checked, IPasswordAuthenticator, IRadiusUsers
from fwx.interfaces import FWX_E_NOT_SUPPORTED, COMError, IFWXRadiusAuthenticator
from fwx.service import Service
from fwx.user_directories import directory_faults, read_directories

PLUGIN = """\
[service]
state_dir = "state"
[[directory]]
name = "own"
kind = "plugin"
use = "documented_plugin:OneUser"
cache_seconds = 0
"""
RADIUS = """\
[[directory]]
name = "branch"
kind = "radius"
servers = ["127.0.0.1:9"]
secret_file = "radius.secret"
timeout_seconds = 1
"""


@pytest.fixture
def documented(source_tree: Path) -> Iterator[ModuleType]:
    """The plugin that docs/users.rst shows, as a module that can be imported."""
    text = (source_tree / "docs" / "users.rst").read_text()
    found = re.search(r"as for the others::\n\n((?:    .*\n|\n)+)", text)
    assert found is not None
    module = ModuleType("documented_plugin")
    exec(compile(textwrap.dedent(found[1]), "users.rst", "exec", dont_inherit=True), vars(module))
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def configuration(folder: Path, text: str) -> Configuration:
    (folder / "radius.secret").write_text("secret")
    (folder / "radius.secret").chmod(0o600)
    (folder / "fwx.toml").write_text(text)
    return load(folder / "fwx.toml")


async def checked(service: Service, name: str, password: bytes) -> Checked:
    """Ask the one that the ways in ask."""
    result: asyncio.Future[Checked] = asyncio.get_running_loop().create_future()
    service.registry.getUtility(IPasswordAuthenticator).check(name, password, result.set_result)
    return await asyncio.wait_for(result, 10)


def test_a_plugin_as_documented(tmp_path: Path, documented: ModuleType) -> None:
    """It gets its context, its users are called as those of other directories, and the registry has it by its name."""

    async def scene() -> None:
        service = Service(configuration(tmp_path, PLUGIN))
        try:
            own = service.registry.getUtility(IPasswordAuthenticator, "own")
            assert own is not service.registry.getUtility(IPasswordAuthenticator)
            user = (await checked(service, "ann", b"secret")).user
            assert user is not None
            assert (user.Username, user.Namespace, user.UserGroups) == (r"own\ann", "ONE", "staff")
            assert await checked(service, r"own\ann", b"wrong") == WRONG
        finally:
            await service.stop(0)

    asyncio.run(scene())


def test_what_another_distribution_has_registered_takes_the_place(
    tmp_path: Path, documented: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A component by the name of the directory is asked in its stead."""
    asked: list[str] = []

    class Instead(documented.OneUser):  # type: ignore[misc,name-defined]
        def check(self, name: str, password: bytes, done: Any) -> Any:
            asked.append(name)
            asyncio.get_running_loop().call_soon(done, WRONG)
            return lambda: None

    def register(registry: Any) -> None:
        registry.register_utility(Instead(None), IPasswordAuthenticator, "own")

    monkeypatch.setattr("fwx.registry._load_plugins", register)

    async def scene() -> None:
        service = Service(configuration(tmp_path, PLUGIN))
        try:
            assert await checked(service, "ann", b"secret") == WRONG
        finally:
            await service.stop(0)

    asyncio.run(scene())
    assert asked == ["ann"]


def test_radius_for_filters(tmp_path: Path, documented: ModuleType) -> None:
    """There is an authenticator where a RADIUS server is configured; other directories are not asked by it."""

    async def scene() -> None:
        service = Service(configuration(tmp_path, PLUGIN + RADIUS))
        try:
            assert IFWXRadiusAuthenticator.providedBy(service.firewall.CreateRadiusAuthenticator())
            result: asyncio.Future[Checked] = asyncio.get_running_loop().create_future()
            service.registry.getUtility(IRadiusUsers).check("ann", b"secret", result.set_result)
            answer = await asyncio.wait_for(result, 10)
            assert answer.reason == "directory 'branch': 127.0.0.1:9: it cannot be reached: Connection refused"
        finally:
            await service.stop(0)
        service = Service(configuration(tmp_path, PLUGIN))
        try:
            with pytest.raises(COMError) as error:
                service.firewall.CreateRadiusAuthenticator()
            assert error.value.hresult == FWX_E_NOT_SUPPORTED
        finally:
            await service.stop(0)

    asyncio.run(scene())


def test_what_is_under_way_ends_with_the_service(tmp_path: Path, documented: ModuleType) -> None:
    async def scene() -> None:
        service = Service(configuration(tmp_path, PLUGIN))
        results: list[Checked] = []
        documented.OneUser.check = lambda *_: lambda: None  # it never answers
        service.registry.getUtility(IPasswordAuthenticator).check("ann", b"secret", results.append)
        await service.stop(0)
        assert results == [Checked(None, "directory 'own': the service stops")]

    asyncio.run(scene())


def test_directories_are_asked_about_nobody(tmp_path: Path, documented: ModuleType) -> None:
    """For ``fwx check --deep``: who says no is well; who cannot say, or lets anybody in, is not."""
    directory = PLUGIN[PLUGIN.index("[[") :].replace('"own"', '"open"').replace("One", "Any")

    class AnyUser(documented.OneUser):  # type: ignore[misc,name-defined]
        def check(self, name: str, password: bytes, done: Any) -> Any:
            self.context.post(done, Checked(self.context.user(name, (), "ANY")))
            return lambda: None

    documented.AnyUser = AnyUser  # type: ignore[attr-defined]
    made = configuration(tmp_path, PLUGIN + RADIUS + directory)
    assert asyncio.run(directory_faults(made, read_directories(made))) == [
        (1, "directory 'branch': 127.0.0.1:9: it cannot be reached: Connection refused"),
        (2, "it lets in a user that nobody is"),
    ]
