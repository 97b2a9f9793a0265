"""Giving up root: which account, whose files, and no way back."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fwx import privileges
from fwx.privileges import PrivilegeError, drop_root, give_to, service_account

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up root")
ACCOUNTS = {
    "fwx": SimpleNamespace(pw_name="fwx", pw_uid=901, pw_gid=902),
    "nobody": SimpleNamespace(pw_name="nobody", pw_uid=65534, pw_gid=65534),
    "operator": SimpleNamespace(pw_name="operator", pw_uid=903, pw_gid=904),
    "root": SimpleNamespace(pw_name="root", pw_uid=0, pw_gid=0),
    "toor": SimpleNamespace(pw_name="toor", pw_uid=0, pw_gid=0),
}


def machine(monkeypatch: pytest.MonkeyPatch, *accounts: str, root: bool = True) -> None:
    """Have a machine with these accounts, on which this process is *root* or not."""
    known = {name: ACCOUNTS[name] for name in accounts}
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)


@pytest.mark.parametrize(
    ("accounts", "configured", "chosen"),
    [
        (["fwx", "nobody"], None, "fwx"),
        (["nobody"], None, "nobody"),
        (["fwx", "nobody", "operator"], "operator", "operator"),
    ],
)
def test_the_account(monkeypatch: pytest.MonkeyPatch, accounts: list[str], configured: str | None, chosen: str) -> None:
    machine(monkeypatch, *accounts)
    account = service_account(configured)
    assert account is not None
    assert account.pw_name == chosen


@pytest.mark.parametrize(
    ("accounts", "configured", "words"),
    [
        ([], None, "no account 'fwx or nobody'"),
        (["fwx"], "missing", "no account 'missing'; create it or set service.user"),
        (["root"], "root", "service.user 'root' is root"),
        (["toor"], "toor", "service.user 'toor' is root"),
    ],
)
def test_no_account(monkeypatch: pytest.MonkeyPatch, accounts: list[str], configured: str | None, words: str) -> None:
    """DESIGN 5: no service as root by mistake."""
    machine(monkeypatch, *accounts)
    with pytest.raises(PrivilegeError, match=words):
        service_account(configured)


def test_not_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The process stays what it is, without its capabilities, and nothing changes hands."""
    machine(monkeypatch, "fwx", root=False)
    dropped: list[bool] = []
    monkeypatch.setattr(privileges, "drop_capabilities", lambda: dropped.append(True))
    monkeypatch.setattr(os, "chown", lambda *_: pytest.fail("nobody asked"))
    account = service_account("fwx")
    assert account is None
    give_to(account, tmp_path)
    drop_root(account)
    assert dropped == [True]


def test_files_change_hands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[Any] = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.append((path, uid, gid)))
    give_to(ACCOUNTS["fwx"], tmp_path, tmp_path / "not there")  # type: ignore[arg-type]
    assert given == [(tmp_path, 901, 902)]


def calls_of(monkeypatch: pytest.MonkeyPatch, **failing: Any) -> list[str]:
    """Write down the system calls of drop_root instead of making them; *failing* ones raise."""
    made: list[str] = []

    def replace(name: str) -> None:
        def call(*arguments: Any) -> None:
            made.append(f"{name}{arguments}")
            if name in failing:
                raise failing[name]

        monkeypatch.setattr(os, name, call)

    for name in ("initgroups", "setresgid", "setresuid", "setuid"):
        replace(name)
    return made


def test_the_order_of_giving_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups first, while that is still allowed; then the proof that there is no way back."""
    made = calls_of(monkeypatch, setuid=PermissionError())
    drop_root(ACCOUNTS["fwx"])  # type: ignore[arg-type]
    assert made == ["initgroups('fwx', 902)", "setresgid(902, 902, 902)", "setresuid(901, 901, 901)", "setuid(0,)"]


@pytest.mark.parametrize("name", ["initgroups", "setresgid", "setresuid"])
def test_the_kernel_refuses(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    calls_of(monkeypatch, **{name: OSError(1, "Operation not permitted")}, setuid=PermissionError())
    with pytest.raises(PrivilegeError, match=r"cannot become fwx: .*Operation not permitted"):
        drop_root(ACCOUNTS["fwx"])  # type: ignore[arg-type]


def test_root_could_be_had_back(monkeypatch: pytest.MonkeyPatch) -> None:
    calls_of(monkeypatch)
    with pytest.raises(PrivilegeError, match="became fwx, yet root could be had back"):
        drop_root(ACCOUNTS["fwx"])  # type: ignore[arg-type]


FOR_REAL = """
import os
from fwx.privileges import drop_root, service_account
account = service_account("nobody")
drop_root(account)
assert os.getresuid() == (account.pw_uid,) * 3, os.getresuid()
assert os.getresgid() == (account.pw_gid,) * 3, os.getresgid()
assert 0 not in os.getgroups(), os.getgroups()
for regain in (lambda: os.setuid(0), lambda: os.seteuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
    try:
        regain()
    except PermissionError:
        continue
    raise AssertionError("root is back")
try:
    open("/etc/shadow", "rb")
except PermissionError:
    print("done")
"""


@AS_ROOT
def test_for_real(source_tree: Path) -> None:
    """In a process of its own: user, group, supplementary groups, no way back."""
    result = subprocess.run(
        [sys.executable, "-c", FOR_REAL], cwd=source_tree, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (0, "done"), result.stderr
