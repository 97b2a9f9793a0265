"""Sphinx: the directive ``paths``, which is the page "Ways through the service" below its introduction."""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from paths import read, render
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_FILE = "paths.csv"


class PathsDirective(SphinxDirective):
    """``.. paths::`` becomes the tables of ``docs/paths.csv``."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(_FILE)
        return self.parse_text_to_nodes(render(read(Path(self.env.srcdir) / _FILE)), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx, which ``docs/conf.py`` tells of this extension."""
    app.add_directive("paths", PathsDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
