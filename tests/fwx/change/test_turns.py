"""The turns of threads while a configuration is read."""

from __future__ import annotations

import sys

import pytest

from fwx.change.turns import TURN_SECONDS, short_turns


def test_turns_are_short_and_as_before_afterwards() -> None:
    before = sys.getswitchinterval()
    assert before > TURN_SECONDS
    with short_turns():
        assert sys.getswitchinterval() == pytest.approx(TURN_SECONDS, rel=0.01)
    assert sys.getswitchinterval() == before


def test_turns_are_as_before_after_a_failure() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(ValueError, match="read"), short_turns():
        raise ValueError("cannot be read")
    assert sys.getswitchinterval() == before
