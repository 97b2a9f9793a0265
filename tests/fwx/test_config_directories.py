"""The tables ``[[directory]]``: what may be written, and what is said of what may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fwx.config import ConfigurationError, load
from fwx.config_check import load_checked
from fwx.config_directories import LdapDirectory, PluginDirectory, RadiusDirectory
from fwx.config_support import unsupported
from fwx.directories.context import DirectoryContext
from fwx.impl.authentication import WRONG, IPasswordAuthenticator
from fwx.interfaces import SocketAddress
from fwx.sdk import FilterOptions, implementer
from fwx.user_directories import read_directories

LDAP = """\
[[directory]]
name = "corp"
kind = "ldap"
servers = ["ldap://ldap.example.org", "ldaps://10.2.0.5:3269"]
base = "dc=example,dc=org"
"""
RADIUS = """\
[[directory]]
name = "branch"
kind = "radius"
servers = ["10.2.0.6:1812", "radius.example.org:1812"]
secret_file = "radius.secret"
"""
PLUGIN = f"""\
[[directory]]
name = "own"
kind = "plugin"
use = "{__name__}:OneUser"
options = {{ user = "ann" }}
"""
RULE = """\
[[rule]]
name = "r"
action = "allow"
protocols = ["any"]
from = ["any"]
to = ["any"]
"""


@implementer(IPasswordAuthenticator)
class OneUser:
    """What the configuration of these tests names."""

    class Options(FilterOptions):
        user: str

    def __init__(self, context: DirectoryContext, options: Options) -> None:
        self.context, self.options = context, options

    def check(self, name: str, password: bytes, done: Any) -> Any:
        self.context.post(done, WRONG)
        return lambda: None


class NoAuthenticator:
    pass


def write(folder: Path, text: str) -> Path:
    file = folder / "fwx.toml"
    file.write_text(text)
    return file


def said(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        load_checked(write(folder, text))
    return [f"{problem.line}: {problem.key}: {problem.message}" for problem in error.value.problems]


def test_the_tables(tmp_path: Path) -> None:
    configuration = load_checked(write(tmp_path, LDAP + RADIUS + PLUGIN))
    assert unsupported(configuration) == []
    ldap, radius, plugin = configuration.directories
    assert isinstance(ldap, LdapDirectory)
    assert isinstance(radius, RadiusDirectory)
    assert isinstance(plugin, PluginDirectory)
    assert ldap.servers == ("ldap://ldap.example.org", "ldaps://10.2.0.5:3269")
    assert (ldap.start_tls, ldap.speaks_tls, ldap.ca, ldap.bind_dn, ldap.password_file) == (
        True,
        True,
        None,
        None,
        None,
    )
    assert (ldap.user_filter, ldap.user_attribute) == ("(uid={user})", "uid")
    assert (ldap.group_base, ldap.group_filter, ldap.group_attribute) == (None, "(member={dn})", "cn")
    assert radius.servers == (SocketAddress("10.2.0.6", 1812), SocketAddress("radius.example.org", 1812))
    assert (radius.method, radius.tries, radius.group_attribute) == ("pap", 3, "Filter-Id")
    assert (radius.nas_identifier, radius.require_message_authenticator) == (None, True)
    assert [table.timeout_seconds for table in configuration.directories] == [5.0] * 3
    assert [table.cache_seconds for table in configuration.directories] == [60.0] * 3
    assert plugin.options == {"user": "ann"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[directory]]\nname = "a"\n', "1: directory.kind: is missing; expected 'ldap', 'radius' or 'plugin'"),
        (
            '[[directory]]\nname = "a"\nkind = "ldaps"\n',
            "3: directory.kind: 'ldaps' is not known; expected 'ldap', 'radius' or 'plugin'; did you mean 'ldap'?",
        ),
        (
            LDAP.replace("corp", r"c\\p"),
            r"2: directory.name: 'c\\p' has a backslash, which ends the name of a directory before that of a "
            r"user; expected a name, unique among its kind",
        ),
        (
            LDAP.replace("ldap://ldap", "http://ldap"),
            "4: directory.servers: 'http://ldap.example.org' does not begin with ldap:// or ldaps://; "
            "expected URLs such as ldap://ldap.example.org or ldaps://10.2.0.5:636",
        ),
        (
            LDAP.replace("example.org", "example.org/dc=x"),
            "4: directory.servers: 'ldap://ldap.example.org/dc=x' is neither an address nor a DNS name; "
            "expected URLs such as ldap://ldap.example.org or ldaps://10.2.0.5:636",
        ),
        (
            LDAP + 'user_filter = "(uid={name})"\n',
            "6: directory.user_filter: '(uid={name})' has {name}, which stands for nothing; expected an "
            "LDAP filter such as (uid={user})",
        ),
        (
            LDAP + 'user_filter = "(uid=*)"\n',
            "6: directory.user_filter: '(uid=*)' holds for everybody alike: it has no {user}; expected an "
            "LDAP filter such as (uid={user})",
        ),
        (
            LDAP + 'group_filter = "member={dn}"\n',
            "6: directory.group_filter: 'member={dn}' is not in parentheses that match; expected an LDAP "
            "filter such as (member={dn}) or (memberUid={user}), or '' for no groups",
        ),
        (
            LDAP + 'bind_dn = "cn=fwx"\n',
            "1: directory.password_file: is missing; bind_dn needs it; expected the path of a file that "
            "holds the account's password",
        ),
        (
            LDAP + 'password_file = "x"\n',
            "6: directory.password_file: 'x' is written without bind_dn; expected the path of a file that "
            "holds the account's password",
        ),
        (
            LDAP.replace(', "ldaps://10.2.0.5:3269"', "") + 'start_tls = false\nca = "x"\n',
            "7: directory.ca: 'x' is of no use where no server speaks TLS; expected the path of a file with "
            "the authorities of the servers' certificates in PEM",
        ),
        (
            LDAP + "timeout_seconds = 10\n",
            "6: directory.timeout_seconds: 10 is not less than handshake_seconds in [limits], 10: clients "
            "would be gone",
        ),
        (
            LDAP + "timeout_seconds = 4\n[limits]\nhandshake_seconds = 3\n",
            "6: directory.timeout_seconds: 4 is not less than handshake_seconds in [limits], 3: clients would be gone",
        ),
        (
            LDAP + "cache_seconds = -1\n",
            "6: directory.cache_seconds: -1 is out of range; expected a number of seconds, 0 for no memory",
        ),
        (RADIUS + "tries = 11\n", "6: directory.tries: 11 is out of range; expected a whole number from 1 to 10"),
        (
            RADIUS + 'method = "mschap"\n',
            "6: directory.method: 'mschap' is not known; expected 'pap' or 'chap'; did you mean 'chap'?",
        ),
        (
            LDAP + LDAP,
            "7: directory.name: 'corp' is already the name of a [[directory]] in line 2; expected another name",
        ),
        (
            LDAP + "[[user]]\nname = 'corp\\bob'\npassword = \"$argon2id$\"\n",
            r"7: user.name: 'corp\\bob' is the name of a user of the directory 'corp'; expected another name",
        ),
        (PLUGIN.replace('"ann"', "5"), "5: directory.options.user: 5 is a whole number, not a string"),
        (
            PLUGIN.replace("OneUser", "NoAuthenticator"),
            f"4: directory.use: {__name__}:NoAuthenticator is no class that implements IPasswordAuthenticator",
        ),
        (
            PLUGIN.replace(f"{__name__}:OneUser", "pam"),
            "4: directory.use: no distribution offers 'pam' in the entry point group fwx.authenticators; "
            "expected an entry point, or module:Class",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    assert said(tmp_path, text) == [message]


@pytest.mark.parametrize(
    "names", ['users = ["bob"]', "users = ['corp\\bob']", 'groups = ["staff"]', "groups = ['corp\\x']"]
)
def test_rules_may_name_those_of_directories(tmp_path: Path, names: str) -> None:
    assert load(write(tmp_path, LDAP + RULE + names + "\n")).rules


@pytest.mark.parametrize("names", ["users = ['crop\\bob']", "groups = ['crop\\staff']", "users = ['corp\\']"])
def test_rules_may_name_no_other_directory(tmp_path: Path, names: str) -> None:
    (problem,) = said(tmp_path, LDAP + RULE + names + "\n")
    key = names.partition("s = ")[0]
    assert problem.startswith(f"12: rule.{key}s: unknown {key} ")


def test_without_a_directory_a_name_must_be_in_the_file(tmp_path: Path) -> None:
    (problem,) = said(tmp_path, RULE + 'users = ["bob"]\n')
    assert problem.startswith("7: rule.users: unknown user 'bob'")


def test_every_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "radius.secret").write_text("secret")
    (tmp_path / "radius.secret").chmod(0o644)
    text = LDAP + 'ca = "no.pem"\n' + RADIUS + LDAP.replace("corp", "more") + 'bind_dn = "cn=x"\npassword_file = "no"\n'
    with pytest.raises(ConfigurationError) as error:
        read_directories(load(write(tmp_path, text)))
    found = [f"{problem.line}: {problem.key}: {problem.message}" for problem in error.value.problems]
    assert [words.partition(f"{tmp_path}/")[::2] for words in found] == [
        (
            "6: directory.ca: ",
            "no.pem holds no certificates in PEM that can be read: [Errno 2] No such file or directory",
        ),
        ("11: directory.secret_file: ", "radius.secret has mode 0644, which lets other users in; expected 0600"),
        ("18: directory.password_file: ", "no cannot be opened: No such file or directory"),
    ]
