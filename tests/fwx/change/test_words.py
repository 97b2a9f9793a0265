"""What ``fwx apply`` and ``fwx rollback`` print of a service's answer."""

from __future__ import annotations

from typing import Any

from fwx.change.words import words_of

ENDS = {
    "connection": 41,
    "client": "10.1.0.5:40312",
    "target": "www.example.org:443",
    "user": "alice",
    "rule": "staff",
    "reason": "no rule allows it",
}
RULE = {"kind": "rule", "name": "staff", "what": "changed", "keys": [{"key": "log", "old": None, "new": False}]}


def told(**more: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {name: [] for name in ("differences", "ends", "problems", "notes", "failures")}
    return {"dry_run": False, **nothing, "applied": None, "reason": "", **more}


def test_a_dry_run_says_which_connections_would_end() -> None:
    nobody = {**ENDS, "connection": 7, "user": "", "target": ""}
    assert list(words_of(told(dry_run=True, differences=[RULE], ends=[ENDS, nobody]))) == [
        "~ [[rule]] 'staff'\n    log: not written -> False",
        "would end: connection 41 from 10.1.0.5:40312 of alice to www.example.org:443: no rule allows it",
        "would end: connection 7 from 10.1.0.5:40312: no rule allows it",
        "dry run: nothing has been changed; connections that would end: 2",
    ]


def test_a_change_says_what_failed_after_it_and_how_many_have_ended() -> None:
    applied = {"version": 8, "ended": 1}
    assert list(words_of(told(notes=["a file is closed"], failures=["filter 'one' failed"], applied=applied))) == [
        "no table differs; the files that they name have been read again",
        "note: a file is closed",
        "failed: filter 'one' failed",
        "version 8 is in force; connections ended: 1",
    ]


def test_a_refused_change_names_each_problem() -> None:
    problem = {"file": "/etc/fwx.toml", "line": 3, "key": "rule.to", "message": "is empty"}
    assert list(words_of(told(problems=[problem], reason="the configuration cannot be used"))) == [
        "/etc/fwx.toml:3: rule.to: is empty",
        "nothing has been changed: the configuration cannot be used",
    ]
