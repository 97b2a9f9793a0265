"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from fwx import __version__

project = "fwx"
author = "the fwx project"
release = version = __version__

sys.path.insert(0, str(Path(__file__).with_name("_ext")))
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinxcontrib.zopeext.autointerface",
    "com_reference",
    "facts_page",
    "paths_page",
]
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
    ("py:obj", r"fwx\..*\.(T|Item)"),
]


def find_elsewhere(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.reference | None:
    """Resolve what a docstring calls by its bare name, as its module does, and another module's page documents.

    Of several the one in the contract is meant.
    """
    domain = env.domains.python_domain
    found = [name for name in domain.objects if name.endswith(f".{node['reftarget']}")]
    if len(found) > 1:
        found = [name for name in found if name.startswith("fwx.interfaces.")]
    if node.get("refdomain") != "py" or len(found) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], found[0], node, contnode)


def setup(app: Sphinx) -> None:
    """Resolve bare names; take autointerface's script out of the pages: it needs jQuery, which they do not load."""
    app.connect("missing-reference", find_elsewhere)
    app.registry.js_files[:] = [entry for entry in app.registry.js_files if entry[0]]
