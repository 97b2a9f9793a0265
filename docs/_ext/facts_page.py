"""Sphinx: the directive ``facts``, which is the page "Facts and tests", and a link to it for each fact that is named.

A citation of a fact that does not exist is a warning, so that ``make docs`` fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from facts import CITATION, anchor, find_citations, proofs, read_facts, render, unknown
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

PAGE = "facts"
_FILE = "facts.toml"

logger = logging.getLogger(__name__)


class FactsDirective(SphinxDirective):
    """``.. facts::`` becomes all facts with their tests."""

    def run(self) -> list[nodes.Node]:
        source = Path(self.env.srcdir)
        facts = read_facts(source / _FILE)
        citations = list(find_citations(source.parent))
        for each in unknown(facts, citations):
            logger.warning("there is no fact %s", each.number, location=f"{source.parent / each.path}:{each.line}")
        return self.parse_text_to_nodes(render(facts, proofs(citations)), allow_section_headings=True)


class FactLinks(SphinxPostTransform):
    """Make every number of a fact in running text a link to its row."""

    default_priority = 400
    formats = ("html",)

    def run(self, **_options: Any) -> None:
        if self.env.current_document.docname == PAGE:
            return
        for text in list(self.document.findall(nodes.Text)):
            parent = text.parent
            if CITATION.search(text) and not isinstance(
                parent, (nodes.FixedTextElement, nodes.literal, nodes.reference)
            ):
                parent.replace(text, list(self._linked(str(text))))

    def _linked(self, text: str) -> Iterator[nodes.Node]:
        end = 0
        uri = self.app.builder.get_relative_uri(self.env.current_document.docname, PAGE)
        for match in CITATION.finditer(text):
            yield nodes.Text(text[end : match.start()])
            yield nodes.reference("", match[0], refuri=f"{uri}#{anchor(match[0])}", internal=True)
            end = match.end()
        yield nodes.Text(text[end:])


def _always_outdated(_app: Sphinx, _env: BuildEnvironment, *_documents: set[str]) -> list[str]:
    """The page depends on all tests, so it is read anew in every build."""
    return [PAGE]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx, which ``docs/conf.py`` tells of this extension."""
    app.add_directive("facts", FactsDirective)
    app.add_post_transform(FactLinks)
    app.connect("env-get-outdated", _always_outdated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
