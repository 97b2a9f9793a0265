"""The benchmark of a filter's own sockets, in the running service, beside uvloop, HAProxy and nginx stream.

    python benchmarks/sockets.py [--quick] [--rounds N] [--seconds N] [--only echo,udp] [--relays fwx] [--json FILE]

Everything stays on 127.0.0.1. benchmarks/README.rst says what the columns are and how to read them.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import tools
from harness.parts import options_of, run
from harness.process import find, raise_descriptor_limit, run_to_end
from harness.socket_parts import Bench, Plan, parts

IDLE = 10_000
# Descriptors that are not those of idle clients.
SPARE_DESCRIPTORS = 256


def versions() -> dict[str, str]:
    """Return the versions of what is compared, OpenSSL's by who has loaded it."""
    asked = (
        ("haproxy", ["-vv"], r"HAProxy version (\S+)"),
        ("haproxy", ["-vv"], r"Running on .*: (OpenSSL \S+)"),
        ("nginx", ["-v"], r"nginx/(\S+)"),
        ("openssl", ["version"], r"(OpenSSL \S+)"),
    )
    found = {"python": f"{platform.python_version()}, {ssl.OPENSSL_VERSION}"}
    for program, options, pattern in asked:
        path = find(program)
        if path is not None:
            version = re.search(pattern, run_to_end([path, *options], stderr=subprocess.STDOUT))
            found[program] = ", ".join(filter(None, (found.get(program), version[1] if version else "unknown")))
    return found


def _options() -> argparse.Namespace:
    parser = options_of(__doc__)
    parser.add_argument("--idle", type=int, default=IDLE, help=f"idle sockets (default {IDLE})")
    options = parser.parse_args()
    if options.seconds <= 0 or options.rounds < 1 or options.idle < 1:
        parser.error("--seconds needs a number above 0, --rounds and --idle one of 1 or more")
    options.parser = parser
    return options


def main() -> int:
    options = _options()
    idle = min(options.idle, raise_descriptor_limit() - SPARE_DESCRIPTORS)
    plan = Plan(1.0, 1, idle) if options.quick else Plan(options.seconds, options.rounds, idle)
    with tempfile.TemporaryDirectory(prefix="fwx-bench-") as text:
        folder = Path(text)
        folder.chmod(0o755)  # workers that drop root read their files here
        bench = Bench(plan, folder)
        found, left_out = parts(bench, folder)
        about: dict[str, Any] = {"versions": versions(), "kernel": platform.release(), "cpus": os.cpu_count()}
        about |= {"load": {"sockets": bench.loads.name, **tools.used()}, "plan": plan._asdict(), "left out": left_out}
        try:
            return run(found, options, plan.rounds, about)
        except ValueError as error:
            options.parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
