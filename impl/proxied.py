"""What a connection knows of the host that spoke for its client."""

from __future__ import annotations

from zope.interface import Attribute, Interface


class IProxied(Interface):
    """A connection whose client may have come through a load balancer. Had by ``IProxied(piConnection)``."""

    source_proxy = Attribute("The ``SocketAddress`` of who spoke for the client; ``None`` where nobody did.")
    proxy_header = Attribute("The PROXY header that said so; ``None`` where none came.")
