"""Ways to break an object of the service, so that a battery's rule has something to catch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from fwx.interfaces import COMError

Break = Callable[[pytest.MonkeyPatch], None]


def only(patch: pytest.MonkeyPatch, module: ModuleType, rule: str) -> None:
    """Have the battery of *module* try one rule alone, which is quicker."""
    for name, rules in list(vars(module).items()):
        if name.endswith("_RULES"):
            patch.setattr(module, name, tuple(each for each in rules if each.name == rule))


def replaced(kind: type, name: str, new: Any) -> Break:
    """The method *name* of *kind* is *new*."""
    return lambda patch: patch.setattr(kind, name, new)


def does_nothing(kind: type, name: str) -> Break:
    """The method succeeds, and does nothing."""
    return _wrapped(kind, name, lambda original, self, bound: None)


def never_fails(kind: type, name: str) -> Break:
    """The method succeeds with nothing where it should fail."""

    def call(original: Any, self: Any, bound: inspect.BoundArguments) -> Any:
        try:
            return original(self, *bound.args, **bound.kwargs)
        except COMError:
            return None

    return _wrapped(kind, name, call)


def with_arguments(kind: type, name: str, **other: Any) -> Break:
    """The method takes other arguments than those that it is given; a function is called with the one that was."""

    def call(original: Any, self: Any, bound: inspect.BoundArguments) -> Any:
        for parameter, value in other.items():
            given = bound.arguments[parameter]
            bound.arguments[parameter] = value(given) if callable(value) else value
        return original(self, *bound.args, **bound.kwargs)

    return _wrapped(kind, name, call)


def with_result(kind: type, name: str, change: Callable[[Any], Any]) -> Break:
    """The method returns something else."""
    return _wrapped(kind, name, lambda original, self, bound: change(original(self, *bound.args, **bound.kwargs)))


def _wrapped(kind: type, name: str, call: Callable[[Any, Any, inspect.BoundArguments], Any]) -> Break:
    original = getattr(kind, name)
    signature = inspect.signature(original)

    def method(self: Any, *args: Any, **more: Any) -> Any:
        bound = signature.bind(self, *args, **more)
        bound.apply_defaults()
        del bound.arguments["self"]
        return call(original, self, _without_self(signature, bound))

    method.__signature__ = signature  # type: ignore[attr-defined]
    return lambda patch: patch.setattr(kind, name, method)


def _without_self(signature: inspect.Signature, bound: inspect.BoundArguments) -> inspect.BoundArguments:
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    return inspect.BoundArguments(signature.replace(parameters=parameters), bound.arguments)  # type: ignore[arg-type]
