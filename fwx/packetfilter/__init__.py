"""The nftables back end of the dynamic packet filter: the service's half, the helper process, and what is between."""
