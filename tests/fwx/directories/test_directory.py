"""One directory as the service asks it: remembered, joined, in time, closed."""

from __future__ import annotations

from typing import Any

import pytest

from fwx.directories.directory import WRONG_SECONDS, Directory
from fwx.impl.authentication import WRONG, Checked, IPasswordAuthenticator
from fwx.interfaces import E_OUTOFMEMORY, COMError
from tests.fwx.directories.bench import Asked, Bench

DOWN = Checked(None, "directory 'corp': it is down")


class Place:
    def __init__(self, seconds: float = 60.0) -> None:
        self.bench = Bench()
        self.asked = Asked()
        self.right = Checked(self.bench.context.user("bob", ("staff",), "LDAP"))
        self.directory = Directory(self.asked, self.bench.context, self.bench.clock, seconds)

    def ask(self, result: Checked, password: bytes = b"secret") -> Checked:
        """Check; whoever is asked answers *result*."""
        self.bench.check(self.directory, "bob", password)
        self.bench.run()
        if self.asked.asked:
            self.asked.answer(result)
            self.bench.run()
        return self.bench.results.pop()


@pytest.fixture
def place() -> Place:
    return Place()


def test_it_provides_the_interface(place: Place) -> None:
    assert IPasswordAuthenticator.providedBy(place.directory)


def test_who_a_user_of_a_directory_is(place: Place) -> None:
    """B10.2: the name and the groups are known with the directory's name and without; there is no second bob."""
    user = place.right.user
    assert user is not None
    assert (user.Username, user.Namespace, user.UserGroups) == (r"corp\bob", "LDAP", "staff")
    common = {"authenticated", r"user corp\bob", "group staff", r"group corp\staff"}
    assert user.who == common | {"user bob"}
    other = Bench(local_names=frozenset({"bob"})).context.user("bob", ("staff",), "LDAP")
    assert other.who == common


def test_a_directory_has_no_users_and_groups_of_another() -> None:
    """Whatever it calls them: rules that name ``branch``'s are not about those of ``corp``."""
    user = Bench().context.user(r"branch\carol", (r"branch\staff", "night"), "LDAP")
    assert (user.Username, user.UserGroups) == (r"corp\branch\carol", r"branch\staff;night")
    assert user.who == {
        "authenticated",
        r"user corp\branch\carol",
        r"group corp\branch\staff",
        r"group corp\night",
        "group night",
    }


def test_a_right_password_is_remembered_as_long_as_the_file_says(place: Place) -> None:
    assert place.ask(place.right) == place.right
    place.bench.now += 59.9
    assert place.ask(WRONG) == place.right
    place.bench.now += 0.1
    assert place.ask(WRONG) == WRONG


def test_a_wrong_password_is_remembered_for_a_short_while(place: Place) -> None:
    """Another one is asked for at once."""
    assert place.ask(WRONG, b"wrong") == WRONG
    place.bench.now += WRONG_SECONDS - 0.1
    assert place.ask(place.right, b"wrong") == WRONG
    assert place.ask(place.right, b"secret") == place.right
    place.bench.now += 0.1
    assert place.ask(place.right, b"wrong") == place.right


def test_without_memory() -> None:
    place = Place(seconds=0)
    for result in (place.right, WRONG, place.right):
        assert place.ask(result) == result


def test_what_could_not_be_checked_is_not_remembered(place: Place) -> None:
    assert place.ask(DOWN) == DOWN
    assert place.ask(place.right) == place.right


def test_no_password_is_kept(place: Place) -> None:
    place.ask(place.right, b"the secret itself")
    place.ask(WRONG, b"the secret itself, wrong")
    memory = place.directory._checks
    assert len(memory._remembered) == 2
    assert b"secret" not in b"".join(memory._remembered)
    assert "the secret" not in repr(vars(memory))


def test_those_who_ask_the_same_wait_for_one_answer(place: Place) -> None:
    for _ in range(30):
        place.bench.check(place.directory, "bob", b"secret")
    assert len(place.asked.asked) == 1
    place.asked.answer(place.right)
    place.bench.run()
    assert place.bench.results == [place.right] * 30


@pytest.mark.parametrize(
    ("name", "password"), [("bob", b""), ("", b"x"), (" ", b"x"), ("a\0b", b"x"), ("\udcff", b"x"), ("a\nb", b"x")]
)
def test_what_nobody_is_asked_about(place: Place, name: str, password: bytes) -> None:
    assert place.bench.checked(place.directory, name, password) == WRONG
    assert place.asked.asked == []


def test_an_answer_that_is_late(place: Place) -> None:
    """The client is refused, an alert is raised, the check is called off, and what comes then is lost."""
    place.bench.check(place.directory, "bob", b"secret")
    place.bench.pass_time(4.9)
    assert place.bench.results == []
    place.bench.pass_time(0.1)
    late = Checked(None, "directory 'corp': it did not answer within 5 s")
    assert place.bench.results == [late]
    assert place.bench.warnings == [("corp", late.reason)]
    assert place.asked.cancelled == 1
    place.asked.answer(place.right)
    place.bench.run()
    assert place.bench.results == [late]
    assert place.ask(WRONG) == WRONG, "it is asked again, what came late is not remembered"


def test_a_client_that_leaves(place: Place) -> None:
    """The others get the answer, and it is remembered."""
    cancel = place.bench.check(place.directory, "bob", b"secret")
    place.bench.check(place.directory, "bob", b"secret")
    cancel()
    place.asked.answer(place.right)
    place.bench.run()
    assert place.bench.results == [place.right]
    assert not any(timer.is_on for timer in place.bench.timers)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ZeroDivisionError("oh"), "directory 'corp': it cannot be asked: ZeroDivisionError: oh"),
        (COMError(E_OUTOFMEMORY, "no thread"), "directory 'corp': it cannot be asked: COMError: "),
    ],
)
def test_an_authenticator_that_fails(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*args: Any) -> None:
        raise error

    monkeypatch.setattr(place.asked, "check", fail)
    result = place.bench.checked(place.directory, "bob", b"secret")
    assert (result.user, result.counts) == (None, False)
    assert result.reason.startswith(words)
    assert place.bench.warnings == [("corp", result.reason)]
    assert not any(timer.is_on for timer in place.bench.timers)


def test_closed(place: Place) -> None:
    """What is under way ends, and nobody is asked any more."""
    place.bench.check(place.directory, "bob", b"secret")
    place.directory.close()
    place.bench.run()
    assert place.bench.results.pop() == Checked(None, "directory 'corp': the service stops")
    assert place.asked.cancelled == 1
    assert "the service stops" in place.bench.checked(place.directory, "bob", b"another").reason
    assert len(place.asked.asked) == 1
    assert not any(timer.is_on for timer in place.bench.timers)
