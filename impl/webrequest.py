"""What the rules hear of a plain HTTP request beside the connection that it goes over."""

from __future__ import annotations

from dataclasses import dataclass

from fwx.impl.urlset import Url


@dataclass(frozen=True, slots=True)
class WebRequest:
    """One request in plain HTTP.

    :ivar url: what is asked for. :ivar content: the type of what is answered (:func:`fwx.impl.contenttype.sent_type`);
        ``None`` while it is not known, when every type is taken to be allowed.
    :ivar is_forwarded: the proxy port forwards it, so network rules do not apply (B7.3); else a filter asks about it.
    """

    url: Url
    content: str | None = None
    is_forwarded: bool = True
