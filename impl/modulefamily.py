"""Which modules are one piece of code: those of one package, or one of the filters that ship."""

from __future__ import annotations

# The packages that hold more than one filter: what is under each of them is a family of its own.
_SHARED = ("fwx.filters.", "fwx.")


def family_of(module: str) -> str:
    """Return the name under which everything lies that belongs to *module*: its top-level package.

    Of a filter that ships it is its own module or package in ``fwx.filters``; any other module of ``fwx`` stands alone.
    """
    for shared in _SHARED:
        if module.startswith(shared):
            return module if shared == "fwx." else shared + module.removeprefix(shared).partition(".")[0]
    return module.partition(".")[0]


def is_of_family(module: str, family: str) -> bool:
    """Tell whether *module* belongs to *family*, which :func:`family_of` returned."""
    return module == family or module.startswith(f"{family}.")
