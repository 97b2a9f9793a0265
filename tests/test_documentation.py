"""What README.rst and the documentation show is what the project has."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
from zope.interface import implementedBy
from zope.interface.interface import InterfaceClass

import fwx.impl
import fwx.interfaces
import fwx.testing
from fwx import interfaces
from fwx.authenticators import Directories
from fwx.cli import COMMANDS
from fwx.config import load
from fwx.config_support import REFUSALS, SUPPORTED_KEYS, unsupported
from fwx.firewall_log_schema import ALERT_COLUMNS, COLUMNS
from fwx.impl.connection import FWXConnection
from fwx.impl.firewallaction import FWXFirewallAction
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.radiusauthenticator import FWXRadiusAuthenticator
from fwx.impl.sockets import FWXSocket
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import E_NOTIMPL, FWX_PROTOCOL_TCP, COMError, SocketAddress, fwxSourceWSP, methods
from fwx.service import Service
from fwx.service_events import EVENTS
from fwx.testing import Playbook

# What a filter provides and this version calls.
CALLED = {
    "IClassFactory",
    "IFWXAcceptCompletion",
    "IFWXAuthenticationCompletion",
    "IFWXDataFilter",
    "IFWXExternalIOCompletion",
    "IFWXFilter",
    "IFWXIOCompletion",
    "IFWXLowResourceRecoveryOperation",
    "IFWXPerRuleData",
    "IFWXPerRuleDataplugin",
    "IFWXPolicyChangeNotification",
    "IFWXNetConfigDetectionNotification",
    "IFWXSessionFilter",
    "IFWXSlowDataFilter",
    "IFWXTaskCompletion",
}
CLIENT = SocketAddress("127.0.0.1", 40000)
LOCAL = SocketAddress("127.0.0.1", 0)
TARGET = SocketAddress("127.0.0.1", 80)


class Nobody:
    """An owner of operations that there are none of."""

    def completion_failed(self, error: BaseException) -> None:
        raise error


def connection_of(service: Service) -> FWXConnection:
    session = service.sessions.of(CLIENT, fwxSourceWSP)
    return FWXConnection(session, CLIENT, TARGET, service.engine.policy.judge(CLIENT.host, CLIENT.port, TARGET))


def snapshot_of(service: Service) -> Any:
    return service.firewall.GetNetConfigDetector().GetCurrentSnapshot()


OBJECTS: dict[str, Callable[[Service], Any]] = {
    "IFWXFirewall": lambda service: service.firewall,
    "IFWXFirewall2": lambda service: service.firewall,
    "IFWXFirewall3": lambda service: service.firewall,
    "IFWXReservedPorts": lambda service: service.firewall.ReservePorts(FWX_PROTOCOL_TCP, LOCAL, None, 1),
    "IFWXFirewallAction": lambda _service: FWXFirewallAction(lambda: True),
    "IFWXSession2": lambda service: service.sessions.of(CLIENT, fwxSourceWSP),
    "IFWXSession": lambda service: service.sessions.of(CLIENT, fwxSourceWSP),
    "IFWXImpersonator": lambda _service: FWXAuthenticatedUser("ann"),
    "IFWXAuthenticatedUser": lambda _service: FWXAuthenticatedUser("ann"),
    "IFWXRadiusAuthenticator": lambda service: FWXRadiusAuthenticator(service.engine, Directories({})),
    "IFWXConnection": connection_of,
    "IFWXSocket": lambda service: FWXSocket(service.engine.queue, Nobody()),
    "IFWXNetworkSocket": lambda service: service.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP),
    "IFWXNetworkSocketInspection": lambda service: service.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP),
    "IFWXIOBuffer": lambda _service: FWXIOBuffer(b""),
    "IFWXIpFilter": lambda service: service.firewall.CreateIpFilter(),
    "IFWXOverlapped": lambda service: service.firewall.CreateOverlapped(),
    "IFWXLowResourceRecoverer": lambda service: service.firewall.GetLowResourceRecoverer(),
    "IFWXNetConfigDetector": lambda service: service.firewall.GetNetConfigDetector(),
    "IFWXNetConfigDetectionSnapshot": snapshot_of,
    "IFWXNetworkElement": lambda service: snapshot_of(service).GetLocalHostNetworkElement(),
    "IFWXNetworkElements": lambda service: snapshot_of(service).GetNetworkElements(),
    "IFWXNetworkSet": lambda service: snapshot_of(service).GetNetworkSets().GetItem(1),
    "IFWXNetworkSets": lambda service: snapshot_of(service).GetNetworkSets(),
    "IFWXNetworkAdapter": lambda service: snapshot_of(service).GetNetworkAdapters().GetItem(1),
    "IFWXNetworkAdapter2": lambda service: snapshot_of(service).GetNetworkAdapters().GetItem(1),
    "IFWXNetworkAdapters": lambda service: snapshot_of(service).GetNetworkAdapters(),
    "IFWXNetworkAddress": lambda service: snapshot_of(service).GetNetworkAddresses().GetItem(1),
    "IFWXNetworkAddresses": lambda service: snapshot_of(service).GetNetworkAddresses(),
}


def own_methods(interface: str) -> list[Any]:
    declared = getattr(interfaces, interface)
    return [method for method in methods(declared) if method.interface is declared]


def refuses(target: Any, method: Any) -> bool:
    """Call *method* with nothing but ``None``: one that is not there refuses whatever it is given."""
    function = getattr(target, method.name)
    try:
        function(*[None] * len(inspect.signature(function).parameters))
    except COMError as error:
        return error.hresult == E_NOTIMPL
    except TypeError:  # it looked at its arguments, so it is there
        return False
    return False


async def refused_methods() -> dict[str, list[str]]:
    service = Service(load(None))
    try:
        found = {
            interface: [method.name for method in own_methods(interface) if refuses(make(service), method)]
            for interface, make in OBJECTS.items()
        }
    finally:
        await service.stop(0)
    return {interface: names for interface, names in found.items() if names}


def page(source_tree: Path, name: str) -> str:
    return (source_tree / "docs" / f"{name}.rst").read_text()


def section(text: str, title: str) -> str:
    """Return what stands under the heading *title*, up to the next heading."""
    _, _, rest = text.partition(f"\n{title}\n{'-' * len(title)}\n")
    assert rest, f"no section {title!r}"
    return re.split(r"\n[^\n]+\n-{4,}\n", rest)[0]


def staying_away(source_tree: Path) -> str:
    """Return what is said of interfaces that no object has, and of methods that are refused for good."""
    return section(page(source_tree, "com-mapping"), "What stays away")


def rows(text: str) -> dict[str, str]:
    """Return the rows of the list tables in *text*: the first cell without its quotes, and the rest as one text."""
    found = re.findall(r"^   \* - ``([^`]+)``\n((?:     .*\n|\n(?=     ))+)", text + "\n", re.MULTILINE)
    return dict(found)


def test_the_readme_shows_the_example_filter_letter_for_letter(source_tree: Path) -> None:
    example = (source_tree / "examples" / "refuse_telnet.py").read_text()
    assert textwrap.indent(example, "    ") in (source_tree / "README.rst").read_text()


def test_the_page_on_coroutines_shows_the_example_that_is_tested(source_tree: Path) -> None:
    """It is short, and imports nothing but the SDK."""
    assert ".. literalinclude:: ../examples/shout.py\n" in page(source_tree, "async")
    example = (source_tree / "examples" / "shout.py").read_text()
    assert len(example.splitlines()) < 40
    assert re.findall(r"^(?:import|from) .*", example, re.MULTILINE) == ["from fwx import sdk"]


def test_every_make_target_that_is_mentioned_exists(source_tree: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (source_tree / "Makefile").read_text(), re.MULTILINE))
    pages = [source_tree / "README.rst", *sorted((source_tree / "docs").glob("*.rst"))]
    mentioned = {name for page in pages for name in re.findall(r"(?:``| {4})make ([a-z-]+)", page.read_text())}
    assert mentioned
    assert mentioned <= targets


def test_the_configuration_that_is_shown_is_valid_and_supported(source_tree: Path) -> None:
    configuration = load(source_tree / "docs" / "fwx.toml")
    assert [rule.name for rule in configuration.rules] == ["browse", "updates", "www"]
    assert unsupported(configuration) == []


def test_the_methods_that_are_not_there_are_listed(source_tree: Path) -> None:
    """Those that are still to come, and those that stay away."""
    never = {name: cells for name, cells in rows(staying_away(source_tree)).items() if name in OBJECTS}
    listed = rows(section(page(source_tree, "not-yet"), "Methods")) | never
    names = {
        interface: re.findall(r"``(\w+)``", cells.partition("\n     - ")[0]) for interface, cells in listed.items()
    }
    assert names == asyncio.run(refused_methods())


def test_the_interfaces_that_nobody_provides_are_listed(source_tree: Path) -> None:
    provided = {interface.__name__ for cls in _implementations() for interface in implementedBy(cls).flattened()}
    declared = {name for name in interfaces.__all__ if isinstance(getattr(interfaces, name), InterfaceClass)}
    not_yet = re.findall(r"``(I\w+)``", section(page(source_tree, "not-yet"), "Interfaces"))
    never = [name for name in rows(staying_away(source_tree)) if name not in OBJECTS]
    assert not_yet == sorted(not_yet)
    assert sorted([*not_yet, *never]) == sorted(declared - provided - CALLED)


def _implementations() -> Iterator[type]:
    for module in iter_modules(fwx.impl.__path__, "fwx.impl."):
        yield from (cls for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass))


def test_the_events_that_are_raised_are_listed(source_tree: Path) -> None:
    sources = "".join(path.read_text() for path in sorted((source_tree / "impl").glob("*.py")))
    raised = set(re.findall(r"FwxFirewallEventParameters\.of\(\s*(fwx_\w+)", sources))
    listed = re.findall(r"``(fwx_\w+)``", section(page(source_tree, "not-yet"), "Events"))
    assert set(listed) == raised


def test_the_keys_that_are_refused_are_listed(source_tree: Path) -> None:
    assert rows(section(page(source_tree, "not-yet"), "Configuration")).keys() == REFUSALS.keys()


def test_the_keys_that_are_done_are_listed_with_their_table(source_tree: Path) -> None:
    text = page(source_tree, "configuration")
    for table, keys in SUPPORTED_KEYS.items():
        title = next(name for name in (f"[{table}]", f"[[{table}]]") if f"\n{name}\n" in text)
        if table == "system_rule":
            assert (keys, "``[[rule]]``" in section(text, title)) == (SUPPORTED_KEYS["rule"], True)
        else:
            assert rows(section(text, title)).keys() == keys, title


@pytest.mark.parametrize("interface", OBJECTS)
def test_the_result_of_every_method_is_told(source_tree: Path, interface: str) -> None:
    """Each method of an object of the service is in the table of results, or in the list of what is not there yet."""
    told = rows(section(page(source_tree, "results"), interface))
    missing = rows(section(page(source_tree, "not-yet"), "Methods")).get(interface, "")
    absent = re.findall(r"``(\w+)``", missing)
    assert sorted([*told, *absent]) == sorted(method.name for method in own_methods(interface))


def test_limits_of_the_code_have_the_values_that_the_pages_tell(source_tree: Path) -> None:
    """B9.27: how many commands and mails an attacker can cause at a time is among them."""
    told = {
        name: cells.split("\n")[0].removeprefix("     - ")
        for path in sorted((source_tree / "docs").glob("*.rst"))
        for name, cells in rows(path.read_text()).items()
        if re.fullmatch(r"fwx(\.\w+)+\.[A-Z_]+", name)
    }
    assert len(told) > 10
    for name, value in told.items():
        module, _, constant = name.rpartition(".")
        assert float(value) == getattr(importlib.import_module(module), constant), name


@pytest.mark.parametrize(
    ("name", "title", "columns"),
    [("firewall-log", "Fields", COLUMNS), ("operation", "Alerts", ALERT_COLUMNS)],
)
def test_every_column_of_the_log_is_explained(
    source_tree: Path, name: str, title: str, columns: dict[str, str]
) -> None:
    assert list(rows(section(page(source_tree, name), title))) == list(columns)


def test_the_actions_that_are_logged_are_listed(source_tree: Path) -> None:
    sources = "".join(
        path.read_text() for folder in ("impl", "fwx") for path in sorted((source_tree / folder).glob("*.py"))
    )
    written = set(re.findall(r"\bAction\.([A-Z]\w+)", sources))
    listed = dict(
        re.findall(r"^- (\d+) ``(\w+)``", section(page(source_tree, "firewall-log"), "Actions"), re.MULTILINE)
    )
    assert {int(number): name for number, name in listed.items()} == {Action[name].value: name for name in written}


def test_every_built_in_event_is_told_with_its_severity(source_tree: Path) -> None:
    told = rows(section(page(source_tree, "alerts"), "Built-in events"))
    severities = {name: cells.splitlines()[0].removeprefix("     - ") for name, cells in told.items()}
    assert severities == {event.name: event.severity.name.lower() for event in EVENTS.values()}


def test_every_command_is_told(source_tree: Path) -> None:
    assert rows(section(page(source_tree, "operation"), "Commands")).keys() == {f"fwx {name}" for name in COMMANDS}


def test_every_module_of_the_contract_has_its_page(source_tree: Path) -> None:
    pages = "".join(path.read_text() for path in (source_tree / "docs" / "api").glob("*.rst"))
    for module in iter_modules(fwx.interfaces.__path__, "fwx.interfaces."):
        assert f".. automodule:: {module.name}\n" in pages, module.name


def test_every_battery_is_told(source_tree: Path) -> None:
    batteries = {name for name in fwx.testing.__all__ if name.startswith("check_")}
    told = set(re.findall(r"``(check_\w+)\(", page(source_tree, "testing-a-filter")))
    assert told == batteries
    assert batteries <= set(re.findall(r"fwx\.testing\.(\w+)$", page(source_tree, "api/testing"), re.MULTILINE))


def test_every_step_of_a_playbook_is_told(source_tree: Path) -> None:
    text = page(source_tree, "testing-a-filter")
    steps = [name for name, _ in inspect.getmembers(Playbook, inspect.isfunction) if not name.startswith("_")]
    assert [name for name in steps if name != "play" and f"``{name}(" not in text] == []
