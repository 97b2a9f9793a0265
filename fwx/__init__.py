"""An application-layer firewall for Linux with filters in Python, after the Forefront TMG filter interfaces."""

__version__ = "0.1.0"
