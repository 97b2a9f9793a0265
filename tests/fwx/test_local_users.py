"""Users of the configuration: passwords checked elsewhere than on the loop, right ones remembered for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable

import argon2
import pytest

from fwx import local_users, remembered_checks
from fwx.impl.authentication import Checked, IPasswordAuthenticator
from fwx.interfaces import E_OUTOFMEMORY, COMError
from fwx.local_users import LocalUser, LocalUsers
from fwx.workers import WorkerPool

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
ANN = LocalUser("ann", ("staff", "night"), CHEAP.hash("secret"))
ZOE = LocalUser("zoë", (), CHEAP.hash("gehëim"))


class Workbench:
    """Work that is done when the test says so, and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.work: list[Callable[[], object]] = []
        self.posted: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self.users = LocalUsers((ANN, ZOE), self, self.post, lambda: self.now)
        self.results: list[Checked] = []

    def submit(self, work: Callable[[], object]) -> None:
        self.work.append(work)

    def post(self, function: Callable[..., None], *args: object) -> None:
        self.posted.append((function, args))

    def check(self, name: str, password: bytes) -> Callable[[], None]:
        return self.users.check(name, password, self.results.append)

    def run(self) -> int:
        """Do all there is to do; return how many passwords were hashed."""
        work, self.work = self.work, []
        for each in work:
            each()
        posted, self.posted = self.posted, []
        for function, args in posted:
            function(*args)
        return len(work)

    def checked(self, name: str, password: bytes) -> Checked:
        self.check(name, password)
        assert self.results == [], "it is never done inside the call"
        self.run()
        return self.results.pop()


@pytest.fixture
def bench() -> Workbench:
    return Workbench()


def test_it_provides_its_interface(bench: Workbench) -> None:
    assert IPasswordAuthenticator.providedBy(bench.users)


@pytest.mark.parametrize(("name", "password"), [("ann", b"secret"), ("zoë", "gehëim".encode())])
def test_right(bench: Workbench, name: str, password: bytes) -> None:
    user = bench.checked(name, password).user
    assert user is not None
    assert user.Username == name
    assert user.Namespace == "fwx"
    assert user.UserGroups == ("staff;night" if name == "ann" else "")


@pytest.mark.parametrize(
    ("name", "password"),
    [("ann", b"wrong"), ("ann", b""), ("Ann", b"secret"), ("bob", b"secret"), ("", b""), ("\udcff", b"\xff")],
)
def test_wrong(bench: Workbench, name: str, password: bytes) -> None:
    """Unknown or wrong, it is the same answer, and the same work: one hash with the parameters of the users'."""
    result = bench.checked(name, password)
    assert result == Checked(None, "the user or the password is wrong", counts=True)
    bench.check(name, password)
    assert bench.run() == 1


def test_an_unknown_user_costs_what_a_known_one_costs(bench: Workbench) -> None:
    account = bench.users._nobody
    assert argon2.extract_parameters(account.password) == argon2.extract_parameters(ANN.password)
    assert LocalUsers((), bench, bench.post, lambda: 0.0)._nobody.password.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_what_was_right_is_remembered_for_a_while(bench: Workbench) -> None:
    first = bench.checked("ann", b"secret")
    bench.now += local_users.REMEMBERED_SECONDS - 0.1
    bench.check("ann", b"secret")
    assert bench.run() == 0
    assert bench.results.pop().user is first.user
    bench.now += 0.1
    bench.check("ann", b"secret")
    assert bench.run() == 1


def test_what_is_remembered_is_bounded(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_checks, "MOST_REMEMBERED", 1)
    bench.checked("ann", b"secret")
    bench.checked("zoë", "gehëim".encode())
    bench.check("zoë", "gehëim".encode())
    assert bench.run() == 0
    bench.check("ann", b"secret")
    assert bench.run() == 1


def test_the_name_and_the_password_do_not_run_together(bench: Workbench) -> None:
    bench.checked("ann", b"secret")
    bench.results.clear()
    assert bench.checked("annsec", b"ret").user is None


def test_one_hash_for_all_who_ask_the_same_at_a_time(bench: Workbench) -> None:
    for _ in range(30):
        bench.check("ann", b"secret")
    bench.check("ann", b"other")
    assert bench.run() == 2
    assert [result.user is not None for result in bench.results] == [True] * 30 + [False]


def test_cancelled(bench: Workbench) -> None:
    cancels = [bench.check("ann", b"secret") for _ in range(2)]
    cancels[0]()
    bench.run()
    assert len(bench.results) == 1
    bench.check("ann", b"secret")()  # remembered
    bench.run()
    assert len(bench.results) == 1


def test_too_many_at_a_time(bench: Workbench) -> None:
    """Who is refused so has not guessed."""
    for number in range(remembered_checks.MOST_WAITING):
        bench.check("ann", b"%d" % number)
    bench.check("ann", b"one more")
    bench.run()
    busy, *wrong = bench.results
    assert busy == Checked(None, "256 passwords are being checked already")
    assert [result.counts for result in wrong] == [True] * remembered_checks.MOST_WAITING
    assert len(bench.users._checks) == 0


def test_no_thread(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(work: object) -> None:
        raise COMError(E_OUTOFMEMORY, "no thread can be started")

    monkeypatch.setattr(bench, "submit", refuse)
    result = bench.checked("ann", b"secret")
    assert result.user is None
    assert "could not be checked" in result.reason
    assert not result.counts
    assert len(bench.users._checks) == 0


def test_a_hash_that_cannot_be_computed() -> None:
    """More memory than there is: nobody is let in, and nothing is counted as a guess."""
    salt, digest = ANN.password.split("$")[4:]
    bench = Workbench()
    huge = LocalUser("eve", (), f"$argon2id$v=19$m=4294967295,t=1,p=1${salt}${digest}")
    bench.users = LocalUsers((huge,), bench, bench.post, lambda: 0.0)
    result = bench.checked("eve", b"secret")
    assert (result.user, result.counts) == (None, False)
    assert "could not be checked" in result.reason


@pytest.mark.parametrize("text", ["$argon2id$v=19", "$argon2id$v=19$m=65536,t=3,p=4$...", "secret", ""])
def test_no_hash(text: str) -> None:
    assert ANN.has_hash
    assert not LocalUser("eve", (), text).has_hash


def test_on_threads_of_a_pool(bench: Workbench) -> None:
    """The hashing is done off the calling thread, and the pool's threads end."""
    pool = WorkerPool(2, 2)
    told = threading.Event()
    threads: list[str] = []

    def post(function: Callable[..., None], *args: object) -> None:
        threads.append(threading.current_thread().name)
        bench.posted.append((function, args))
        told.set()

    users = LocalUsers((ANN,), pool, post, lambda: 0.0)
    users.check("ann", b"secret", bench.results.append)
    assert told.wait(10)
    assert threads != [threading.current_thread().name]
    bench.run()
    assert bench.results[0].user is not None
    pool.close()
    pool.join(10)
    assert len(pool) == 0
