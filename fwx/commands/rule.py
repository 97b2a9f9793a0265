"""``fwx rule``: the rules of a configuration file, listed and edited in place."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from fwx.change.place import state_dir_of
from fwx.commands.apply import tell
from fwx.config import Configuration, ConfigurationError, load
from fwx.config_references import DEFAULT_RULE
from fwx.control import ControlError
from fwx.rule_file.editor import Edit, EditError, Place, RuleEditor, Table
from fwx.rule_file.layout import lines_of
from fwx.rule_file.replacement import ReplacementError, locked
from fwx.rule_file.table import Value, pair_of, table_of
from fwx.rule_warnings import unreachable_rules

DEFAULT_FILE: Final = Path("/etc/fwx/fwx.toml")
"""What is edited where nothing else is said: the file that the unit of the service names."""

# What is told of a rule where it says otherwise.
_USUALLY: Final = {
    "users": ["any"],
    "groups": [],
    "source_ports": [],
    "content_types": [],
    "schedule": "",
    "upstream": "",
    "filters": [],
}

_config = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    help="The configuration file.",
)


@click.group()
def rule() -> None:
    """List and edit the rules of a configuration file.

    Comments and everything else that is not edited stay as they are; comments directly above a rule go with it. The
    whole file is judged before it is written, and replaced at once. The service goes on with the rules that it has
    until it is told: --apply, or 'fwx apply'.
    """


def _edits(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* the options that all edits have."""
    options = (
        _config,
        click.option("--dry-run", is_flag=True, help="Print what would change as a diff; write nothing."),
        click.option("--apply", "applies", is_flag=True, help="Then have the running service go by the file."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _places(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option("--before", metavar="NAME", help="Directly before the rule NAME."),
        click.option("--after", metavar="NAME", help="Directly after the rule NAME."),
        click.option("--first", is_flag=True, help="Before all others."),
        click.option("--last", is_flag=True, help="After all others, but the built-in one."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@rule.command("list")
@_config
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON documents.")
def list_(file: Path, as_json: bool) -> None:
    """List the rules in the order in which they are tried, with their lines."""
    try:
        configuration = load(file)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    rows = list(_rows(configuration))
    words = list(map(_words, rows)) or ["no rules: this machine itself is allowed everything, and nobody else"]
    click.echo(json.dumps(rows, indent=2) if as_json else "\n".join(words))


def _rows(configuration: Configuration) -> Iterator[dict[str, Any]]:
    """Yield of each rule what is written of it, by the keys of the file: system rules, the others, the built-in one."""
    for number, each in enumerate(configuration.all_rules):
        table, index = path = configuration.rule_path(number)
        flags = {"enabled": each.enabled, "log": each.log, "shadow": each.shadow, "system": table == "system_rule"}
        yield {
            "order": number + 1,
            "line": configuration.line(path),
            **flags,
            **configuration.source.data[table][index],
        }
    if configuration.rules:
        everything = {"protocols": ["any"], "from": ["any", "localhost"], "to": ["any", "localhost"]}
        flags = {"enabled": True, "log": True, "shadow": False, "system": False}
        place = {"order": len(configuration.all_rules) + 1, "line": None}
        yield {**place, **flags, "name": DEFAULT_RULE, "action": "deny", **everything}


def _words(row: dict[str, Any]) -> str:
    place = "built in" if row["line"] is None else f"line {row['line']}"
    flags = "".join(
        f", {word}"
        for word, is_so in (
            ("system rule", row["system"]),
            ("disabled", not row["enabled"]),
            ("shadow", row["shadow"]),
            ("not logged", not row["log"]),
        )
        if is_so
    )
    more = "".join(
        f"; {key.replace('_', ' ')} {_listed(row[key])}"
        for key, usual in _USUALLY.items()
        if row.get(key, usual) != usual
    )
    what = f"{row['action']} {_listed(row['protocols'])} from {_listed(row['from'])} to {_listed(row['to'])}"
    return f"{row['order']}. {row['name']!r} ({place}{flags}): {what}{more}"


def _listed(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(value)


@rule.command()
@click.argument("name")
@click.option("--allow", "action", flag_value="allow", help="What the rule matches is allowed.")
@click.option("--deny", "action", flag_value="deny", help="What the rule matches is denied.")
@click.option("--protocols", metavar="NAMES", multiple=True, help="Protocols, or any.")
@click.option("--from", "source", metavar="NAMES", multiple=True, help="Networks.")
@click.option("--to", "destination", metavar="NAMES", multiple=True, help="Networks, domains and the like.")
@click.option("--users", metavar="NAMES", multiple=True, help="Users, or authenticated.")
@click.option("--groups", metavar="NAMES", multiple=True, help="Groups.")
@click.option("--source-ports", metavar="PORTS", multiple=True, help="Ports of the client, such as 1024-65535.")
@click.option("--schedule", metavar="NAME", default="", help="A schedule; without it the rule holds always.")
@click.option("--filters", metavar="NAMES", multiple=True, help="Filters that see what the rule allows.")
@click.option("--upstream", metavar="NAME", default="", help="The upstream that it goes through.")
@click.option("--content-types", metavar="TYPES", multiple=True, help="Types of responses, such as image/*.")
@click.option("--system", is_flag=True, help="A system rule, about traffic to or from the firewall itself.")
@click.option("--no-log", is_flag=True, help="What the rule decides is not logged.")
@click.option("--shadow", is_flag=True, help="The rule decides nothing; the log tells what it would do.")
@click.option("--disabled", is_flag=True, help="The rule is switched off for now.")
@click.option("--set", "pairs", metavar="KEY=VALUE", multiple=True, help="Any other key, with a value of TOML.")
@click.option("--comment", metavar="TEXT", default="", help="A comment above the rule.")
@_places
@_edits
def add(
    name: str,
    action: str | None,
    source: tuple[str, ...],
    destination: tuple[str, ...],
    no_log: bool,
    pairs: tuple[str, ...],
    comment: str,
    **more: Any,
) -> None:
    """Add the rule NAME, behind all others unless a place is given.

    NAMES are separated by commas, and the option may be repeated. The built-in rule stays the last one.
    """
    if action is None:
        raise click.UsageError("one of --allow and --deny is needed")
    place = _place(**_taken(more, "before", "after", "first", "last")) or Place("last")
    values: dict[str, Value] = {"name": name, "action": action}
    named = {"protocols": more.pop("protocols"), "from": source, "to": destination}
    for key in ("users", "groups", "source_ports", "schedule", "content_types", "filters", "upstream"):
        named[key] = more.pop(key)
    values |= {key: value if isinstance(value, str) else _names(value) for key, value in named.items() if value}
    values |= {"log": False} if no_log else {}
    values |= {"shadow": True} if more.pop("shadow") else {}
    values |= {"enabled": False} if more.pop("disabled") else {}
    try:
        written = dict(map(pair_of, pairs))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--set") from None
    if missing := [f"--{key}" for key in ("protocols", "from", "to") if key not in values and key not in written]:
        raise click.UsageError(f"{', '.join(missing)} needed")
    if twice := sorted(values.keys() & written.keys()):
        raise click.UsageError(f"--set has {', '.join(twice)}, which an option says already")
    if len(written) < len(pairs):
        raise click.UsageError("--set has one key twice")
    table: Table = "system_rule" if more.pop("system") else "rule"
    try:
        table_of(table, values, (), comment, "")
    except ValueError as error:
        raise click.UsageError(str(error)) from None

    def added(editor: RuleEditor) -> Edit:
        return editor.add(table_of(table, values, written.values(), comment, editor.newline), place, table)

    _edit(added, **more)


@rule.command()
@click.argument("name")
@_places
@_edits
def move(name: str, **more: Any) -> None:
    """Move the rule NAME to another place, with the comments directly above it."""
    place = _place(**_taken(more, "before", "after", "first", "last"))
    if place is None:
        raise click.UsageError("one of --before, --after, --first and --last is needed")
    _edit(lambda editor: editor.move(name, place), **more)


@rule.command()
@click.argument("name")
@_edits
def remove(name: str, **more: Any) -> None:
    """Remove the rule NAME, with the comments directly above it."""
    _edit(lambda editor: editor.remove(name), **more)


@rule.command()
@click.argument("name")
@_edits
def disable(name: str, **more: Any) -> None:
    """Switch the rule NAME off: it stays in the file, and matches nothing."""
    _edit(lambda editor: editor.enable(name, False), **more)


@rule.command()
@click.argument("name")
@_edits
def enable(name: str, **more: Any) -> None:
    """Switch the rule NAME on again."""
    _edit(lambda editor: editor.enable(name, True), **more)


def _taken(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options.pop(name) for name in names}


def _place(before: str | None, after: str | None, first: bool, last: bool) -> Place | None:
    given = [
        place
        for place, is_given in (
            (Place("before", before or ""), before is not None),
            (Place("after", after or ""), after is not None),
            (Place("first"), first),
            (Place("last"), last),
        )
        if is_given
    ]
    if len(given) > 1:
        raise click.UsageError("a rule has one place: give one of --before, --after, --first and --last")
    return given[0] if given else None


def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts for name in text.split(","))


def _edit(edit: Callable[[RuleEditor], Edit], file: Path, dry_run: bool, applies: bool) -> None:
    """Do *edit* with *file*, or show it; say what has been done, and warn as ``fwx check`` does."""
    try:
        with locked(file) as held:
            done = edit(RuleEditor(file, held.content))
            if dry_run:
                click.echo("".join(_diff(file, held.content, done.content)), nl=False)
            elif done.content != held.content:
                held.replace(done.content)
    except ConfigurationError as error:
        raise click.ClickException(f"nothing has been written:\n{error}") from error
    except (EditError, ReplacementError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(done.words, err=dry_run)
    for problem in unreachable_rules(done.configuration):
        click.echo(f"{problem.file}:{problem.line}: {problem.key}: warning: {problem.message}", err=True)
    if applies:
        _apply(file, done.content, dry_run=dry_run)


def _apply(file: Path, content: bytes, *, dry_run: bool) -> None:
    """Have the service that runs with *file* go by *content*, which is in it or would be; exits with 1 if not."""
    asked = {"path": str(file.absolute()), "bytes": len(content)}
    try:
        tell(state_dir_of(file), "apply", content, asked, dry_run=dry_run, as_json=False)
    except (ConfigurationError, ControlError, TimeoutError) as error:
        words = str(error) or "the service does not go on with its answer"
        raise click.ClickException(words if dry_run else f"the file is written, but not applied: {words}") from error


def _diff(file: Path, old: bytes, new: bytes) -> Iterator[str]:
    before, after = (lines_of(text.decode()) for text in (old, new))
    for line in difflib.unified_diff(before, after, str(file), f"{file} (edited)"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
