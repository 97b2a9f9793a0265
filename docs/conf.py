"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

from sphinx.application import Sphinx

from fwx import __version__

project = "fwx"
author = "the fwx project"
release = version = __version__

extensions = ["sphinx.ext.autodoc", "sphinxcontrib.zopeext.autointerface"]
html_theme = "furo"
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": True}

nitpicky = True
# Names of other projects: looking them up in their inventories would make the build need a network.
nitpick_ignore_regex = [
    ("py:.*", r"(builtins|enum|ipaddress|pydantic|socket|typing|uuid|zope)(\..*)?"),
    # The private base that the two tagged unions share, and type variables.
    ("py:class", r"fwx\.interfaces\.structs\._Union"),
    ("py:obj", r"fwx\..*\.T"),
]


def setup(app: Sphinx) -> None:
    """Take autointerface's script out of the pages: it needs jQuery, which they do not load."""
    app.registry.js_files[:] = [entry for entry in app.registry.js_files if entry[0]]
