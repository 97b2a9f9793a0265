"""connector: opens the secondary connections that the two sides of a line protocol agree on, and nothing else."""

from fwx.filters.connector.filter import Connector, ConnectorOptions

__all__ = ["Connector", "ConnectorOptions"]
