"""The service's end of ``fwx apply``, ``fwx rollback`` and ``fwx history``: commands of the control socket."""

from __future__ import annotations

import base64
import logging
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fwx.change import ChangeError
from fwx.change.changer import Wanted, read_file
from fwx.change.history import Document, digest_of
from fwx.config_problems import ConfigurationError
from fwx.control import ControlError
from fwx.filter_loader import FilterLoadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwx.change.changer import Changer, Outcome
    from fwx.control.server import Lines, Stream
    from fwx.impl.rejudgement import Disallowed

logger = logging.getLogger("fwx.change")

LONGEST_DOCUMENT: Final = 64 << 20
"""Bytes of a configuration that a command may bring."""

_PIECE: Final = 1 << 20


class ChangeControl:
    """Answers with lines: each has one key, which says what it is about."""

    def __init__(self, changer: Changer) -> None:
        self._changer = changer

    @property
    def streams(self) -> Mapping[str, Stream]:
        """The commands, by name."""
        commands: Mapping[str, Stream] = {
            "apply": self.apply,
            "rollback": self.rollback,
            "history": self.history,
            "show version": self.show,
        }
        return {name: partial(_answered, command) for name, command in commands.items()}

    async def apply(self, request: Mapping[str, Any], lines: Lines) -> None:
        """Do ``apply``: the document comes behind the request, ``bytes`` long, and is that of the file ``path``, an
        absolute one; without ``path`` it is the service's own file. With ``dry run`` nothing is changed.

        :raises ControlError: the request is wrong, or the document does not come.
        """
        document, path = None, request.get("path")
        if path is not None:
            size = request.get("bytes")
            if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
                raise ControlError(f"'path' is {path!r}; expected an absolute path")
            if not isinstance(size, int) or not 0 <= size <= LONGEST_DOCUMENT:
                raise ControlError(f"'bytes' is {size!r}; expected a whole number from 0 to {LONGEST_DOCUMENT}")
            document = Document(Path(path), await lines.take(size))
        await lines.send({"done": {}})
        await self._change(Wanted(document, "apply", lines.peer_uid, dry_run=bool(request.get("dry run"))), lines)

    async def rollback(self, request: Mapping[str, Any], lines: Lines) -> None:
        """Do ``rollback``: have the version ``number`` in force again, or the one before that in force."""
        try:
            number, document = await self._changer.document(_number_in(request))
        except ChangeError as error:
            raise ControlError(str(error)) from error
        await lines.send({"done": {}})
        wanted = Wanted(document, "rollback", lines.peer_uid, number, bool(request.get("dry run")))
        await self._change(wanted, lines)

    async def history(self, request: Mapping[str, Any], lines: Lines) -> None:  # noqa: ARG002  nothing is asked
        """Do ``history``: say what is in force, whether the service's own file is that, and what is kept."""
        try:
            versions = await self._changer.in_thread(self._changer.history.versions)
            own = await self._changer.in_thread(self._own_file)
        except (ChangeError, OSError) as error:
            raise ControlError(str(error)) from error
        await lines.send({"done": {}})
        running = self._changer.running
        number = None if running.version is None else running.version.number
        sha256 = digest_of(running.configuration.source.content)
        path = running.configuration.path
        about = {"version": number, "path": "" if path is None else str(path.absolute()), "sha256": sha256}
        await lines.send({"running": about})
        if own is not None:
            await lines.send({"file": {**own, "differs": own["sha256"] not in ("", sha256)}})
        for version in versions:
            await lines.send({"kept": version.told()})

    async def show(self, request: Mapping[str, Any], lines: Lines) -> None:
        """Do ``show version``: give the document of the version ``number``, as it was, in base64."""
        number = _number_in(request)
        if number is None:
            raise ControlError("'number' is missing; expected a whole number from 1 up")
        try:
            _, document = await self._changer.document(number)
        except ChangeError as error:
            raise ControlError(str(error)) from error
        await lines.send({"done": {}})
        for start in range(0, len(document.text), _PIECE):
            await lines.send({"piece": base64.b64encode(document.text[start : start + _PIECE]).decode()})

    def _own_file(self) -> dict[str, str] | None:
        path = self._changer.own_file
        if path is None:
            return None
        try:
            return {"path": str(path), "sha256": digest_of(read_file(path)), "fault": ""}
        except ChangeError as error:
            return {"path": str(path), "sha256": "", "fault": str(error)}

    async def _change(self, wanted: Wanted, lines: Lines) -> None:
        began = time.monotonic()
        try:
            outcome = await self._changer.change(wanted)
        except ConfigurationError as error:
            for problem in error.problems:
                await lines.send(
                    {
                        "problem": {
                            "file": problem.file,
                            "line": problem.line,
                            "key": problem.key,
                            "message": problem.message,
                        }
                    }
                )
            await lines.send({"refused": {"reason": "the configuration cannot be used"}})
        except (ChangeError, FilterLoadError) as error:
            await lines.send({"refused": {"reason": str(error)}})
        else:
            for line in _told(outcome, time.monotonic() - began):
                await lines.send(line)


async def _answered(command: Stream, request: Mapping[str, Any], lines: Lines) -> None:
    """Do *command*; a client that goes away meanwhile has not heard what came of it."""
    try:
        await command(request, lines)
    except OSError as error:
        logger.debug("a client that asked for %s is gone: %s", request.get("command"), error)


def _told(outcome: Outcome, seconds: float) -> Iterator[dict[str, Any]]:
    for difference in outcome.differences:
        yield {"difference": difference.told()}
    for disallowed in sorted(outcome.disallowed, key=lambda each: each.connection.id):
        yield {"ends": _ending(disallowed)}
    for note in outcome.notes:
        yield {"note": note}
    for failure in outcome.failures:
        yield {"failure": failure}
    if outcome.version is not None:
        number = outcome.version.number
        yield {"applied": {"version": number, "ended": outcome.ended, "seconds": round(seconds, 3)}}


def _ending(disallowed: Disallowed) -> dict[str, Any]:
    connection, destination = disallowed.connection, disallowed.destination
    target = getattr(connection, "target", None) if destination is None else destination.target
    return {
        "connection": connection.id,
        "client": str(connection.client_address),
        "target": "" if target is None else str(target),
        "user": connection.session.user_name,
        "rule": connection.verdict.rule
        if destination is None or destination.verdict is None
        else destination.verdict.rule,
        "reason": disallowed.reason,
    }


def _number_in(request: Mapping[str, Any]) -> int | None:
    number = request.get("number")
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
        raise ControlError(f"'number' is {number!r}; expected a whole number from 1 up")
    return number
