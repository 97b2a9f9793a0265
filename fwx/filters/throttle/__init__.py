"""throttle: holds each connection, or all of one user or address, to so many bytes a second."""

from fwx.filters.throttle.filter import Throttle, ThrottleOptions

__all__ = ["Throttle", "ThrottleOptions"]
