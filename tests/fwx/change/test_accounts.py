"""Who may authenticate, before and after a change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import argon2

from fwx.change.parts import Parts, read_parts
from fwx.config import load
from fwx.impl.authentication import Checked, IPasswordAuthenticator
from fwx.impl.user import FWXAuthenticatedUser, user_key
from fwx.interfaces import IFWXRadiusAuthenticator
from fwx.service import Service

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
USER = '[[user]]\nname = "{}"\ngroups = {}\npassword = "{}"\n'
RADIUS = """
[[directory]]
name = "branch"
kind = "radius"
servers = ["127.0.0.1:9"]
secret_file = "radius.secret"
timeout_seconds = 1
"""


async def checked(service: Service, name: str, password: bytes) -> Checked:
    """Ask the one that the ways in ask."""
    result: asyncio.Future[Checked] = asyncio.get_running_loop().create_future()
    service.registry.getUtility(IPasswordAuthenticator).check(name, password, result.set_result)
    return await asyncio.wait_for(result, 10)


def test_users_come_change_and_go(tmp_path: Path) -> None:
    """New passwords count at once; a user who is there already is known by the groups that it has now, or is nobody."""
    file = tmp_path / "fwx.toml"
    (tmp_path / "radius.secret").write_text("secret")
    (tmp_path / "radius.secret").chmod(0o600)

    def parts(service: Service, text: str) -> Parts:
        file.write_text(text)
        before = service.running.parts
        service.running.parts = read_parts(load(file), service.engine.faults, service.engine.recoverer, before)
        return service.running.parts

    def use(service: Service, text: str) -> None:
        accounts, made = service._accounts, parts(service, text)
        accounts.use(made.users, accounts.make_directories(made.configuration, made.directories))

    async def scene() -> None:
        file.write_text(USER.format("ann", '["staff"]', CHEAP.hash("one")))
        service = Service(load(file))
        try:
            ann = (await checked(service, "ann", b"one")).user
            assert ann is not None
            known = service.engine.known_as
            assert known(ann) == ann.who
            assert service.registry.queryUtility(IPasswordAuthenticator, "branch") is None

            use(service, USER.format("ann", '["night"]', CHEAP.hash("two")) + RADIUS)
            assert known(ann) == FWXAuthenticatedUser("ann", ("night",)).who
            assert (await checked(service, "ann", b"one")).counts
            assert (await checked(service, "ann", b"two")).user is not None
            # A directory that has come is asked, also by filters.
            assert "directory 'branch'" in (await checked(service, "bob", b"x")).reason
            assert IFWXRadiusAuthenticator.providedBy(service.firewall.CreateRadiusAuthenticator())

            # Who asks what would be changes nothing.
            would = service._accounts.known_after(parts(service, USER.format("bob", "[]", CHEAP.hash("three"))).users)
            assert (would(ann), known(ann)) == (frozenset(), FWXAuthenticatedUser("ann", ("night",)).who)
            use(service, USER.format("bob", "[]", CHEAP.hash("three")))
            assert known(ann) == frozenset()
            assert (await checked(service, "ann", b"two")).user is None
            assert user_key("bob") in known(FWXAuthenticatedUser("bob"))
            # What a directory has said of a user of its own holds.
            carol = FWXAuthenticatedUser("ann", ("staff",), "LDAP")
            assert known(carol) == carol.who
        finally:
            await service.stop(0)

    asyncio.run(scene())


def test_directories_are_the_same_while_nothing_of_them_has_changed(tmp_path: Path) -> None:
    """The secret is part of it, and what is remembered of results goes with the directory."""
    file, secret = tmp_path / "fwx.toml", tmp_path / "radius.secret"
    secret.write_text("one")
    secret.chmod(0o600)

    async def scene() -> list[bytes]:
        file.write_text(RADIUS)
        service = Service(load(file))
        try:
            first = service.running.parts

            def fingerprint(text: str) -> bytes:
                file.write_text(text)
                return read_parts(load(file), service.engine.faults, service.engine.recoverer, first).fingerprint

            found = [first.fingerprint, fingerprint(RADIUS + "[limits]\ntcp_per_address = 5\n")]
            secret.write_text("two")
            found += [fingerprint(RADIUS), fingerprint(RADIUS.replace("= 1", "= 2"))]
            return found
        finally:
            await service.stop(0)

    before, same, other_secret, other_table = asyncio.run(scene())
    assert before == same
    assert len({before, other_secret, other_table}) == 3
