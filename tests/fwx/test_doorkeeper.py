"""Attempts to authenticate: checked in turn, counted, refused for a while after too many."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fwx.doorkeeper import (
    MOST_ATTEMPTS,
    MOST_ATTEMPTS_OF_USER,
    Doorkeeper,
    GuardedUsers,
    address_gate,
    user_gate,
)
from fwx.impl.authentication import Checked
from fwx.impl.user import FWXAuthenticatedUser
from fwx.limits import AttemptLimits
from fwx.proxy import Credentials

RIGHT = Checked(FWXAuthenticatedUser("ann"))
WRONG = Checked(None, "wrong", counts=True)
BUSY = Checked(None, "busy")


class Hall:
    """A doorkeeper, whose authenticator answers when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[Callable[[Checked], None]] = []
        self.posted: list[Callable[[], None]] = []
        self.results: dict[int, Checked] = {}
        clock = lambda: self.now  # noqa: E731
        self.address_gate = address_gate(AttemptLimits(MOST_ATTEMPTS, 60, clock), self.post)
        self.user_gate = user_gate(AttemptLimits(MOST_ATTEMPTS_OF_USER, 60, clock), self.post)
        users = GuardedUsers(self, self.user_gate)  # type: ignore[arg-type]
        self.keeper = Doorkeeper(users, self.address_gate)
        self._numbers = iter(range(10_000))

    # The authenticator.

    def check(self, name: str, password: bytes, done: Callable[[Checked], None]) -> Callable[[], None]:
        self.asked.append(done)
        return lambda: None

    def post(self, function: Callable[..., None], *args: object) -> None:
        self.posted.append(lambda: function(*args))

    # The clients.

    def come(self, address: str = "10.0.0.1", user: str = "ann") -> Callable[[], None]:
        number = next(self._numbers)
        return self.keeper.check(
            address, Credentials(user, b"%d" % number), lambda result: self.results.__setitem__(number, result)
        )

    def answer(self, result: Checked, count: int = 1) -> None:
        for _ in range(count):
            self.asked.pop(0)(result)

    def run(self) -> None:
        posted, self.posted = self.posted, []
        for each in posted:
            each()


@pytest.fixture
def hall() -> Hall:
    return Hall()


def test_right_and_wrong(hall: Hall) -> None:
    hall.come()
    hall.come()
    hall.answer(RIGHT)
    hall.answer(WRONG)
    assert hall.results == {0: RIGHT, 1: WRONG}


def test_refused_after_too_many(hall: Hall) -> None:
    """For a minute, the right password too; other addresses are not touched. The reason says so."""
    for _ in range(MOST_ATTEMPTS):
        hall.come()
        hall.answer(WRONG)
    hall.come()
    assert hall.asked == []
    assert MOST_ATTEMPTS not in hall.results, "it is told later"
    hall.run()
    assert hall.results[MOST_ATTEMPTS] == Checked(None, "10 wrong passwords came from this address within 60 s")
    hall.come("10.0.0.2")
    assert len(hall.asked) == 1
    hall.now += 60
    hall.come()
    assert len(hall.asked) == 2


def test_what_is_under_way_counts(hall: Hall) -> None:
    """A hundred at a time are no more guesses than one after the other."""
    for _ in range(100):
        hall.come()
    assert len(hall.asked) == MOST_ATTEMPTS
    hall.answer(WRONG, MOST_ATTEMPTS)
    assert hall.asked == []
    hall.run()
    assert len(hall.results) == 100
    assert [result for result in hall.results.values() if result == WRONG] == [WRONG] * MOST_ATTEMPTS


def test_a_crowd_with_right_passwords_waits_and_is_let_in(hall: Hall) -> None:
    for _ in range(100):
        hall.come()
    while hall.asked:
        assert len(hall.asked) <= MOST_ATTEMPTS
        hall.answer(RIGHT)
    assert list(hall.results.values()) == [RIGHT] * 100


def test_what_was_no_guess_does_not_count(hall: Hall) -> None:
    for _ in range(50):
        hall.come()
        hall.answer(BUSY)
    assert set(hall.results.values()) == {BUSY}


def test_cancelled(hall: Hall) -> None:
    """Who leaves hears nothing; a guess that is under way still counts, one that waited is not made."""
    cancels = [hall.come() for _ in range(MOST_ATTEMPTS + 2)]
    for cancel in cancels:
        cancel()
    hall.answer(WRONG, MOST_ATTEMPTS)
    hall.run()
    assert hall.results == {}
    assert hall.asked == []
    hall.come()
    hall.run()
    assert not hall.asked


def test_nothing_is_kept(hall: Hall) -> None:
    for number in range(20):
        hall.come(f"10.0.1.{number}")()
    hall.answer(RIGHT, 20)
    assert (len(hall.address_gate), len(hall.user_gate)) == (0, 0)


def test_one_user_from_many_addresses(hall: Hall) -> None:
    """The limit of a user holds wherever the guesses come from and however the name is written; others are let in."""
    for number in range(MOST_ATTEMPTS_OF_USER):
        hall.come(f"10.0.1.{number}", ("ann", "ANN", " ann ")[number % 3])
        hall.answer(WRONG)
    hall.come("10.0.2.1", "Ann")
    assert hall.asked == []
    hall.run()
    assert hall.results[MOST_ATTEMPTS_OF_USER].reason == "30 wrong passwords came for this user within 60 s"
    hall.come("10.0.2.1", "bob")
    hall.answer(RIGHT)
    assert hall.results[MOST_ATTEMPTS_OF_USER + 1] == RIGHT
    hall.now += 60
    hall.come("10.0.2.1", "ann")
    hall.answer(RIGHT)
    assert (len(hall.address_gate), len(hall.user_gate)) == (0, 0)


def test_long_names_are_not_kept(hall: Hall) -> None:
    """Whoever guesses with names of 64 KiB does not fill the memory; they share the limit of how they begin."""
    for number in range(MOST_ATTEMPTS_OF_USER):
        hall.come(f"10.0.1.{number}", "x" * 65536 + str(number))
        hall.answer(WRONG)
    hall.come("10.0.2.1", "x" * 256)
    assert hall.asked == []
    hall.run()
    assert "for this user" in hall.results[MOST_ATTEMPTS_OF_USER].reason


def test_guesses_for_one_user_wait_their_turn(hall: Hall) -> None:
    """A hundred addresses at a time guess no more often than one after the other; with the right password all go in."""
    for number in range(100):
        hall.come(f"10.0.1.{number}")
    assert len(hall.asked) == MOST_ATTEMPTS_OF_USER
    while hall.asked:
        hall.answer(RIGHT)
    assert list(hall.results.values()) == [RIGHT] * 100
