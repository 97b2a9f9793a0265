"""What the name service said a short while ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from fwx.impl.engine import Answer, Question
from fwx.interfaces.hresult import WSAHOST_NOT_FOUND, WSANO_DATA

ANSWER_SECONDS: Final = 60.0
NEGATIVE_SECONDS: Final = 10.0
MOST_NAMES: Final = 4096

# How long an outcome is remembered, by its Windows error; one that is not here may be another one next time.
_SECONDS: Final = MappingProxyType(
    {0: ANSWER_SECONDS, WSAHOST_NOT_FOUND: NEGATIVE_SECONDS, WSANO_DATA: NEGATIVE_SECONDS}
)


class NameCache:
    """Answers by question, each for a time, and a bounded number of them; the oldest make room. For one thread."""

    def __init__(self, clock: Callable[[], float], most: int = MOST_NAMES) -> None:
        """*clock* gives seconds that only grow."""
        self._clock = clock
        self._most = most
        self._answers: OrderedDict[Question, tuple[float, Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, question: Question) -> Answer | None:
        found = self._answers.get(question)
        if found is None:
            return None
        until, answer = found
        if self._clock() < until:
            return answer
        del self._answers[question]
        return None

    def put(self, question: Question, answer: Answer) -> None:
        """Remember *answer*, unless it is a failure that may pass."""
        seconds = _SECONDS.get(answer.code)
        if seconds is None:
            return
        self._answers[question] = (self._clock() + seconds, answer)
        self._answers.move_to_end(question)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def clear(self) -> None:
        self._answers.clear()
