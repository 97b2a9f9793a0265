"""A filter class imported anew, beside the one that is in use."""

from __future__ import annotations

import email.parser  # noqa: F401  naming a distribution needs it, and the service's account may not reach it any more
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.machinery import BYTECODE_SUFFIXES, ModuleSpec, SourceFileLoader
from types import ModuleType

from fwx.filter_loader import load_filter_class, module_of
from fwx.impl.modulefamily import family_of, is_of_family


class FreshCode:
    """The class that a ``[[filter]]`` table uses, from modules that were just read from disk.

    All modules of its package are imported again; those of other packages stay what they are. The old modules live on
    in the objects made of them. What counts is the source: Python's own cache of it knows an edit by the second and the
    size alone. Made on any thread.

    :ivar filter_class: the class.
    """

    def __init__(self, use: str) -> None:
        """Import *use* as :func:`fwx.filter_loader.load_filter_class` does; when that fails nothing has changed.

        :raises FilterLoadError: as there.
        """
        self._family = family_of(module_of(use))
        self._before = self._take_out()
        importlib.invalidate_caches()
        finder = _SourceFinder(self._family)
        sys.meta_path.insert(0, finder)
        try:
            self.filter_class = load_filter_class(use)
        except BaseException:
            self.undo()
            raise
        finally:
            sys.meta_path.remove(finder)
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


class _SourceFinder:
    """Finds what the others find, and has the modules of one family compiled anew."""

    def __init__(self, family: str) -> None:
        self._family = family

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Called by the import system, as :meth:`importlib.abc.MetaPathFinder.find_spec`."""
        if not is_of_family(fullname, self._family):
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if type(spec.loader) is SourceFileLoader:
                    spec.loader = _UncachedLoader(spec.loader.name, spec.loader.path)
                return spec
        return None


class _UncachedLoader(SourceFileLoader):
    """Reads no bytecode, so that it compiles the source; the cache is then written over, for the next start."""

    def get_data(self, path: str) -> bytes:
        if path.endswith(tuple(BYTECODE_SUFFIXES)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return super().get_data(path)


def _put(name: str, module: ModuleType) -> None:
    """Have the package of *module* know it by its name, as an import does."""
    package, _, last = name.rpartition(".")
    parent = sys.modules.get(package)
    if parent is not None and parent.__dict__.get(last) is not module:
        setattr(parent, last, module)
