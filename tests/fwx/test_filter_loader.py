from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AfterValidator, Field, ValidationError

from fwx.change.parts import read_parts
from fwx.config import load
from fwx.filter_loader import (
    FilterLoadError,
    FilterOptionsError,
    describe_options,
    filter_clsid,
    inspect_filter,
    installed_filters,
    load_filter_class,
    make_filter,
)
from fwx.filter_options import FilterOptions
from fwx.impl.alert import Alerts, Category, Severity
from fwx.impl.fault import FaultReporter
from fwx.interfaces import IFWXFilter

MODULE = """
from __future__ import annotations

import datetime
import enum
import pathlib

import pydantic
from zope.interface import implementer

from fwx.filter_options import FilterOptions
from fwx.interfaces import IFWXFilter


class Mode(enum.Enum):
    FAST = "fast"


class Words(FilterOptions):
    least: int = pydantic.Field(gt=0)
    mode: Mode = Mode.FAST
    names: tuple[str, ...] = ()
    folder: pathlib.Path | None = None
    since: datetime.date | None = None
    ratio: float = 1.0


@implementer(IFWXFilter)
class Plain:
    pass


@implementer(IFWXFilter)
class WithOptions:
    Options = Words

    def __init__(self, options: Words) -> None:
        self.options = options


@implementer(IFWXFilter)
class BadOptions:
    Options = 3


class NoFilter:
    pass


instance = Plain()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """The function that installs a distribution of one module, fwx_probe, with entry points."""

    def add(distribution: str, entry_points: dict[str, str], *, text: str = MODULE) -> None:
        metadata = tmp_path / f"{distribution}-1.5.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        (metadata / "top_level.txt").write_text("fwx_probe\n")
        lines = [f"{name} = {value}" for name, value in entry_points.items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[fwx.filters]", *lines, ""]))
        (tmp_path / "fwx_probe.py").write_text(text)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    yield add
    sys.modules.pop("fwx_probe", None)


def test_a_filter_is_found_by_entry_point_and_by_module(install: Callable[..., None]) -> None:
    install("probe", {"probe-plain": "fwx_probe:Plain"})
    loaded = load_filter_class("probe-plain")
    assert loaded.__name__ == "Plain"
    assert load_filter_class("fwx_probe:Plain") is loaded


@pytest.mark.parametrize("wanted", [False, True])
def test_a_filter_without_a_table_is_not_even_loaded(
    install: Callable[..., None], tmp_path: Path, wanted: bool
) -> None:
    """B1.5: it is installed, and no table of the configuration asks for it."""
    install("probe", {"probe-plain": "fwx_probe:Plain"})
    tables = {"smtp": "smtp"} | ({"probe": "probe-plain"} if wanted else {})
    path = tmp_path / "fwx.toml"
    path.write_text("".join(f'[[filter]]\nname = "{name}"\nuse = "{use}"\n' for name, use in tables.items()))
    event = Alerts(time.time, ()).define("fault", Severity.ERROR, Category.OTHER, source="fwx")
    parts = read_parts(load(path), FaultReporter(event), event)
    assert [host.name for host in parts.filters.values()] == list(tables)
    assert ("fwx_probe" in sys.modules) is wanted


REFUSED = [
    ("probe-plan", "no distribution offers it in the entry point group fwx.filters; did you mean 'probe-plain'?"),
    ("zzz", "in the entry point group fwx.filters; expected an entry point that 'fwx filters' lists, or module:Class"),
    ("fwx_probe:", "expected the name of an entry point, or module:Class"),
    ("absent_module:Plain", "absent_module:Plain raised ModuleNotFoundError: No module named 'absent_module'"),
    ("fwx_probe:Absent", "fwx_probe:Absent raised AttributeError: module 'fwx_probe' has no attribute 'Absent'"),
    ("fwx_probe:NoFilter", "does not implement IFWXFilter; expected @implementer(IFWXFilter) on the class"),
    ("fwx_probe:BadOptions", "has Options 3; expected a class derived from fwx.sdk.FilterOptions"),
    ("fwx_probe:instance", "expected a class"),
    ("probe-none", "distribution probe 1.5 cannot be loaded: fwx_probe:NoFilter does not implement"),
    ("fwx_probe:NoFilter", "distribution probe 1.5 cannot be loaded"),
]


@pytest.mark.parametrize(("use", "reason"), REFUSED)
def test_what_is_no_filter_is_refused(install: Callable[..., None], use: str, reason: str) -> None:
    install("probe", {"probe-plain": "fwx_probe:Plain", "probe-none": "fwx_probe:NoFilter"})
    with pytest.raises(FilterLoadError, match=re.escape(reason)) as caught:
        load_filter_class(use)
    assert str(caught.value).startswith(f"filter {use!r}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import sys; sys.exit(3)", "importing fwx_probe:Plain raised SystemExit: 3"),
        ("def (", "importing fwx_probe:Plain raised SyntaxError: invalid syntax (fwx_probe.py, line 1)"),
        ("1 / 0", "importing fwx_probe:Plain raised ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_does_not_import_is_reported(install: Callable[..., None], text: str, reason: str) -> None:
    install("probe", {"probe-plain": "fwx_probe:Plain"}, text=text)
    with pytest.raises(FilterLoadError) as caught:
        load_filter_class("probe-plain")
    assert (caught.value.use, caught.value.distribution, caught.value.reason) == ("probe-plain", "probe 1.5", reason)


def test_a_name_that_two_distributions_offer_is_refused(install: Callable[..., None]) -> None:
    install("probe", {"probe-plain": "fwx_probe:Plain"})
    install("other", {"probe-plain": "fwx_probe:WithOptions"})
    reason = "it is offered twice: fwx_probe:Plain of probe 1.5 and fwx_probe:WithOptions of other 1.5"
    with pytest.raises(FilterLoadError, match=re.escape(reason)):
        load_filter_class("probe-plain")


def test_installed_filters_lists_good_and_bad(install: Callable[..., None]) -> None:
    install("probe", {"probe-options": "fwx_probe:WithOptions", "probe-none": "fwx_probe:NoFilter"})
    none, options = (found for found in installed_filters() if found.name.startswith("probe-"))
    assert none[:4] == ("probe-none", "fwx_probe:NoFilter", "probe", "1.5")
    assert none.error.startswith("fwx_probe:NoFilter does not implement IFWXFilter")
    assert none.options == ()
    assert (options.name, options.error) == ("probe-options", "")
    assert options.options[0] == "least: int"
    assert options.options[2] == "names: tuple[str, ...] = ()"


def test_inspecting_a_filter_that_is_not_there() -> None:
    found = inspect_filter("no-such-filter")
    assert found[:4] == ("no-such-filter", "", "", "")
    assert found.error.startswith("no distribution offers it")


def test_a_filter_without_options_is_made_without(install: Callable[..., None]) -> None:
    install("probe", {})
    filter_class = load_filter_class("fwx_probe:Plain")
    assert IFWXFilter.providedBy(make_filter(filter_class, {}))
    assert describe_options(filter_class) == ()
    with pytest.raises(FilterOptionsError, match=r"^x: unknown option; Plain has no options$"):
        make_filter(filter_class, {"x": 1})


def test_a_filter_gets_its_options_as_one_frozen_object(install: Callable[..., None]) -> None:
    install("probe", {})
    options = {"least": 3, "mode": "fast", "names": ["a", "b"], "folder": "/var/x", "ratio": 2}
    instance: Any = make_filter(load_filter_class("fwx_probe:WithOptions"), options)
    assert (instance.options.least, instance.options.mode.name) == (3, "FAST")
    assert (instance.options.names, instance.options.folder) == (("a", "b"), Path("/var/x"))
    with pytest.raises(ValidationError, match="frozen"):
        instance.options.least = 4


def test_a_date_of_toml_fits_a_date(install: Callable[..., None]) -> None:
    install("probe", {})
    instance: Any = make_filter(load_filter_class("fwx_probe:WithOptions"), {"least": 1, "since": date(2026, 1, 2)})
    assert instance.options.since == date(2026, 1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "least: is missing; expected int"),
        ({"least": "3"}, "least: '3' is a string, not a whole number"),
        ({"least": True}, "least: true is a boolean, not a whole number"),
        ({"least": 1, "leest": 1}, "leest: unknown key 'leest'; did you mean 'least'?"),
        ({"least": 1, "names": ["a", 2]}, "names: 2 is a whole number, not a string"),
        ({"least": 1, "mode": "slow"}, "mode: 'slow' does not fit; expected to be 'fast'"),
        ({"least": 0}, "least: 0 does not fit; expected to be greater than 0"),
        ({"least": 1, "since": "x"}, "since: 'x' does not fit; expected to be a valid date"),
        ({"least": 1, "folder": 2}, "folder: 2 is a whole number, not a string"),
    ],
)
def test_options_that_do_not_fit(install: Callable[..., None], options: dict[str, object], message: str) -> None:
    install("probe", {})
    with pytest.raises(FilterOptionsError) as caught:
        make_filter(load_filter_class("fwx_probe:WithOptions"), options)
    assert str(caught.value).startswith(message)


def test_options_have_defaults_that_can_be_shown() -> None:
    class Many(FilterOptions):
        a: int
        b: list[str] = ["x"]  # noqa: RUF012 (pydantic copies it)
        c: str | None = None
        d: tuple[Annotated[str, AfterValidator(str.upper)], ...] = ()
        e: dict[str, Literal["x", 1]] | None = None
        f: Annotated[int | None, Field(ge=1)] = 1

    class Holder:
        Options = Many

    assert describe_options(Holder) == (
        "a: int",
        "b: list[str] = ['x']",
        "c: str | None = None",
        "d: tuple[str, ...] = ()",
        "e: dict[str, Literal['x', 1]] | None = None",
        "f: int | None = 1",
    )


def test_a_clsid_belongs_to_the_name_for_ever() -> None:
    assert filter_clsid("monitor") == UUID("19c76f09-a539-53c9-b37b-c57233ca3f95")
    assert filter_clsid("monitor") != filter_clsid("Monitor")
