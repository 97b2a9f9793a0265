"""Who holds up the loop thread: the filter behind a stack."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from types import FrameType

from fwx.impl.boundary import attempt
from fwx.impl.chain import Member
from fwx.impl.filterhost import FilterHost
from fwx.impl.modulefamily import family_of, is_of_family
from fwx.impl.operation import Operation

_ENGINE = "fwx.impl."
_LOOPS = ("asyncio", "uvloop")


@dataclass(frozen=True, slots=True)
class Culprit:
    """What a stack says.

    :ivar filters: names of the filters that it can be: one, several of one class that cannot be told apart, or none.
    :ivar method: the method that the service called, such as ``FirewallEventHandler``; :attr:`place`, where that is
        now, in the filter's own code as far as it is known; :attr:`stack`, all of it, as a traceback shows it.
    """

    filters: tuple[str, ...]
    method: str
    place: str
    stack: str

    def __str__(self) -> str:
        names = " or ".join(map(repr, self.filters))
        return f"filter {names} in {self.method} ({self.place})" if names else f"the service itself ({self.place})"


def culprit_of(frame: FrameType, hosts: Iterable[FilterHost]) -> Culprit:
    """Find out which of *hosts* runs in *frame*, the innermost one of a thread. From any thread.

    The objects of the service that called the filter say it; where none does, as in a task, the modules do.
    """
    frames = [each for each, _ in traceback.walk_stack(frame)]
    stack = "".join(traceback.format_stack(frame))
    method = ""
    for index, each in enumerate(frames):
        if not _module(each).startswith(_ENGINE):
            continue
        if each.f_code is attempt.__code__:
            method = method or str(each.f_locals["name"])
        caller = each.f_locals.get("self")
        host = _host_behind(caller)
        if host is not None:
            method = method or ("CompleteAsyncIO" if isinstance(caller, Operation) else each.f_code.co_name)
            return Culprit((host.name,), method, _place(frames[: index + 1], host.module), stack)
    by_family = {(family_of(host.module), host.name) for host in hosts if host.module}
    for index, each in enumerate(frames):
        names = sorted(name for family, name in by_family if is_of_family(_module(each), family))
        if names:
            return Culprit(tuple(names), method or _outermost(frames[index:]), _written(each), stack)
    return Culprit((), method, _written(frames[0]), stack)


def _host_behind(caller: object) -> FilterHost | None:
    match caller:
        case FilterHost():
            return caller
        case Member():
            return caller.host
        case Operation():
            return _host_behind(caller.owner)
        case _:
            return None


def _place(frames: list[FrameType], module: str) -> str:
    """Return where the filter is: the innermost frame of its own code, else where the service called it."""
    family = family_of(module)
    own = (each for each in frames if module and is_of_family(_module(each), family))
    return _written(next(own, frames[max(len(frames) - 2, 0)]))


def _outermost(frames: list[FrameType]) -> str:
    """Return the name of the function by which the code was entered whose innermost frame is the first one."""
    family = family_of(_module(frames[0]))
    entered = takewhile(lambda each: not _is_ours(each) or is_of_family(_module(each), family), frames)
    return [each for each in entered if is_of_family(_module(each), family)][-1].f_code.co_name


def _is_ours(frame: FrameType) -> bool:
    return family_of(_module(frame)) in _LOOPS or _module(frame).startswith("fwx.")


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _written(frame: FrameType) -> str:
    return f"{frame.f_code.co_qualname}, {frame.f_code.co_filename}:{frame.f_lineno}"
