"""What a check of the doctor's found."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """The service starts, and something will not be as it should."""
    FAIL = "fail"
    """The service does not start, or does not do what it is there for."""


class Finding(NamedTuple):
    """One thing that was looked at.

    :ivar check: what, in one or two words. :ivar found: what there is.
    :ivar why: what comes of it, where it is not well. :ivar mend: the command that mends it.
    """

    check: str
    verdict: Verdict
    found: str
    why: str = ""
    mend: str = ""


def ok(check: str, found: str) -> Finding:
    return Finding(check, Verdict.OK, found)


def warn(check: str, found: str, why: str, mend: str = "") -> Finding:
    return Finding(check, Verdict.WARN, found, why, mend)


def fail(check: str, found: str, why: str, mend: str = "") -> Finding:
    return Finding(check, Verdict.FAIL, found, why, mend)
