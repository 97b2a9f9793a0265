"""Finding filter classes by entry point or by module, and making instances of them with their options."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import date, time
from importlib import metadata
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from fwx.config_problems import KeyPath, Problem, did_you_mean
from fwx.config_source import Source
from fwx.config_validation import form_problems, keys_of, type_name
from fwx.interfaces import IFWXFilter

GROUP = "fwx.filters"
"""The entry point group in which a distribution offers its filters."""

_CLSIDS = UUID("6f0c2d0e-6c0a-5d9b-9c55-0b1f3c1d7a42")
_MODULE_AND_CLASS = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


class FilterLoadError(Exception):
    """A filter class that cannot be used. ``use`` is what was asked for, ``distribution`` who offers it, or ``""``."""

    def __init__(self, use: str, reason: str, distribution: str = "") -> None:
        self.use = use
        self.reason = reason
        self.distribution = distribution
        super().__init__(use, reason, distribution)

    def __str__(self) -> str:
        origin = f" of distribution {self.distribution}" if self.distribution else ""
        return f"filter {self.use!r}{origin} cannot be loaded: {self.reason}"


class FilterOptionsError(ValueError):
    """Options that a filter class does not accept. ``problems`` names each key and what was expected."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{problem.key}: {problem.message}" for problem in problems))


class InstalledFilter(NamedTuple):
    """An entry point of the group ``fwx.filters``.

    ``value`` is ``module:Class``. ``error`` says why the class cannot be used, and is empty when it can; ``options``
    then are its options, each with type and default.
    """

    name: str
    value: str
    distribution: str
    version: str
    error: str
    options: tuple[str, ...]


def filter_clsid(name: str) -> UUID:
    """Return the CLSID of the instance that a configuration calls *name*: one ``[[filter]]`` table, one CLSID."""
    return uuid5(_CLSIDS, name)


def installed_filters() -> list[InstalledFilter]:
    """Load every entry point of the group, for ``fwx filters``. Sorted by name; one that fails carries its error."""
    return sorted(_installed(entry_point) for entry_point in metadata.entry_points(group=GROUP))


def inspect_filter(use: str) -> InstalledFilter:
    """Load *use* as :func:`load_filter_class` does, for ``fwx filters --config``; a failure is in the result."""
    try:
        return _installed(_entry_point(use))
    except FilterLoadError as failure:
        return InstalledFilter(use, "", "", "", failure.reason, ())


def _installed(entry_point: metadata.EntryPoint) -> InstalledFilter:
    error, options = "", tuple[str, ...]()
    try:
        options = describe_options(_load(entry_point.name, entry_point))
    except FilterLoadError as failure:
        error = failure.reason
    name, version = _distribution(entry_point)
    return InstalledFilter(entry_point.name, entry_point.value, name, version, error, options)


def load_filter_class(use: str) -> type:
    """Import the filter class *use*: the name of an entry point, or ``module:Class``.

    :raises FilterLoadError: there is no such entry point, two distributions offer it, the import fails, or what it
        yields is no class that implements ``IFWXFilter``.
    """
    return _load(use, _entry_point(use))


def module_of(use: str) -> str:
    """Return the name of the module that *use* names, which is not imported.

    :raises FilterLoadError: as :func:`load_filter_class`.
    """
    return _entry_point(use).value.partition(":")[0]


def _entry_point(use: str) -> metadata.EntryPoint:
    if ":" in use:
        if not _MODULE_AND_CLASS.fullmatch(use):
            raise FilterLoadError(use, "expected the name of an entry point, or module:Class")
        return metadata.EntryPoint(name=use, value=use, group=GROUP)
    group = metadata.entry_points(group=GROUP)
    found = list(group.select(name=use))
    if not found:
        hint = did_you_mean(use, group.names) or "; expected an entry point that 'fwx filters' lists, or module:Class"
        raise FilterLoadError(use, f"no distribution offers it in the entry point group {GROUP}{hint}")
    if len(found) > 1:
        offers = " and ".join(sorted(f"{entry_point.value} of {_offered_by(entry_point)}" for entry_point in found))
        raise FilterLoadError(use, f"it is offered twice: {offers}; write module:Class instead")
    return found[0]


def _offered_by(entry_point: metadata.EntryPoint) -> str:
    return " ".join(part for part in _distribution(entry_point) if part)


def _distribution(entry_point: metadata.EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution behind *entry_point*, by its top-level package if need be."""
    if entry_point.dist is not None:
        return entry_point.dist.name, entry_point.dist.version
    package = entry_point.value.partition(":")[0].partition(".")[0]
    names = metadata.packages_distributions().get(package)
    return (names[0], metadata.version(names[0])) if names else ("", "")


def _load(use: str, entry_point: metadata.EntryPoint) -> type:
    try:
        loaded = entry_point.load()
    except (Exception, SystemExit) as error:
        reason = f"importing {entry_point.value} raised {type(error).__name__}: {error}"
        raise FilterLoadError(use, reason, _offered_by(entry_point)) from error
    fault = _fault_of(loaded)
    if fault:
        raise FilterLoadError(use, f"{entry_point.value} {fault}", _offered_by(entry_point))
    filter_class: type = loaded
    return filter_class


def _fault_of(loaded: object) -> str:
    if not isinstance(loaded, type):
        return f"is {loaded!r}; expected a class"
    if not IFWXFilter.implementedBy(loaded):
        return "does not implement IFWXFilter; expected @implementer(IFWXFilter) on the class"
    options = getattr(loaded, "Options", None)
    if options is not None and not (isinstance(options, type) and issubclass(options, BaseModel)):
        return f"has Options {options!r}; expected a class derived from fwx.sdk.FilterOptions"
    return ""


def make_filter(filter_class: type, options: Mapping[str, Any]) -> IFWXFilter:
    """Make an instance of *filter_class*, which :func:`load_filter_class` returned, for one ``[[filter]]`` table.

    The constructor gets an instance of the class's ``Options``, or nothing when it has none. What the constructor
    raises passes through.

    :raises FilterOptionsError: *options* do not fit.
    """
    problems = option_problems(filter_class, options, Source(data=options))
    if problems:
        raise FilterOptionsError(problems)
    factory: Callable[..., IFWXFilter] = filter_class
    model = _options_class(filter_class)
    return factory() if model is None else factory(_validated(model, options))


def read_options(owner: type, options: Mapping[str, Any]) -> BaseModel | None:
    """Return *options*, which fit, as what *owner* calls its ``Options``; ``None`` where it has none."""
    model = _options_class(owner)
    return None if model is None else _validated(model, options)


def option_problems(
    filter_class: type, options: Mapping[str, Any], source: Source, root: KeyPath = ()
) -> list[Problem]:
    """Return what is wrong with *options*, which stand (or would stand) at *root* in *source*."""
    model = _options_class(filter_class)
    if model is None:
        message = f"unknown option; {filter_class.__name__} has no options"
        return [source.problem((*root, name), message) for name in options]
    try:
        _validated(model, options)
    except ValidationError as error:
        return form_problems(error, model, source, root)
    return []


def describe_options(filter_class: type) -> tuple[str, ...]:
    """Return the options of *filter_class*, such as ``alert_on: str = 'EICAR'``."""
    model = _options_class(filter_class)
    if model is None:
        return ()
    return tuple(f"{name}: {type_name(field.annotation)}{_default_of(field)}" for name, field in keys_of(model).items())


def _default_of(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    return f" = {field.default!r}" if field.default_factory is None else " = ..."


def _options_class(filter_class: type) -> type[BaseModel] | None:
    model: type[BaseModel] | None = getattr(filter_class, "Options", None)
    return model


def _validated(model: type[BaseModel], options: Mapping[str, Any]) -> BaseModel:
    """Validate in JSON mode: as strict, but an array may be a tuple, a text a path or an enumeration's value."""
    return model.model_validate_json(json.dumps(dict(options), default=_text_of_time))


def _text_of_time(value: object) -> str:
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(f"{value!r} is no TOML value")
