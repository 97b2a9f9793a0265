"""server-split: several inside servers share one outside port; what the client says first decides who takes it."""

from fwx.filters.server_split.filter import ServerSplit
from fwx.filters.server_split.options import SplitOptions

__all__ = ["ServerSplit", "SplitOptions"]
