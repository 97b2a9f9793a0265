"""Recording live connections as playbooks, for ``fwx trace``.

In the service :mod:`~fwx.tracing.control` answers the control socket, and :mod:`~fwx.tracing.recorder` notes what
passes at the two ends of a connection and what its data filters call. In the command
:mod:`~fwx.tracing.conversation` puts that together, :mod:`~fwx.tracing.script` makes the steps of a playbook of it,
:mod:`~fwx.tracing.trial` plays it and :mod:`~fwx.tracing.text` writes the test.
"""

LARGEST = 1 << 20
"""Bytes that one connection's recording holds where nobody says otherwise."""

MOST_BYTES = 64 << 20
"""What may be asked for."""
