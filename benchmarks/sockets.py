"""The benchmark of a filter's own sockets, in the running service, beside uvloop, HAProxy and nginx stream.

    python benchmarks/sockets.py [--quick] [--rounds N] [--seconds N] [--only echo,udp] [--relays fwx] [--json FILE]

Everything stays on 127.0.0.1. benchmarks/README.rst says what the columns are and how to read them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import ssl
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from harness import tools
from harness.process import find, raise_descriptor_limit
from harness.rounds import medians, take
from harness.socket_parts import Bench, Part, Plan, parts
from harness.table import table

IDLE = 10_000
# Descriptors that are not those of idle clients.
SPARE_DESCRIPTORS = 256


def measure(plan: Plan, part: Part, names: set[str]) -> dict[str, Any]:
    """Take the rounds of one part, of the relays that *names* holds, or of all."""
    relays = {name: start for name, start in part.relays.items() if name in names or not names}
    taken, problems = take({name: partial(part.measure, start) for name, start in relays.items()}, plan.rounds)
    return {"units": part.columns, "medians": medians(taken), "rounds": taken, "problems": problems}


def show(part: Part, result: dict[str, Any]) -> None:
    bases = [name for name in part.bases if result["medians"].get(name) and len(result["medians"]) > 1]
    print(f"\n{part.title}\n\n{table(result['medians'], part.columns, bases)}", flush=True)
    for problem in result["problems"]:
        print(problem, file=sys.stderr, flush=True)


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
            result = subprocess.run([path, *options], capture_output=True, text=True, check=False)
            version = re.search(pattern, result.stdout + result.stderr)
            found[program] = ", ".join(filter(None, (found.get(program), version[1] if version else "unknown")))
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load (default 3)")
    parser.add_argument("--rounds", type=int, default=3, help="the medians are of so many (default 3)")
    parser.add_argument("--idle", type=int, default=IDLE, help=f"idle sockets (default {IDLE})")
    parser.add_argument("--quick", action="store_true", help="one round with loads of one second")
    parser.add_argument("--only", default="", metavar="PARTS", help="parts, with commas between them")
    parser.add_argument("--relays", default="", metavar="NAMES", help="relays, with commas between them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure there")
    options = parser.parse_args()
    if options.seconds <= 0 or options.rounds < 1 or options.idle < 1:
        parser.error("--seconds needs a number above 0, --rounds and --idle one of 1 or more")
    options.only, options.relays = (set(filter(None, each.split(","))) for each in (options.only, options.relays))
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
        unknown = options.only - found.keys()
        if unknown:
            options.parser.error(f"--only: {min(unknown)!r} is not here; there are {', '.join(found)}")
        about: dict[str, Any] = {"versions": versions(), "kernel": platform.release(), "cpus": os.cpu_count()}
        about |= {"load": {"sockets": bench.loads.name, **tools.used()}, "plan": plan._asdict(), "left out": left_out}
        print("\n".join(f"{name}: {each}" for name, each in about.items()), flush=True)
        results = {}
        for name, part in found.items():
            if name in options.only or not options.only:
                results[name] = measure(plan, part, options.relays)
                show(part, results[name])
    if options.json is not None:
        options.json.write_text(json.dumps({"about": about, "parts": results}, indent=1) + "\n")
    return 1 if any(result["problems"] for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
