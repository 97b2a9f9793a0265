"""Who is asked about whom: the configuration, then the directories in turn."""

from __future__ import annotations

import pytest

from fwx.authenticators import Authenticators, Directories
from fwx.impl.authentication import WRONG, Checked
from fwx.impl.user import FWXAuthenticatedUser
from tests.fwx.directories.bench import Asked, Bench

RIGHT = Checked(FWXAuthenticatedUser("x"))
DOWN = Checked(None, "it is down")


class Everybody:
    def __init__(self) -> None:
        self.bench = Bench()
        self.local, self.corp, self.branch = Asked(), Asked(), Asked()
        directories = Directories({"corp": self.corp, "branch": self.branch})
        self.users = Authenticators(self.local, frozenset({"ann", r"corp\odd"}), directories)

    def asked(self) -> dict[str, list[str]]:
        places = {"local": self.local, "corp": self.corp, "branch": self.branch}
        return {name: [each[0] for each in place.asked] for name, place in places.items() if place.asked}


@pytest.fixture
def everybody() -> Everybody:
    return Everybody()


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("ann", {"local": ["ann"]}),
        (r"corp\odd", {"local": [r"corp\odd"]}),
        ("bob", {"corp": ["bob"]}),
        (r"corp\bob", {"corp": ["bob"]}),
        (r"corp\ann", {"corp": ["ann"]}),
        (r"branch\bob", {"branch": ["bob"]}),
        (r"branch\a\b", {"branch": [r"a\b"]}),
        (r"other\bob", {"corp": [r"other\bob"]}),
        ("\\bob", {"corp": ["\\bob"]}),
    ],
)
def test_who_is_asked_first(everybody: Everybody, name: str, asked: dict[str, list[str]]) -> None:
    everybody.bench.check(everybody.users, name, b"x")
    assert everybody.asked() == asked


def test_without_directories_the_configuration_is_asked_about_everybody() -> None:
    bench, local = Bench(), Asked()
    bench.check(Authenticators(local, frozenset({"ann"}), Directories({})), "bob", b"x")
    assert [name for name, _, _ in local.asked] == ["bob"]


def test_a_wrong_password_here_is_not_tried_there(everybody: Everybody) -> None:
    everybody.bench.check(everybody.users, "ann", b"x")
    everybody.local.answer(WRONG)
    assert everybody.bench.results == [WRONG]
    assert everybody.asked() == {}


def test_the_next_one_is_asked_where_one_does_not_know(everybody: Everybody) -> None:
    everybody.bench.check(everybody.users, "bob", b"x")
    everybody.corp.answer(WRONG)
    assert everybody.asked() == {"branch": ["bob"]}
    everybody.branch.answer(RIGHT)
    assert everybody.bench.results == [RIGHT]


def test_a_name_with_a_directory_is_asked_of_that_one_alone(everybody: Everybody) -> None:
    everybody.bench.check(everybody.users, r"corp\bob", b"x")
    everybody.corp.answer(WRONG)
    assert everybody.bench.results == [WRONG]
    assert everybody.asked() == {}


def test_one_that_cannot_say_ends_the_search(everybody: Everybody) -> None:
    """Whoever the next one knows by that name may be somebody else."""
    everybody.bench.check(everybody.users, "bob", b"x")
    everybody.corp.answer(DOWN)
    assert everybody.bench.results == [DOWN]
    assert everybody.asked() == {}


def test_a_client_that_leaves(everybody: Everybody) -> None:
    cancel = everybody.bench.check(everybody.users, "bob", b"x")
    cancel()
    assert everybody.corp.cancelled == 1
    everybody.corp.answer(WRONG)
    assert everybody.asked() == {}
    assert everybody.bench.results == []
