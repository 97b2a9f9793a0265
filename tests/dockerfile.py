"""The Dockerfile's steps, as far as they can be read and tried without Docker.

``tests/test_deployment.py`` compares them with the source tree. As root, with a bare Debian 12 in a folder::

    debootstrap --variant=minbase bookworm /var/tmp/bare
    python -m tests.dockerfile /var/tmp/bare

runs them: each stage in a copy of the folder, ``RUN`` by chroot, ``COPY`` from the checkout; then starts what the image
starts as its user, waits until its health check succeeds, and stops it. Folders that are named after the first one are
made visible inside, and so are the variables PIP_*: where packages come from a local index.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

FILE: Final = "examples/deployment/Dockerfile"
_KNOWN: Final = {
    *("FROM", "RUN", "COPY", "USER", "EXPOSE", "VOLUME", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
}
_TOP: Final = Path(__file__).resolve().parent.parent
_SECONDS: Final = 30.0


class Step(NamedTuple):
    """One instruction: its line in the file, its name, its arguments as they are written."""

    line: int
    name: str
    text: str


@dataclass
class Stage:
    """What stands from one FROM to the next.

    :ivar base: the image. :ivar name: what ``AS`` calls it, or its number.
    """

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)

    def last(self, name: str) -> str:
        """Return the text of the last instruction *name*."""
        return [step.text for step in self.steps if step.name == name][-1]

    def copies(self) -> Iterator[tuple[str, list[str], str]]:
        """Yield each COPY: the stage that it takes from or nothing, the sources, the destination."""
        for step in self.steps:
            if step.name == "COPY":
                words = shlex.split(step.text)
                origin = words.pop(0).partition("=")[2] if words[0].startswith("--from=") else ""
                yield origin, words[:-1], words[-1]

    def health_check(self) -> list[str]:
        """Return the command of HEALTHCHECK."""
        command: list[str] = json.loads(self.last("HEALTHCHECK").partition("CMD ")[2])
        return command

    def command(self) -> list[str]:
        """Return what the image starts."""
        return [*json.loads(self.last("ENTRYPOINT")), *json.loads(self.last("CMD"))]


def read(path: Path) -> list[Stage]:
    """Return the stages of the Dockerfile *path*. :raises ValueError: an instruction is unknown, or before any FROM."""
    stages: list[Stage] = []
    text = re.sub(r"\\\n", "  ", path.read_text())
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(" ")
        if name not in _KNOWN or (name != "FROM" and not stages):
            raise ValueError(f"{path}:{number}: {name}: expected one of {', '.join(sorted(_KNOWN))}, FROM first")
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            stages.append(Stage(base, alias or str(len(stages))))
        else:
            stages[-1].steps.append(Step(number, name, rest.strip()))
    return stages


class Attempt:
    """Runs the stages in copies of a bare root."""

    def __init__(self, bare: Path, visible: list[Path]) -> None:
        self._bare = bare
        self._visible = visible
        self._roots: dict[str, Path] = {}
        self._variables = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("PIP_")]

    def build(self, stage: Stage) -> Path:
        """Run the steps of *stage*; return its root."""
        root = self._roots[stage.name] = self._bare.with_name(f"{self._bare.name}-{stage.name}")
        if root.exists():
            shutil.rmtree(root)
        subprocess.run(["cp", "-a", str(self._bare), str(root)], check=True)
        copies = stage.copies()
        for step in stage.steps:
            print(f"{FILE}:{step.line}: {step.name} {step.text}", flush=True)
            if step.name == "RUN":
                self._reach_the_network(root)
                subprocess.run(self.inside(root, ["sh", "-ec", step.text], "root"), check=True)
            elif step.name == "COPY":
                self._copy(root, *next(copies))
        return root

    def _reach_the_network(self, root: Path) -> None:
        """Give it this machine's name servers, and its authorities, which a step may have replaced."""
        for file in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(f"/{file}", root / file)

    def _copy(self, root: Path, origin: str, sources: list[str], destination: str) -> None:
        top = self._roots[origin] if origin else _TOP
        target = root / destination.lstrip("/")
        for source in sources:
            path = top / source.lstrip("/")
            if path.is_dir():
                shutil.copytree(
                    path, target, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
                )
                continue
            file = target / path.name if destination.endswith("/") else target
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, file)

    def inside(self, root: Path, command: list[str], user: str) -> list[str]:
        """Return the command that runs *command* in *root* as *user*, in namespaces of its own but the network's."""
        script = f"mount -t proc proc {root}/proc; mount --rbind /dev {root}/dev; "
        for path in self._visible:
            script += f"mkdir -p {root}{path}; mount --rbind {path} {root}{path}; "
        script += f'exec chroot --userspec={user} {root} env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"'
        return [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
            "sh",
            "-ec",
            script,
            "sh",
            *self._variables,
            *command,
        ]

    def start(self, root: Path, stage: Stage) -> None:
        """Start the image, wait for its health check, stop it. :raises RuntimeError: it is not well, or ends badly."""
        user = stage.last("USER")
        command = [*self.inside(root, stage.command(), user)]
        print("starting", shlex.join(stage.command()), "as", user, flush=True)
        with subprocess.Popen(command) as process:
            try:
                self._wait_for_health(process, self.inside(root, stage.health_check(), user))
            finally:
                child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                os.kill(int(child[0]), 15)
        if process.returncode:
            raise RuntimeError(f"exit status {process.returncode}")

    def _wait_for_health(self, process: subprocess.Popen[bytes], check: list[str]) -> None:
        deadline = time.monotonic() + _SECONDS
        while subprocess.run(check, check=False).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the health check does not succeed")
            time.sleep(0.2)
        print("healthy", flush=True)


def main(arguments: list[str]) -> None:
    """Try the Dockerfile."""
    parser = argparse.ArgumentParser(description="Run the Dockerfile's steps in copies of a bare root.")
    parser.add_argument("bare", type=Path, help="a folder with a bare Debian 12")
    parser.add_argument("visible", type=Path, nargs="*", help="folders to make visible inside")
    options = parser.parse_args(arguments)
    attempt = Attempt(options.bare.resolve(), options.visible)
    for stage in read(_TOP / FILE):
        root = attempt.build(stage)
    attempt.start(root, stage)


if __name__ == "__main__":
    main(sys.argv[1:])
