"""What is asked of an LDAP server, and what its answers mean, with OpenLDAP."""

from __future__ import annotations

import queue
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwx.directories import ldap
from fwx.directories.ldap import LdapError, LdapSettings, LdapUsers
from fwx.impl.authentication import WRONG, Checked, IPasswordAuthenticator
from fwx.workers import WorkerPool
from tests.directory_servers import ACCOUNT, ACCOUNT_PASSWORD, BASE, Slapd
from tests.fwx.directories.bench import Bench
from tests.integration.tlsparts import Certificates

pytestmark = pytest.mark.requires("slapd")

BOB = b"bob's own"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def slapd(program_path: Any, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    certificates.issue("slapd", "127.0.0.1")
    tls = (certificates.folder / "slapd.crt", certificates.folder / "slapd.key", certificates.ca)
    server = Slapd(program_path("slapd"), tmp_path_factory.mktemp("slapd"), tls)
    yield server
    server.stop()


class Asker:
    """An authenticator with threads of its own; what it posts is taken up by who waits."""

    def __init__(self, slapd: Slapd, **changes: Any) -> None:
        self.posted: queue.SimpleQueue[Checked] = queue.SimpleQueue()
        self.pool = WorkerPool(2, 2)
        self.bench = Bench(post=lambda done, result: done(result), submit=self.pool.submit)
        made = LdapSettings(
            servers=(slapd.url,),
            start_tls=False,
            tls=None,
            bind_dn=ACCOUNT,
            password=ACCOUNT_PASSWORD,
            base=BASE,
            user_filter="(uid={user})",
            user_attribute="uid",
            group_base=BASE,
            group_filter="(member={dn})",
            group_attribute="cn",
        )
        self.users = LdapUsers(made._replace(**changes), self.bench.context)

    def check(self, name: str, password: bytes) -> Checked:
        self.users.check(name, password, self.posted.put)
        return self.posted.get(timeout=20)

    def close(self) -> None:
        self.pool.close()
        self.pool.join(10)


@pytest.fixture
def asker(slapd: Slapd) -> Iterator[Any]:
    made: list[Asker] = []

    def make(**changes: Any) -> Asker:
        made.append(Asker(slapd, **changes))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_users_groups_and_wrong_passwords(asker: Any) -> None:
    """B10.2: spelled as the directory has it; groups by the distinguished name, whatever that holds."""
    users = asker()
    assert IPasswordAuthenticator.providedBy(users.users)
    for name, password, true_name, groups in (
        ("bob", BOB, r"corp\bob", "staff"),
        ("BOB", BOB, r"corp\bob", "staff"),
        ("dora", "doraä!".encode(), r"corp\dora", ""),
        ("ja*ne(1)", b"jane's own", r"corp\ja*ne(1)", "guests"),
    ):
        user = users.check(name, password).user
        assert (user.Username, user.Namespace, user.UserGroups) == (true_name, "LDAP", groups)
    for name, password in (
        ("bob", b"x"),
        ("nobody", BOB),
        ("*", BOB),
        ("b*", BOB),
        ("bob)(uid=*", BOB),
        ("bob\\", BOB),
    ):
        assert users.check(name, password) == WRONG
    assert users.bench.warnings == []


def test_other_filters_and_attributes(asker: Any) -> None:
    users = asker(
        user_filter="(&(objectClass=inetOrgPerson)(|(mail={user})(cn={user})))",
        user_attribute="CN",
        group_filter="(&(objectClass=groupOfNames)(member=uid={user},{dn}))",
        group_attribute="description",
    )
    user = users.check("dora@example.org", "doraä!".encode()).user
    assert (user.Username, user.UserGroups) == (r"corp\Dora", "")
    assert asker(group_filter="").check("bob", BOB).user.UserGroups == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "another"}, f"it refuses the account '{ACCOUNT}': invalidCredentials"),
        ({"bind_dn": "no name"}, "it refuses the account 'no name': invalidDNSyntax"),
        ({"bind_dn": ""}, rf"searching '{BASE}' for \(uid=bob\) failed: noSuchObject"),
        ({"base": "dc=elsewhere"}, r"searching 'dc=elsewhere' for \(uid=bob\) failed: noSuchObject"),
        ({"group_base": "dc=elsewhere"}, "searching 'dc=elsewhere' for .* failed: noSuchObject"),
        ({"user_filter": "(|(uid={user})(uid=dora))"}, "it has more than one entry for the user 'bob'"),
        ({"user_attribute": "mail"}, "the entry 'uid=bob,.*' says by no 'mail' what the user is called"),
        ({"user_filter": "(uid={user}"}, "invalid filter"),
        ({"servers": ("ldap://127.0.0.1:1",)}, "Connection refused"),
        ({"servers": ("ldap://nowhere.invalid",)}, "nowhere.invalid"),
    ],
)
def test_what_fails_lets_nobody_in(asker: Any, changes: dict[str, Any], words: str) -> None:
    """Nothing is counted as a guess, and each has an alert."""
    users = asker(**changes)
    result = users.check("bob", BOB)
    assert (result.user, result.counts) == (None, False)
    assert re.search(words, result.reason), result.reason
    assert [message for _, message in users.bench.warnings] == [result.reason]


def test_more_groups_than_are_read(asker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the groups are none: a rule that denies one of the others would be passed over."""
    monkeypatch.setattr(ldap, "MOST_GROUPS", 1)
    users = asker(group_filter="(|(member={dn})(cn=guests))")
    assert "sizeLimitExceeded" in users.check("bob", BOB).reason


def test_the_next_server_stands_in_and_is_then_asked_first(asker: Any, slapd: Slapd) -> None:
    users = asker(servers=("ldap://127.0.0.1:1", slapd.url))
    for _ in range(2):
        assert users.check("bob", BOB).user is not None
    assert [key for key, _ in users.bench.warnings] == ["corp ldap://127.0.0.1:1"]


def test_tls(asker: Any, slapd: Slapd, certificates: Certificates) -> None:
    """By both ways; a certificate of strangers, or for another name, is not taken, and no password is sent then."""
    good = {"tls": certificates.context(), "start_tls": True}
    secure = f"ldaps://127.0.0.1:{slapd.tls_port}"
    assert asker(**good).check("bob", BOB).user is not None
    assert asker(**good, servers=(secure,)).check("bob", BOB).user is not None
    stranger = {"tls": ssl.create_default_context(cafile=str(certificates.stranger_ca)), "start_tls": True}
    for servers in ((slapd.url,), (secure,)):
        assert "certificate verify failed" in asker(**stranger, servers=servers).check("bob", BOB).reason
    for url in (slapd.url, secure):
        renamed = url.replace("127.0.0.1", "localhost")
        assert "Hostname mismatch" in asker(**good, servers=(renamed,)).check("bob", BOB).reason


def test_no_name_finds_somebody_else(asker: Any) -> None:
    """Whatever the filter could be made to mean: bob's password lets nobody in but bob."""
    users = asker()

    @settings(max_examples=40)
    @given(st.text(st.sampled_from('bo*()\\|&!=~<> ,+"#;\x7f'), min_size=1, max_size=12))
    def try_name(name: str) -> None:
        result = users.check(name, BOB)
        assert result == WRONG or " ".join(name.split()) == "bob", name

    try_name()


def test_the_servers_own_words_are_one_short_line(asker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go into the log and the alerts."""

    def fail(*args: Any) -> None:
        raise LdapError("no\nDenied\x1b[31m " + "x" * 5000)

    monkeypatch.setattr(LdapUsers, "_ask", fail)
    reason = asker().check("bob", BOB).reason
    assert reason.isprintable()
    assert len(reason) < 400


def test_called_off(asker: Any) -> None:
    """A server that says nothing: the thread comes back at once, and nothing is told."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        users = asker(servers=("ldap://{}:{}".format(*silent.getsockname()),))
        cancel = users.users.check("bob", BOB, users.posted.put)
        with silent.accept()[0] as accepted:
            assert accepted.recv(100), "the account has bound"
            cancel()
            assert accepted.recv(100) == b""
        users.close()
        assert len(users.pool) == 0
        assert users.posted.empty()
        assert users.bench.warnings == []


def test_a_check_that_is_called_off_before_it_begins(asker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    users = asker()
    work: list[Any] = []
    users.users._context = users.bench.context._replace(submit=work.append)
    users.users.check("bob", BOB, users.posted.put)()
    work[0]()
    assert users.posted.empty()


def test_a_server_that_talks_nonsense(asker: Any) -> None:
    """It is left for the next one; there is none."""
    for data in (
        b"HTTP/1.0 400 Bad Request\r\n\r\n",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x03\x02\x01\x01",
        b"\x30\x80",
        b"",
    ):
        with socket.create_server(("127.0.0.1", 0)) as nonsense:
            users = asker(servers=("ldap://{}:{}".format(*nonsense.getsockname()),))
            users.users.check("bob", BOB, users.posted.put)
            with nonsense.accept()[0] as accepted:
                accepted.recv(100)
                accepted.sendall(data)
                accepted.shutdown(socket.SHUT_WR)
                result = users.posted.get(timeout=20)
            assert (result.user, result.counts) == (None, False), data
            assert result.reason.startswith("directory 'corp': ldap://")
