"""Sphinx: what the declarations know and the docstrings do not say, added to the pages of the contract.

Each interface gets its IID, its slots and the classes that implement it here; each method its IDL, its slot in the
vtable, and the table of its results (:mod:`failures`) in place of the field ``:raises COMError:``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from failures import Results, results_of, split_docstring
from zope.interface import Interface, implementedBy
from zope.interface.interface import Attribute

import fwx.filters
import fwx.impl
from fwx.idl import method_idl
from fwx.interfaces import COMInterfaceClass, IUnknown, MethodInfo, methods, query_iid

if TYPE_CHECKING:
    from sphinx.application import Sphinx

POINTER = 8
"""Bytes of one slot where addresses have 64 bits."""

_MODULES_BESIDE = ("fwx.aio.datafilter", "fwx.data_pump")


def describe_interface(interface: COMInterfaceClass) -> Iterator[str]:
    """Go through the lines that stand below the docstring of *interface*."""
    own = [method.slot for method in methods(interface) if method.interface is interface]
    iid = query_iid(interface)
    yield ""
    yield f":IID: ``{str(iid).upper()}``" if iid else ":IID: not known; only its members are used here"
    yield f":Slots: {own[0]} to {own[-1]} of the vtable" if own else ":Slots: those of its base alone"
    classes = ", ".join(f":class:`~{cls.__module__}.{cls.__qualname__}`" for cls in implementations(interface))
    yield f":Implemented by: {classes or 'no class of this version'}"
    yield ""


def describe_method(method: MethodInfo, text: str) -> Iterator[str]:
    """Go through the lines that stand for *method*, whose docstring is *text*."""
    yield f"Slot {method.slot}, at byte {method.slot * POINTER} of a 64-bit vtable:"
    yield ""
    yield ".. code-block:: c++"
    yield ""
    yield from (f"   {line}" for line in dedent(method_idl(method)).splitlines())
    yield ""
    yield from split_docstring(text)[0].split("\n")
    yield ""
    yield from _table(results_of(method, text))


def _table(results: Results) -> Iterator[str]:
    if results.rows:
        yield from (".. list-table::", "   :class: results", "   :header-rows: 1", "   :widths: 38 50 12", "")
        for row in (("Result", "Meaning", "Said by"), *((row.result, row.meaning, row.source) for row in results.rows)):
            yield from (f"   {'  -' if place else '* -'} {cell}" for place, cell in enumerate(row))
        yield ""
    if results.notes:
        yield from (f"*Failures:* {results.notes}", "")


@cache
def implementations(interface: COMInterfaceClass) -> tuple[type, ...]:
    """Return the classes of :mod:`fwx` that implement *interface*, not counting what they inherit."""
    return tuple(cls for cls in _classes() if interface in _declared(cls))


def _declared(cls: type) -> set[Any]:
    """Return the interfaces that *cls* declares itself, with their bases; ``IUnknown`` only where it stands alone."""
    own = _provided(cls) - {each for base in cls.__bases__ for each in _provided(base)}
    return own if own - {Interface} == {IUnknown} else own - {IUnknown}


def _provided(cls: type) -> set[Any]:
    declaration: Any = implementedBy
    return set(declaration(cls).flattened())


@cache
def _classes() -> tuple[type, ...]:
    packages = [(package.__path__, f"{package.__name__}.") for package in (fwx.impl, fwx.filters)]
    names = [*(found.name for where in packages for found in walk_packages(*where)), *_MODULES_BESIDE]
    modules = [import_module(name) for name in names]
    return tuple(
        cls
        for module in modules
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__
    )


def _extend(_app: Sphinx, _kind: str, _name: str, documented: Any, _options: Any, lines: list[str]) -> None:
    """Called by autodoc with the lines of each docstring, to be changed in place."""
    if isinstance(documented, COMInterfaceClass):
        lines += describe_interface(documented)
    elif isinstance(documented, Attribute) and isinstance(documented.interface, COMInterfaceClass):
        method = next((each for each in methods(documented.interface) if each.name == documented.__name__), None)
        if method is not None:  # else it is of the Python face alone
            lines[:] = describe_method(method, "\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx, which ``docs/conf.py`` tells of this extension."""
    app.connect("autodoc-process-docstring", _extend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
