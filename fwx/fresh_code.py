"""A filter class imported anew, beside the one that is in use."""

from __future__ import annotations

import email.parser  # noqa: F401  naming a distribution needs it, and the service's account may not reach it any more
import importlib
import sys
from types import ModuleType

from fwx.filter_loader import load_filter_class, module_of
from fwx.impl.modulefamily import family_of, is_of_family


class FreshCode:
    """The class that a ``[[filter]]`` table uses, from modules that were just read from disk.

    All modules of its package are imported again; those of other packages stay what they are. The old modules live on
    in the objects made of them. Made on any thread.

    :ivar filter_class: the class.
    """

    def __init__(self, use: str) -> None:
        """Import *use* as :func:`fwx.filter_loader.load_filter_class` does; when that fails nothing has changed.

        :raises FilterLoadError: as there.
        """
        self._family = family_of(module_of(use))
        self._before = self._take_out()
        importlib.invalidate_caches()
        try:
            self.filter_class = load_filter_class(use)
        except BaseException:
            self.undo()
            raise
        for name, module in self._before.items():  # what the new code has not imported, others may use
            _put(name, sys.modules.setdefault(name, module))

    def undo(self) -> None:
        """Put the old modules back: the new ones are not used."""
        self._take_out()
        for name, module in self._before.items():
            sys.modules[name] = module
        for name, module in self._before.items():
            _put(name, module)

    def _take_out(self) -> dict[str, ModuleType]:
        names = [name for name in list(sys.modules) if is_of_family(name, self._family)]
        return {name: sys.modules.pop(name) for name in names}


def _put(name: str, module: ModuleType) -> None:
    """Have the package of *module* know it by its name, as an import does."""
    package, _, last = name.rpartition(".")
    parent = sys.modules.get(package)
    if parent is not None and parent.__dict__.get(last) is not module:
        setattr(parent, last, module)
