"""A real systemd as the first process of namespaces of its own, over a copy of this machine's files."""

from __future__ import annotations

import os
import signal
import site
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fwx

# The overlay's upper side is in memory. systemd finds the units of the test alone: what this machine would start at its
# own boot hangs on another target.
BOOT = """
set -e
top=$1; python=$2; packages=$3; checkout=$4
mkdir $top/memory $top/root
mount -t tmpfs memory $top/memory
mkdir $top/memory/upper $top/memory/work
root=$top/root
mount -t overlay overlay -o lowerdir=/,upperdir=$top/memory/upper,workdir=$top/memory/work $root
mount -t proc proc $root/proc
mount -t sysfs -o ro sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
for each in run tmp dev; do mount -t tmpfs tmpfs $root/$each; done
mkdir $root/dev/pts $root/dev/shm
for each in null zero full random urandom tty; do touch $root/dev/$each; mount --bind /dev/$each $root/dev/$each; done
touch $root/dev/console
mount --bind $top/console $root/dev/console
mount -t devpts devpts $root/dev/pts -o newinstance,ptmxmode=0666
ln -s pts/ptmx $root/dev/ptmx
mkdir -p $root/run/systemd/system $root/run/said $root/etc/fwx $root/opt/python $root/opt/packages $root/opt/checkout
mount --bind $top/units $root/run/systemd/system
mount --bind $top/said $root/run/said
mount --bind $top/etc $root/etc/fwx
mount --bind $python $root/opt/python
mount --bind $packages $root/opt/packages
mount --bind $checkout $root/opt/checkout
ip link set lo up
cd $root
mkdir -p old
pivot_root . old
umount -l /old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=nothing.target \
    --log-target=console --log-level=warning --show-status=no
"""
TARGET = "[Unit]\nDescription=Nothing\nDefaultDependencies=no\n"
# What differs from an installation: where interpreter and packages are, and that nothing else of a machine runs.
SERVICE = """
[Unit]
DefaultDependencies=no
[Service]
Environment=PYTHONPATH=/opt/checkout:/opt/packages PYTHONDONTWRITEBYTECODE=1 LD_LIBRARY_PATH=/opt/python/lib
ExecStart=
ExecStart=/opt/python/bin/{python} -m fwx serve --config /etc/fwx/fwx.toml
ExecReload=
ExecReload=/opt/python/bin/{python} -m fwx apply /etc/fwx/fwx.toml
User=daemon
Group=daemon
StandardOutput=append:/run/said/fwx
StandardError=append:/run/said/fwx
"""
SOCKET = "[Unit]\nDefaultDependencies=no\n"


class Manager:
    """The systemd, and what a test asks of it."""

    def __init__(self, folder: Path, eventually: Callable[..., Any]) -> None:
        self._folder = folder
        self._eventually = eventually
        for name in ("units", "said", "etc"):
            (folder / name).mkdir()
        self.install("nothing.target", TARGET)
        self.install("fwx.service.d/00-test.conf", SERVICE.format(python=f"python3.{sys.version_info.minor}"))
        self.install("fwx.socket.d/00-test.conf", SOCKET)
        (folder / "boot.sh").write_text(BOOT)
        (folder / "console").touch()
        paths = [folder, sys.base_prefix, site.getsitepackages()[0], Path(fwx.__file__).parent.parent]
        namespaces = ("--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup")
        with (folder / "console").open("wb") as console:
            self._unshare = subprocess.Popen(
                ["unshare", *namespaces, "sh", str(folder / "boot.sh"), *map(str, paths)],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            )  # fmt: skip
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        self._pid = int(eventually(children.read_text, "the namespaces"))
        eventually(self._is_up, "systemd to be up", 20)

    def _is_up(self) -> bool:
        if self._unshare.poll() is not None:
            said = (self._folder / "console").read_text()
            if os.environ.get("FWX_CI") == "1":
                pytest.fail(f"systemd does not start in namespaces: {said}", pytrace=False)
            pytest.skip(f"systemd does not start in namespaces: {said}")
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def install(self, name: str, text: str) -> None:
        """Write a unit, or a part of one."""
        file = self._folder / "units" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def configure(self, text: str) -> None:
        """Write ``/etc/fwx/fwx.toml``."""
        (self._folder / "etc" / "fwx.toml").write_text(text)

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs *command* where systemd is."""
        environment = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
        return ["nsenter", "--target", str(self._pid), "--all", *environment, *command]

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(self.inside(*command), capture_output=True, text=True, check=False, timeout=60)
        if check and ended.returncode:
            status = subprocess.run(
                self.inside("systemctl", "status", "--no-pager", "fwx.service"),
                capture_output=True,
                text=True,
                check=False,
            )
            console = (self._folder / "console").read_text()
            pytest.fail(f"{command}\n{ended.stdout}{ended.stderr}\n{status.stdout}\n{console}\n{self.said()}")
        return ended

    def said(self) -> str:
        """What the service has said."""
        file = self._folder / "said" / "fwx"
        return file.read_text() if file.exists() else ""

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def processes(self) -> list[dict[str, str]]:
        """The status of each process of the service: a dictionary of ``/proc/PID/status``."""
        pids = self.run("cat", "/sys/fs/cgroup/system.slice/fwx.service/cgroup.procs").stdout.split()
        texts = [self.run("cat", f"/proc/{pid}/status").stdout for pid in pids]
        return [dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line) for text in texts]

    def close(self) -> None:
        """End it, and all that it has started with it."""
        os.kill(self._pid, signal.SIGKILL)
        self._unshare.wait(10)
