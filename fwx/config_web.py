"""The values of a configuration that are about plain HTTP, checked by what will compare them."""

from __future__ import annotations

from fwx.impl.contenttype import ContentTypes
from fwx.impl.urlset import Entry


def read_url(text: str) -> str:
    """Check an entry of a set of URLs; the text stays as it was written."""
    Entry.parse(text)
    return text


def read_content_type(text: str) -> str:
    """Check ``text/html`` or ``image/*``."""
    try:
        ContentTypes([text])
    except ValueError:
        raise ValueError("is no content type") from None
    return text
