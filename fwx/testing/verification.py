"""Shape: does a class or an object have the members of an interface, to the letter?

zope.interface compares numbers of arguments. This compares what the contract fixes: names, order, optional arguments,
plain functions, directions, properties and the IID; and it reports everything at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyClass, verifyObject

import fwx.interfaces as contract
from fwx.interfaces import (
    COMError,
    COMInterfaceClass,
    IFWXExternalIOCompletion,
    IFWXIOCompletion,
    MethodInfo,
    Passing,
    interface_of,
    methods,
    query_iid,
)
from fwx.testing.battery import ConformanceError

_RETURNED = frozenset({Passing.RESULT, Passing.RESULT_LENGTH})
_IN_PLACE = frozenset({inspect.Parameter.POSITIONAL_OR_KEYWORD})
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Breach:
    """One difference from the contract; ``method`` is empty where the interface as a whole is concerned."""

    interface: str
    method: str
    expected: str
    found: str

    def __str__(self) -> str:
        place = f"{self.interface}.{self.method}" if self.method else self.interface
        return f"{place}: expected {self.expected}, found {self.found}"


def verify(candidate: object, interface: COMInterfaceClass) -> None:
    """Make sure that *candidate*, an object or a class, has every member of *interface*. Called by tests.

    :raises ConformanceError: it has not; lists every breach at once.
    :raises TypeError: *interface* is no COM interface.
    """
    found = breaches(candidate, interface)
    if found:
        name = candidate.__qualname__ if isinstance(candidate, type) else type(candidate).__qualname__
        raise ConformanceError(name, found)


def breaches(candidate: object, interface: COMInterfaceClass) -> list[Breach]:
    """Return every difference between *candidate*, an object or a class, and *interface*; none is an empty list.

    :raises TypeError: *interface* is no COM interface.
    """
    if not isinstance(interface, COMInterfaceClass):
        raise TypeError(f"expected an interface derived from IUnknown, not {interface!r}")
    found = [*_of_the_interface(interface), *_of_the_declaration(candidate, interface)]
    for method in methods(interface):
        found += _of_the_property(candidate, method) if method.is_property else _of_the_method(candidate, method)
    return found + _zope_breaches(candidate, interface, {breach.method for breach in found})


# ---- the interface and what is declared ------------------------------------------------------------------------------


def _of_the_interface(interface: COMInterfaceClass) -> Iterator[Breach]:
    name = interface.__name__
    published = getattr(contract, name, None)
    identifier = query_iid(interface)
    if published is interface:
        return
    if identifier is None:
        yield Breach(name, "", "an IID of its own: taggedValue('iid', UUID(...))", "none")
        return
    if isinstance(published, COMInterfaceClass):
        right = query_iid(published)
        yield Breach(name, "", f"fwx.interfaces.{name} with the IID {right}", f"another interface, {identifier}")
        return
    owner = interface_of(identifier)
    if owner is not None:
        yield Breach(name, "", "an IID of its own", f"{identifier}, which is {owner.__name__}'s")


def _of_the_declaration(candidate: object, interface: COMInterfaceClass) -> Iterator[Breach]:
    if not _provides(candidate, interface):
        yield Breach(interface.__name__, "", f"@implementer({interface.__name__}) on the class", "no such declaration")
    if _provides(candidate, IFWXIOCompletion) and _provides(candidate, IFWXExternalIOCompletion):
        yield Breach(
            interface.__name__,
            "CompleteAsyncIO",
            "one class for IFWXIOCompletion and another for IFWXExternalIOCompletion, whose parameters differ",
            "one that declares both",
        )


def _provides(candidate: object, interface: COMInterfaceClass) -> bool:
    if isinstance(candidate, type):
        return bool(interface.implementedBy(candidate))
    return bool(interface.providedBy(candidate))


# ---- members ---------------------------------------------------------------------------------------------------------


def _of_the_property(candidate: object, method: MethodInfo) -> Iterator[Breach]:
    name = method.interface.__name__
    wanted = f"a read-only attribute ([propget], {method.raw_name} on the COM face alone)"
    static = inspect.getattr_static(candidate, method.name, _NOTHING)
    if static is _NOTHING:
        written_out = inspect.getattr_static(candidate, method.raw_name, _NOTHING)
        if written_out is not _NOTHING:
            yield Breach(name, method.name, wanted, f"the method {method.raw_name}")
        elif not isinstance(candidate, type) and not hasattr(candidate, method.name):
            yield Breach(name, method.name, wanted, "nothing")
    elif inspect.isroutine(static) or isinstance(static, staticmethod | classmethod):
        yield Breach(name, method.name, wanted, "a method")


def _of_the_method(candidate: object, method: MethodInfo) -> list[Breach]:
    name = method.interface.__name__
    declared: Any = method.interface.declarations[method.name]
    wanted = inspect.signature(declared).parameters
    shown = f"a method ({', '.join(wanted)})"
    member: Any = inspect.getattr_static(candidate, method.name, _NOTHING)
    has_self = inspect.isfunction(member) and method.name not in _own_attributes(candidate)
    try:
        member = member if has_self else getattr(candidate, method.name, _NOTHING)
    except TypeError as error:
        return [Breach(name, method.name, shown, f"what cannot be called: {error}")]
    if member is _NOTHING:
        return [Breach(name, method.name, shown, "nothing")]
    if not callable(member):
        return [Breach(name, method.name, shown, f"{type(member).__name__} {member!r}")]
    found = [Breach(name, method.name, "a plain function", kind) for kind in _odd_kinds(member)]
    try:
        signature = inspect.signature(member)
    except (TypeError, ValueError) as error:
        return [*found, Breach(name, method.name, shown, f"parameters that cannot be read: {error}")]
    parameters = list(signature.parameters.values())
    if has_self:
        if not parameters or parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
            return [*found, Breach(name, method.name, "self as the first parameter", str(signature))]
        parameters = parameters[1:]
    found += [
        Breach(name, method.name, expected, text) for expected, text in _parameter_faults(method, wanted, parameters)
    ]
    if signature.return_annotation in (None, "None") and _outs(method):
        found.append(Breach(name, method.name, f"the result {', '.join(_outs(method))} ([out])", "-> None"))
    return found


def _own_attributes(candidate: object) -> Mapping[str, object]:
    """Return the attributes of an object that are not its class's: a function among them has no self."""
    return {} if isinstance(candidate, type) else getattr(candidate, "__dict__", {})


def _odd_kinds(member: Any) -> Iterator[str]:
    function = inspect.unwrap(member)
    if inspect.iscoroutinefunction(function):
        yield "a coroutine function"
    elif inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        yield "a generator function"


def _outs(method: MethodInfo) -> list[str]:
    return [parameter.name for parameter in method.parameters if parameter.passing is Passing.RESULT]


def _parameter_faults(
    method: MethodInfo, wanted: Mapping[str, inspect.Parameter], found: list[inspect.Parameter]
) -> Iterator[tuple[str, str]]:
    """Go through what is wrong with the parameters: what was expected, and what there is."""
    returned = {parameter.name: parameter for parameter in method.parameters if parameter.passing in _RETURNED}
    named = []
    for parameter in found:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            yield "every parameter by its name", str(parameter)
        elif parameter.name in returned and parameter.name not in wanted:
            yield f"{parameter.name} as a result ([out])", f"the parameter {parameter.name}"
        elif parameter.name not in wanted and parameter.default is not inspect.Parameter.empty:
            yield "no further parameter", f"the optional {parameter.name}"
        else:
            named.append(parameter)
    names = [parameter.name for parameter in named]
    if names != list(wanted):
        yield f"the parameters ({', '.join(wanted)})", f"({', '.join(names)})"
    for parameter in named:
        if parameter.name in wanted:
            yield from _passing_faults(wanted[parameter.name], parameter)


def _passing_faults(wanted: inspect.Parameter, found: inspect.Parameter) -> Iterator[tuple[str, str]]:
    name = wanted.name
    if found.kind not in _IN_PLACE:
        yield f"{name} to be passed in place or by name", f"a {found.kind.description} parameter"
    if (found.default is found.empty) != (wanted.default is wanted.empty):
        is_optional = found.default is not found.empty
        words = ("required", "optional") if is_optional else ("optional", "required")
        yield f"{name} to be {words[0]}", f"it {words[1]}"


# ---- zope's own checks -----------------------------------------------------------------------------------------------


def _zope_breaches(candidate: object, interface: COMInterfaceClass, known: set[str]) -> list[Breach]:
    """Return what zope.interface finds beyond the *known* methods, which have been reported in better words."""
    errors: list[Any] = []
    try:
        if isinstance(candidate, type):
            verifyClass(interface, candidate, tentative=True)
        else:
            verifyObject(interface, candidate, tentative=True)
    except Invalid as invalid:
        errors = list(getattr(invalid, "exceptions", (invalid,)))
    except (COMError, TypeError):
        # A property may answer E_NOTIMPL, and a descriptor may refuse the object; both were looked at above.
        return []
    return [
        Breach(interface.__name__, method, "what zope.interface asks for", str(error))
        for error in errors
        for method in [_method_of(error)]
        if method not in known
    ]


def _method_of(error: Any) -> str:
    method = getattr(error, "method", None) or getattr(error, "name", None)
    return str(getattr(method, "__name__", method) or "")
