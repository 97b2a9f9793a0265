"""What is remembered of the name service's answers, for how long, and how much of it."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from fwx.impl.engine import Answer, Question
from fwx.interfaces import Hostent
from fwx.interfaces.hresult import WSAHOST_NOT_FOUND, WSANO_DATA, WSANO_RECOVERY, WSATRY_AGAIN
from fwx.name_cache import MOST_NAMES, NameCache

ADDRESS = IPv4Address("192.0.2.1")
FOUND = Answer(Hostent("www.example", (), (ADDRESS,)))


class Clock:
    now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> NameCache:
    return NameCache(clock)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [(FOUND, 60.0), (Answer(None, WSAHOST_NOT_FOUND), 10.0), (Answer(None, WSANO_DATA), 10.0)],
)
@pytest.mark.parametrize("question", ["www.example", ADDRESS])
def test_how_long(clock: Clock, cache: NameCache, question: Question, answer: Answer, seconds: float) -> None:
    assert cache.get(question) is None
    cache.put(question, answer)
    clock.now += seconds - 0.1
    assert cache.get(question) is answer
    clock.now += 0.1
    assert cache.get(question) is None
    assert len(cache) == 0


@pytest.mark.parametrize("code", [WSATRY_AGAIN, WSANO_RECOVERY, 10107])
def test_what_may_pass_is_not_remembered(cache: NameCache, code: int) -> None:
    cache.put("www.example", Answer(None, code))
    assert cache.get("www.example") is None


def test_a_later_answer_counts(clock: Clock, cache: NameCache) -> None:
    cache.put("www.example", Answer(None, WSAHOST_NOT_FOUND))
    clock.now += 5
    cache.put("www.example", FOUND)
    clock.now += 50
    assert cache.get("www.example") is FOUND


def test_the_oldest_make_room(clock: Clock) -> None:
    cache = NameCache(clock, most=3)
    for name in ("a", "b", "c"):
        cache.put(name, FOUND)
    cache.put("a", FOUND)
    cache.put("d", FOUND)
    assert {name for name in "abcd" if cache.get(name)} == {"a", "c", "d"}


def test_the_bound_holds(cache: NameCache) -> None:
    for number in range(MOST_NAMES + 100):
        cache.put(f"{number}.example", FOUND)
    assert len(cache) == MOST_NAMES
    assert cache.get("99.example") is None
    assert cache.get("100.example") is FOUND


def test_clear(cache: NameCache) -> None:
    cache.put("www.example", FOUND)
    cache.clear()
    assert cache.get("www.example") is None
