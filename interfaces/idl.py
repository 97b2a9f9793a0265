"""The IDL of an interface, read back from its declaration: every parameter in vtable order.

Who asks: the COM face (:mod:`fwx.impl.raw`), the conformance tests, and ``fwx idl``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from functools import cache
from importlib import import_module
from types import FunctionType, MappingProxyType, NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from fwx.interfaces.com import COMInterfaceClass, Direction, Idl, Length, LengthOf, MethodIdl, Out, iid
from fwx.interfaces.hresult import HRESULT

_NAMESPACE = "fwx.interfaces"
_DIGITS = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_IID_TEXT = re.compile(rf"\{{(?P<braced>{_DIGITS})\}}|(?P<bare>{_DIGITS})")


class Passing(StrEnum):
    """How the Python face passes a parameter."""

    ARGUMENT = "argument"
    """In place."""
    LENGTH = "length"
    """In place; ``None`` is the own length of the argument that it describes."""
    FILLED = "filled"
    """In place; an ``[in, out]`` structure that the callee fills."""
    BOTH = "argument and result"
    """In place, and returned; an ``[in, out]`` scalar or address."""
    RESULT = "result"
    """Returned."""
    RESULT_LENGTH = "length of a result"
    """Not at all: the result knows its own length."""


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """One parameter as the IDL has it.

    :ivar name: the IDL name.
    :ivar idl: the IDL type.
    :ivar direction: ``in``, ``out``, ``inout``, or ``unmarked`` where the IDL says nothing (which means ``in``).
    :ivar attributes: the other IDL attributes.
    :ivar passing: how the Python face passes it.
    :ivar type: the Python type without marks and without ``None``.
    :ivar describes: the parameter whose length this one is.
    :ivar each: it is the size of each member of that parameter.
    :ivar length: how that length works, for :attr:`Passing.RESULT_LENGTH`.
    :ivar optional: an out for which the COM face may pass NULL.
    :ivar nullable: ``None`` is a legal value of it.
    """

    name: str
    idl: str
    direction: Direction
    attributes: tuple[str, ...] = ()
    passing: Passing = Passing.ARGUMENT
    type: Any = None
    describes: str | None = None
    each: bool = False
    length: Length | None = None
    optional: bool = False
    nullable: bool = False

    @property
    def row(self) -> tuple[str, ...]:
        """Direction, type, name and the other attributes: a row of the IDL's table."""
        return (self.direction, self.idl, self.name, *self.attributes)


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """One method as the IDL has it.

    :ivar name: the Python name.
    :ivar idl_name: the IDL's spelling, which differs for one method (``__SetPacketFilterOptions``).
    :ivar interface: the interface that declares it.
    :ivar slot: the place in the vtable, counted from 0 (``QueryInterface``).
    :ivar parameters: in IDL order.
    :ivar attributes: the method's IDL attributes.
    :ivar returns: the IDL type of the return value.
    """

    name: str
    idl_name: str
    interface: COMInterfaceClass
    slot: int
    parameters: tuple[ParameterInfo, ...]
    attributes: tuple[str, ...] = ()
    returns: str = "HRESULT"

    @property
    def is_property(self) -> bool:
        """An attribute on the Python face, ``get_Name`` on the COM face."""
        return "propget" in self.attributes

    @property
    def raw_name(self) -> str:
        """The name on the COM face, as a C++ header spells it."""
        return f"get_{self.name}" if self.is_property else self.name


@cache
def methods(interface: COMInterfaceClass) -> tuple[MethodInfo, ...]:
    """Return the methods of *interface* in vtable order, those of its base first.

    :raises TypeError: a member whose annotations say too little, with its name.
    :raises NameError: an annotation names what neither the declaring module nor :mod:`fwx.interfaces` knows.
    """
    base = interface.__bases__[0]
    inherited = methods(base) if isinstance(base, COMInterfaceClass) else ()
    own = [
        _method(interface, name, declaration, len(inherited) + place)
        for place, (name, declaration) in enumerate(interface.declarations.items())
    ]
    return (*inherited, *own)


def read_iid(identifier: object) -> UUID | None:
    """Return *identifier* as a ``UUID``: one, or its text in the registry form, with or without braces.

    ``None`` means that it is no IID: :class:`uuid.UUID` itself would take other spellings, and foreign digits.
    """
    if isinstance(identifier, str):
        match = _IID_TEXT.fullmatch(identifier)
        return None if match is None else UUID(match["braced"] or match["bare"])
    return identifier if isinstance(identifier, UUID) else None


def interface_of(identifier: object) -> COMInterfaceClass | None:
    """Return the interface of :mod:`fwx.interfaces` that has the IID *identifier*, a ``UUID`` or its text.

    ``None`` means that there is none, or that *identifier* is no IID at all.
    """
    wanted = read_iid(identifier)
    return None if wanted is None else _by_iid().get(wanted)


@cache
def _by_iid() -> Mapping[UUID, COMInterfaceClass]:
    known = ((query_iid(interface), interface) for interface in com_interfaces())
    return MappingProxyType({identifier: interface for identifier, interface in known if identifier is not None})


def com_interfaces() -> Iterator[COMInterfaceClass]:
    """Go through all interfaces of :mod:`fwx.interfaces`, in the order of its ``__all__``."""
    package = import_module(_NAMESPACE)
    for name in package.__all__:
        value = getattr(package, name)
        if isinstance(value, COMInterfaceClass):
            yield value


def query_iid(interface: COMInterfaceClass) -> UUID | None:
    """Return the IID of *interface*, or ``None`` when it is declared without one."""
    try:
        return iid(interface)
    except LookupError:
        return None


# ---- reading a declaration -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Hint:
    """An annotation taken apart: the Python type without ``None``, and the marks from the inside out."""

    type: Any
    marks: tuple[object, ...]
    nullable: bool = False

    @property
    def idl(self) -> str | None:
        return next((mark.type for mark in reversed(self.marks) if isinstance(mark, Idl) and mark.type), None)

    @property
    def direction(self) -> Direction | None:
        return next((mark.direction for mark in reversed(self.marks) if isinstance(mark, Idl) and mark.direction), None)

    @property
    def attributes(self) -> tuple[str, ...]:
        return tuple(each for mark in self.marks if isinstance(mark, Idl) for each in mark.attributes)

    @property
    def out(self) -> Out | None:
        return next((mark for mark in self.marks if isinstance(mark, Out)), None)

    @property
    def method(self) -> MethodIdl:
        return next((mark for mark in self.marks if isinstance(mark, MethodIdl)), MethodIdl())


def _take_apart(hint: Any) -> _Hint:
    if get_origin(hint) is Annotated:
        inner = _take_apart(hint.__origin__)
        return replace(inner, marks=inner.marks + hint.__metadata__)
    if get_origin(hint) in (Union, UnionType):
        members = [member for member in get_args(hint) if member is not NoneType]
        if len(members) == 1:
            return replace(_take_apart(members[0]), nullable=True)
    return _Hint(hint, ())


def _table_type(kind: Any) -> str | None:
    """Return the IDL type that the table gives the Python type *kind*, without a pointer's star."""
    if kind is int:
        return "int"
    if isinstance(kind, COMInterfaceClass) or (isinstance(kind, type) and issubclass(kind, Enum)):
        return str(kind.__name__)
    return None


def _in_type(hint: _Hint) -> str | None:
    if hint.idl is not None:
        return hint.idl
    named = _table_type(hint.type)
    return f"{named}*" if named and isinstance(hint.type, COMInterfaceClass) else named


def _out_type(hint: _Hint, out: Out) -> str | None:
    if out.idl is not None:
        return out.idl
    inward = _in_type(hint)
    if inward is None or inward == "LPSOCKADDR":
        return inward
    return f"{inward}*"


def _resolve(interface: COMInterfaceClass, name: str, declaration: object) -> tuple[dict[str, Any], list[str]]:
    """Return the annotations of a member, evaluated, and the names of its parameters."""
    known = dict(vars(import_module(_NAMESPACE)))
    if isinstance(declaration, FunctionType):
        hints = get_type_hints(declaration, {**known, **declaration.__globals__}, include_extras=True)
        return hints, list(inspect.signature(declaration).parameters)
    if declaration is None:
        raise TypeError(f"{interface.__name__}.{name}: an attribute of a COM interface needs an annotation")
    known.update(vars(import_module(interface.__module__)))
    holder = SimpleNamespace(__annotations__={"return": declaration})
    return get_type_hints(holder, known, include_extras=True), []


def _method(interface: COMInterfaceClass, name: str, declaration: object, slot: int) -> MethodInfo:
    where = f"{interface.__name__}.{name}"
    hints, names = _resolve(interface, name, declaration)
    if "return" not in hints:
        raise TypeError(f"{where}: the result is not annotated")
    result = _take_apart(hints["return"])
    parameters = [_argument(where, each, hints) for each in names]
    for hint, out in _outs(where, result):
        _insert_out(where, parameters, hint, out)
    return MethodInfo(
        name=name,
        idl_name=result.method.name or name,
        interface=interface,
        slot=slot,
        parameters=tuple(parameters),
        attributes=result.method.attributes,
        returns=result.idl if result.idl and result.out is None else "HRESULT",
    )


def _argument(where: str, name: str, hints: dict[str, Any]) -> ParameterInfo:
    if name not in hints:
        raise TypeError(f"{where}: parameter {name} is not annotated")
    hint = _take_apart(hints[name])
    idl = _in_type(hint)
    if idl is None:
        raise TypeError(f"{where}: parameter {name} needs Idl(...), the table has no type for {hints[name]}")
    length_of = next((mark for mark in hint.marks if isinstance(mark, LengthOf)), None)
    direction = hint.direction or "in"
    passing = Passing.LENGTH if length_of else Passing.FILLED if direction == "inout" else Passing.ARGUMENT
    return ParameterInfo(
        name,
        idl,
        direction,
        hint.attributes,
        passing,
        hint.type,
        describes=length_of.argument if length_of else None,
        each=length_of.each if length_of else False,
        nullable=hint.nullable,
    )


def _outs(where: str, result: _Hint) -> Iterator[tuple[_Hint, Out]]:
    """Go through the outs that a result annotation describes."""
    if result.out is not None:
        yield result, result.out
    elif get_origin(result.type) is tuple:
        for member in get_args(result.type):
            hint = _take_apart(member)
            if hint.out is not None:
                yield hint, hint.out
            elif hint.type is not HRESULT:
                raise TypeError(f"{where}: a member of the result needs Out(...): {member}")
    elif result.type not in (NoneType, HRESULT) and result.idl is None:
        raise TypeError(f"{where}: the result needs Out(...): {result.type}")


def _insert_out(where: str, parameters: list[ParameterInfo], hint: _Hint, out: Out) -> None:
    names = [parameter.name for parameter in parameters]
    if out.name in names:
        place = names.index(out.name)
        parameters[place] = replace(parameters[place], direction="inout", passing=Passing.BOTH)
        return
    idl = _out_type(hint, out)
    if idl is None:
        raise TypeError(f"{where}: out {out.name} needs its IDL type, the table has none for {hint.type}")
    place = names.index(out.before) if out.before is not None else len(names)
    length = out.length
    parameter = ParameterInfo(
        out.name,
        idl,
        out.direction,
        out.attributes,
        Passing.RESULT,
        hint.type,
        length=length,
        optional=out.optional,
        nullable=hint.nullable,
    )
    parameters.insert(place, parameter)
    if length is not None:
        place = len(parameters) if length.trailing else place + 1
        parameters.insert(
            place,
            ParameterInfo(
                length.name,
                length.idl,
                length.direction,
                passing=Passing.RESULT_LENGTH,
                type=int,
                describes=out.name,
                length=length,
                optional=length.optional,
            ),
        )
