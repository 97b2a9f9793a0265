"""All checks, in the order in which a service meets what they look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fwx.config_model import Configuration
from fwx.doctor.finding import Finding, fail
from fwx.doctor.kernel_filter import GUARDED, NAME, TABLES, check_guarded, check_nftables, check_tables
from fwx.doctor.listening import NAME as PORTS
from fwx.doctor.listening import check_ports
from fwx.doctor.machine import Machine
from fwx.doctor.privileges import NAME as PRIVILEGES
from fwx.doctor.privileges import check_privileges
from fwx.doctor.resources import CLOCK, DESCRIPTORS, STATE, check_clock, check_descriptors, check_state
from fwx.doctor.transparent import NAME as TRANSPARENT
from fwx.doctor.transparent import check_transparent

Check = Callable[[Configuration, Machine], Iterator[Finding]]

CHECKS: tuple[tuple[str, Check], ...] = (
    (PRIVILEGES, check_privileges),
    (PORTS, check_ports),
    (NAME, check_nftables),
    (TABLES, check_tables),
    (GUARDED, check_guarded),
    (TRANSPARENT, check_transparent),
    (DESCRIPTORS, check_descriptors),
    (CLOCK, check_clock),
    (STATE, check_state),
)


def examine(configuration: Configuration, machine: Machine) -> Iterator[Finding]:
    """Make every check; one that the machine does not answer is a finding too."""
    for name, check in CHECKS:
        try:
            yield from check(configuration, machine)
        except OSError as error:
            yield fail(name, f"it cannot be looked at: {error}", "so nobody can tell whether it is well")
