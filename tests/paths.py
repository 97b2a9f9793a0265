"""Which ways through the service the tests have gone: the marker ``path``, recorded into ``docs/paths.csv``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from docs._ext import paths

OPTION = "--write-paths"
HOW = "run `make paths` (pytest -m path --write-paths) where no test is skipped, and commit docs/paths.csv"


def marked(item: pytest.Item) -> list[paths.Proof]:
    """Return what the markers of *item* say that it proves.

    :raises pytest.UsageError: a marker has another form, or a word that is not in the vocabulary.
    """
    test, _, _ = item.nodeid.partition("[")
    found = []
    for marker in item.iter_markers("path"):
        if marker.args or set(marker.kwargs) != {"entry", "exit", "transport"}:
            raise pytest.UsageError(f"{test}: expected @pytest.mark.path(entry=..., exit=..., transport=...)")
        try:
            found.append(paths.check(paths.Proof(**marker.kwargs, test=test), f"{test}: @pytest.mark.path"))
        except paths.PathError as error:
            raise pytest.UsageError(str(error)) from error
    return found


def differences(marked: Iterable[paths.Proof], listed: Iterable[paths.Proof], collected: Iterable[str]) -> list[str]:
    """Return what is marked and not listed, and the reverse, as far as the files *collected* tell."""
    there, known, files = set(marked), set(listed), set(collected)
    stale = {each for each in known - there if each.test.partition("::")[0] in files}
    return [
        *(f"marked, not listed: {', '.join(each)}" for each in paths.in_order(there - known)),
        *(f"listed, not marked: {', '.join(each)}" for each in paths.in_order(stale)),
    ]


class PathRecorder:
    """Plugin of one run of pytest: what was marked, and what of it passed.

    :ivar file: ``docs/paths.csv``.
    :ivar marked: what the markers of all collected tests say, the deselected ones too.
    :ivar collected: the files of all collected tests, relative to the source tree.
    """

    def __init__(self, file: Path, *, write: bool) -> None:
        self.file = file
        self.marked: set[paths.Proof] = set()
        self.collected: set[str] = set()
        self._write = write
        self._by_item: dict[str, list[paths.Proof]] = {}
        self._ran: set[paths.Proof] = set()
        self._passed: set[paths.Proof] = set()
        self._failed: set[paths.Proof] = set()
        self._skipped: set[paths.Proof] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Read all markers before others deselect tests."""
        for item in items:
            self.collected.add(item.nodeid.partition("::")[0])
            if proofs := marked(item):
                self._by_item[item.nodeid] = proofs
                self.marked.update(proofs)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of each phase of a marked test."""
        proofs = self._by_item.get(report.nodeid, [])
        self._ran.update(proofs)
        if report.failed:
            self._failed.update(proofs)
        elif report.skipped:
            self._skipped.update(proofs)
        elif report.passed and report.when == "call":
            self._passed.update(proofs)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the file when that was asked for; where nothing may be skipped, fail for what did not pass."""
        if session.config.option.collectonly:
            return
        if self._write:
            paths.write(self.file, self._to_write())
        elif self.unproven() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what did not pass."""
        for each in self.unproven():
            terminalreporter.write_line(f"docs/paths.csv: did not pass: {', '.join(each)}", red=True)

    def unproven(self) -> list[paths.Proof]:
        """Return what was to run here and did not pass, with whatever parameters; empty where tests may be skipped."""
        return paths.in_order(self._ran - self._proven()) if os.environ.get("FWX_CI") == "1" else []

    def _proven(self) -> set[paths.Proof]:
        return self._passed - self._failed - self._skipped

    def _to_write(self) -> set[paths.Proof]:
        """What passed; and what was listed, as long as it is marked, of tests that were skipped or did not run."""
        listed = set(paths.read(self.file)) if self.file.exists() else set()
        missing = {each for each in listed if self._is_gone(each)}
        return self._proven() | (listed - missing - self._failed)

    def _is_gone(self, proof: paths.Proof) -> bool:
        file = proof.test.partition("::")[0]
        if file in self.collected:
            return proof not in self.marked
        return not (self.file.parent.parent / file).exists()
