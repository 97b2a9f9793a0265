"""capture: writes the plain bytes of each connection to pcapng files, as packets that tcpdump and Wireshark read."""

from fwx.filters.capture.filter import Capture, CaptureOptions

__all__ = ["Capture", "CaptureOptions"]
