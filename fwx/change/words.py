"""What a command prints of a change: as words, or as one JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fwx.change.diff import Difference
from fwx.config_problems import Problem

_LISTS: Final = {
    "difference": "differences",
    "ends": "ends",
    "problem": "problems",
    "note": "notes",
    "failure": "failures",
}


def document_of(lines: Iterable[Mapping[str, Any]], *, dry_run: bool) -> dict[str, Any]:
    """Return what the *lines* of the service's answer say, as one document."""
    told: dict[str, Any] = {"dry_run": dry_run, **{name: [] for name in _LISTS.values()}}
    told |= {"applied": None, "reason": ""}
    for line in lines:
        for key, value in line.items():
            if key in _LISTS:
                told[_LISTS[key]].append(value)
            elif key == "applied":
                told["applied"] = value
            elif key == "refused":
                told["reason"] = value["reason"]
    if not dry_run and told["applied"] is None and not told["reason"]:
        told["reason"] = "the service ended before it answered"
    return told


def words_of(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that say what :func:`document_of` has."""
    for problem in told["problems"]:
        yield str(Problem(problem["file"], problem["line"], problem["key"], problem["message"]))
    if told["reason"]:
        yield f"nothing has been changed: {told['reason']}"
        return
    for difference in told["differences"]:
        yield str(Difference.read(difference))
    if not told["differences"]:
        yield "no table differs; the files that they name have been read again"
    yield from (f"note: {note}" for note in told["notes"])
    yield from map(_ending, told["ends"])
    if told["dry_run"]:
        yield f"dry run: nothing has been changed; connections that would end: {len(told['ends'])}"
        return
    for failure in told["failures"]:
        yield f"failed: {failure}"
    applied = told["applied"]
    yield f"version {applied['version']} is in force; connections ended: {applied['ended']}"


def _ending(ends: Mapping[str, Any]) -> str:
    user = f" of {ends['user']}" if ends["user"] else ""
    target = f" to {ends['target']}" if ends["target"] else ""
    return f"would end: connection {ends['connection']} from {ends['client']}{user}{target}: {ends['reason']}"
