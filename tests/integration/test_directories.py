"""Users of real LDAP and RADIUS servers through a running service: curl, OpenLDAP, FreeRADIUS."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import argon2
import pytest

from fwx.config import ConfigurationError
from fwx.config_check import load_checked
from fwx.impl.logrecord import Action
from fwx.interfaces import FWX_E_NOT_AUTHENTICATED, FWX_E_POLICY_RULES_DENIED
from tests.directory_servers import ACCOUNT, ACCOUNT_PASSWORD, BASE, RADIUS_SECRET, FreeRadius, Slapd
from tests.integration.conftest import Firewall, Origin, Servers, wait_until
from tests.integration.tlsparts import Certificates

pytestmark = pytest.mark.requires("curl", "slapd", "freeradius")

CONFIG = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"
authenticate = "required"

[[user]]
name = "alice"
groups = ["staff"]
password = "{alice}"

[[directory]]
name = "corp"
kind = "ldap"
servers = ["{ldap}"]
start_tls = true
ca = "{ca}"
bind_dn = "{account}"
password_file = "ldap.secret"
base = "{base}"
timeout_seconds = 2

[[directory]]
name = "branch"
kind = "radius"
servers = ["127.0.0.1:9", "{radius}"]
secret_file = "radius.secret"
method = "chap"
timeout_seconds = 4

[[rule]]
name = "staff"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
groups = ["staff"]

[[rule]]
name = "named"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
users = ["dave", 'corp\\ja*ne(1)']
"""
# The users are authenticated by a filter as well, which says in the log of the service what came of it.
ASKING = """
@sdk.implementer(sdk.IFWXAuthenticationCompletion)
class Told(sdk.Unknown):
    def CompleteAsyncAuthentication(self, fSuccess, Win32ErrorCode, pIFWXAuthenticatedUser, UserData):
        user = pIFWXAuthenticatedUser
        words = "" if user is None else f"{user.Username} {user.Namespace} {user.UserGroups}"
        print(f"TOLD {UserData} {fSuccess} {Win32ErrorCode} {words}", flush=True)

class Asking(Filter):
    def FilterInit(self, pIFWXFirewall):
        firewall = pIFWXFirewall.QueryInterface(sdk.IFWXFirewall2)
        authenticator = firewall.CreateRadiusAuthenticator()
        for tag, name, password in ((1, "carol", "carol's own"), (2, "carol", "wrong"), (3, "nobody", "x")):
            authenticator.AuthenticateRadiusUser(name, password, Told(), tag)
        return super().FilterInit(pIFWXFirewall)

Filter = Asking
"""


class Scene(NamedTuple):
    """The service, the two servers, a server to reach, and curl."""

    firewall: Firewall
    slapd: Slapd
    radius: FreeRadius
    origin: Origin
    program: str

    def get(self, account: str, source: str = "127.0.0.1", scheme: str = "socks5h") -> bool:
        """Fetch a page as *account*; tell whether it came."""
        proxy = "{}:{}".format(*self.firewall.address())
        command = [
            *(self.program, "-q", "-sS", "--noproxy", "", "--max-time", "20", "--interface", source),
            *("-x", f"{scheme}://{proxy}", "--proxy-user", account, f"http://127.0.0.1:{self.origin.port}/"),
        ]
        ended = subprocess.run(command, capture_output=True, check=False, env={"PATH": os.environ["PATH"]})
        return ended.stdout == b"page\n"

    def rows(self, count: int = 1, **where: Any) -> list[dict[str, Any]]:
        """Wait for *count* records like *where*, or more."""
        found: list[dict[str, Any]] = wait_until(
            lambda: rows if len(rows := self.firewall.rows(**where)) >= count else None, f"{count} records of {where}"
        )
        return found


def page(client: Any) -> None:
    client.recv(65536)
    client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\npage\n")


def write_secrets(folder: Path, ldap: str = ACCOUNT_PASSWORD, radius: str = RADIUS_SECRET) -> None:
    for name, secret in (("ldap.secret", ldap), ("radius.secret", radius)):
        (folder / name).write_text(secret + "\n")
        (folder / name).chmod(0o600)


@pytest.fixture(scope="module")
def slapd(program_path: Any, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    server = Slapd(program_path("slapd"), tmp_path_factory.mktemp("slapd"), tls_files(certificates))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def radius(program_path: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadius]:
    server = FreeRadius(program_path("freeradius"), tmp_path_factory.mktemp("radius"))
    yield server
    server.stop()


def tls_files(certificates: Certificates) -> tuple[Path, Path, Path]:
    folder = certificates.folder
    return folder / "www.crt", folder / "www.key", certificates.ca


def config_text(slapd: Slapd, radius: FreeRadius, ca: Path) -> str:
    alice = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")
    return CONFIG.format(ldap=slapd.url, radius=radius.address, ca=ca, account=ACCOUNT, base=BASE, alice=alice)


@pytest.fixture(scope="module")
def scene(
    slapd: Slapd,
    radius: FreeRadius,
    certificates: Certificates,
    serve_for_module: Servers,
    program_path: Callable[[str], str],
) -> Iterator[Scene]:
    folder = serve_for_module.make_folder()
    write_secrets(folder)
    firewall = serve_for_module(
        config_text(slapd, radius, tls_files(certificates)[2]), folder=folder, filters={"asking": ASKING}
    )
    origin = Origin(page, "127.0.0.1")
    yield Scene(firewall, slapd, radius, origin, program_path("curl"))
    origin.close()


def test_a_user_of_the_configuration_is_let_in_beside_them(scene: Scene) -> None:
    assert scene.get("alice:secret")
    assert scene.rows(Action=int(Action.Terminate), ClientUserName="alice")
    assert not scene.get("alice:bob's own", "127.0.0.2")


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.path(entry="http", exit="direct", transport="tcp")
def test_users_of_directories_are_let_in_by_group_and_by_name(scene: Scene) -> None:
    """B10.2: over TLS from LDAP, by CHAP from RADIUS; the log has the directory's name and spelling."""
    accounts = {
        "bob:bob's own": (r"corp\bob", "staff"),
        "BOB:bob's own": (r"corp\bob", "staff"),
        r"corp\bob:bob's own": (r"corp\bob", "staff"),
        "ja*ne(1):jane's own": (r"corp\ja*ne(1)", "named"),
        "carol:carol's own": (r"branch\carol", "staff"),
        r"branch\carol:carol's own": (r"branch\carol", "staff"),
    }
    before = len(scene.firewall.rows(Action=int(Action.Terminate)))
    expected = []
    for scheme in ("socks5h", "http"):
        for account, told in accounts.items():
            assert scene.get(account, scheme=scheme), account
            expected.append(told)
    rows = scene.rows(before + len(expected), Action=int(Action.Terminate))[before:]
    assert sorted((row["ClientUserName"], row["rule"]) for row in rows) == sorted(expected)


@pytest.mark.parametrize(("account", "name"), [("dora:doraä!", r"corp\dora"), ("erik:erik's own", r"branch\erik")])
def test_who_is_in_no_group_of_the_rule_is_denied(scene: Scene, account: str, name: str) -> None:
    """The password is right: it is the policy that denies, and the log names the user."""
    assert not scene.get(account)
    rows = scene.rows(ClientUserName=name)
    assert {row["resultcode"] for row in rows} == {int(FWX_E_POLICY_RULES_DENIED)}


def test_nobody_is_told_whether_the_user_or_the_password_is_wrong(scene: Scene) -> None:
    """An injected filter is a name that nobody has; a known password of another user does not help."""
    accounts = ["bob:x", "carol:x", "nobody:x", "*:bob's own", "b*:bob's own", "x)(uid=bob:bob's own", r"corp\carol:x"]
    for number, account in enumerate(accounts):
        assert not scene.get(account, f"127.0.1.{number + 1}")
    rows = [scene.rows(SourceIP=f"127.0.1.{number + 1}")[0] for number in range(len(accounts))]
    assert [row["ClientUserName"] for row in rows] == [f"{account.rpartition(':')[0]} (?)" for account in accounts]
    assert {(row["resultcode"], row["reason"]) for row in rows} == {
        (int(FWX_E_NOT_AUTHENTICATED), "the user or the password is wrong")
    }


def test_a_filter_has_users_authenticated(scene: Scene, eventually: Any) -> None:
    """B5.4, B10.2: the completion comes once for each, with the user, or with the Windows error."""
    told = eventually(
        lambda: (
            found
            if len(found := sorted(re.findall(r"^TOLD (.*?) *$", scene.firewall.stderr(), re.MULTILINE))) == 3
            else None
        ),
        "three completions",
    )
    assert told == [r"1 True 0 branch\carol RADIUS staff;night", "2 False 1326", "3 False 1326"]


def test_a_slow_directory_holds_nobody_else_up(scene: Scene) -> None:
    """The LDAP server stands still: its users are refused after their time, those of others go in meanwhile."""
    process = scene.slapd.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        slow = subprocess.Popen(
            [scene.program, "-q", "-sS", "-x", "socks5h://{}:{}".format(*scene.firewall.address()), "--interface",
             "127.0.0.3", "--proxy-user", "bob:not asked before", f"http://127.0.0.1:{scene.origin.port}/"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert scene.get("alice:secret")
        assert scene.get(r"branch\carol:carol's own")
        assert scene.get("bob:bob's own"), "remembered"
        assert slow.poll() is None, "it is still waited for"
        assert slow.wait(15) != 0
        slow.communicate()
    finally:
        process.send_signal(signal.SIGCONT)
    row = scene.rows(SourceIP="127.0.0.3")[0]
    assert row["reason"] == "directory 'corp': it did not answer within 2 s"
    assert row["resultcode"] == int(FWX_E_NOT_AUTHENTICATED)
    assert scene.get("bob:bob's own", "127.0.0.4"), "it answers again"


def test_a_directory_that_is_gone_lets_nobody_in(scene: Scene) -> None:
    """Not those whom the next one knows, either, nor anybody by another spelling; an alert says why. It comes back."""
    scene.slapd.stop()
    try:
        assert not scene.get(r"corp\dora:doraä! ", "127.0.0.5")
        assert not scene.get("erik:another", "127.0.0.5")
        assert scene.get(r"branch\carol:carol's own")
    finally:
        scene.slapd.start()
    row = scene.rows(SourceIP="127.0.0.5")[0]
    assert re.search(r"^directory 'corp': ldap://.* refused", row["reason"])
    alerts = [alert for alert in scene.firewall.alerts() if alert["event"] == "Directory failure"]
    assert any("directory 'corp': ldap://" in alert["message"] for alert in alerts)
    assert any("directory 'branch': 127.0.0.1:9: it cannot be reached" in alert["message"] for alert in alerts)
    assert scene.get("Bob:bob's own", "127.0.0.5")


def test_check_deep_asks_the_directories(
    slapd: Slapd, radius: FreeRadius, certificates: Certificates, serve: Any
) -> None:
    """All is well; then each is wrong in one way, and has a line of its own."""
    folder: Path = serve.make_folder()
    text = config_text(slapd, radius, certificates.ca)
    (folder / "state").mkdir(mode=0o700)

    def check(configuration: str) -> str:
        (folder / "fwx.toml").write_text(configuration)
        try:
            load_checked(folder / "fwx.toml", deep=True)
        except ConfigurationError as error:
            return str(error)
        return ""

    write_secrets(folder)
    assert check(text) == ""
    write_secrets(folder, ldap="another", radius="another")
    words = check(text.replace('"127.0.0.1:9", ', "").replace("timeout_seconds = 4", "timeout_seconds = 0.5"))
    assert f"it refuses the account '{ACCOUNT}': invalidCredentials" in words
    assert "it may not know this client, or have another secret for it" in words
    write_secrets(folder)
    words = check(text.replace(str(certificates.ca), str(certificates.stranger_ca)))
    assert "certificate verify failed" in words
    (folder / "ldap.secret").chmod(0o644)
    assert "directory.password_file: " in check(text)
