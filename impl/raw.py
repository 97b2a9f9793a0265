"""The literal COM face of any object, generated from the declarations.

Conformance tests drive every method through it, and people who port C++ read their own prototypes there::

    length = Ref(28)
    address = Ref()
    hresult = raw(socket, IFWXNetworkSocket).GetSockName(address, length)

Every parameter stands in vtable order, outs are :class:`Ref` cells, the result is an HRESULT, nothing is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from enum import IntEnum, IntFlag
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, get_args
from uuid import UUID

from fwx.impl.boundary import hresult_from_exception
from fwx.impl.hostentlayout import hostent_size, of_one_family
from fwx.interfaces import (
    E_INVALIDARG,
    E_NOINTERFACE,
    E_NOTIMPL,
    E_POINTER,
    FAILED,
    HRESULT,
    HRESULT_FROM_WIN32,
    S_OK,
    COMError,
    COMInterfaceClass,
    Hostent,
    MethodInfo,
    ParameterInfo,
    Passing,
    SocketAddress,
    methods,
)

T = TypeVar("T")

_SIGNED_32: Final = range(-(2**31), 2**31)
_UNSIGNED_32: Final = range(2**32)
_UNSIGNED_64: Final = range(2**64)
_RANGES: Final = MappingProxyType(
    {
        "USHORT": range(2**16),
        "INT": _SIGNED_32,
        "int": _SIGNED_32,
        "long": _SIGNED_32,
        "DWORD": _UNSIGNED_32,
        "ULONG": _UNSIGNED_32,
        "UINT": _UNSIGNED_32,
        "unsigned int": _UNSIGNED_32,
        "LONGLONG": range(-(2**63), 2**63),
        "DWORD_PTR": _UNSIGNED_64,
        "HANDLE_PTR": _UNSIGNED_64,
        "UserContextType": _UNSIGNED_64,
        "FpcNetworkTypes": _SIGNED_32,
    }
)


class Ref(Generic[T]):
    """The memory that an out pointer points to. A length cell holds the room there is before the call."""

    __slots__ = ("value",)

    value: T | None

    def __init__(self, value: T | None = None) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Ref({self.value!r})"


class RawFace:
    """Base of the generated faces; :func:`raw` makes them. A method is named as a C++ header names it."""

    __slots__ = ("_object",)

    def __init__(self, target: object) -> None:
        self._object = target


def raw(target: object, interface: COMInterfaceClass) -> Any:
    """Return the COM face of *target* for *interface*: one method for each slot, those of the bases first.

    Every parameter of the IDL is passed in its order. An out is a :class:`Ref`, ``None`` stands for a NULL pointer; a
    length cell holds the room there is; an ``[in, out]`` structure is passed itself; ``UserContextType`` is an integer
    of 64 bits. The result is the HRESULT, of ``AddRef`` and ``Release`` the count.

    Results of the face's own: ``E_INVALIDARG`` for a wrong number of arguments, a value outside its type or a length
    beyond its object; ``E_POINTER`` for NULL where the result or the value is needed; ``E_NOTIMPL`` for a method that
    *target* lacks; ``HRESULT_FROM_WIN32(WSAEFAULT)`` (``ERROR_INSUFFICIENT_BUFFER`` for look-ups) for too little room,
    with the room needed in the length cell. A ``hostent`` has one family: of an answer with IPv4 and IPv6 addresses the
    IPv4 ones come out. An interface that comes out carries a reference; on failure it is NULL.

    :raises COMError: ``E_NOINTERFACE``, *target* does not provide *interface*.
    """
    if not interface.providedBy(target):
        raise COMError(E_NOINTERFACE, f"{type(target).__name__} does not provide {interface.__name__}")
    return _face(interface)(target)


@cache
def _face(interface: COMInterfaceClass) -> type[RawFace]:
    members: dict[str, Any] = {"__slots__": (), "__doc__": f"The COM face of {interface.__name__}."}
    for method in methods(interface):
        members[method.raw_name] = _generate(method)
    return type(f"Raw{interface.__name__}", (RawFace,), members)


def _generate(method: MethodInfo) -> Callable[..., int]:
    counts = method.returns != "HRESULT"

    def call(self: RawFace, *arguments: object) -> int:
        invocation = _Call(method, arguments)
        try:
            return invocation.count(self._object) if counts else invocation.run(self._object)
        except Exception as error:  # noqa: BLE001 - here exceptions end: the COM face returns HRESULTs
            invocation.clear()
            hresult = hresult_from_exception(error)
            return 0 if counts else hresult

    call.__name__ = method.raw_name
    call.__qualname__ = f"Raw{method.interface.__name__}.{method.raw_name}"
    call.__doc__ = ", ".join(" ".join(parameter.row[:3]) for parameter in method.parameters)
    return call


class _Call:
    """One call on the COM face: the arguments by name, and what becomes of the outs."""

    __slots__ = ("_arguments", "_cells", "_method", "_results")

    def __init__(self, method: MethodInfo, arguments: Sequence[object]) -> None:
        self._method = method
        self._arguments = arguments
        self._results = [each for each in method.parameters if each.passing in (Passing.RESULT, Passing.BOTH)]
        self._cells: dict[str, Ref[Any]] = {}

    def run(self, target: object) -> HRESULT:
        """Check the arguments, call the Python face, store the outs; also those that a failed method has filled in."""
        inward = self._inward()
        result = _member(target, self._method)
        try:
            if not self._method.is_property:
                result = result(*inward)
        except COMError as error:
            self.clear()
            self._store(error.outs)
            return error.hresult
        hresult, values = _split(result, self._results)
        if FAILED(hresult):
            self.clear()
            return hresult
        shortage = self._store(values)
        return hresult if shortage is None else shortage

    def count(self, target: object) -> int:
        """Call ``AddRef`` or ``Release``, whose result is a count."""
        self._inward()
        return int(_member(target, self._method)())

    def clear(self) -> None:
        """Set the interfaces that should have come out to NULL, as COM does on failure."""
        for parameter in self._results:
            if _is_interface(parameter) and (cell := self._cells.get(parameter.name)) is not None:
                cell.value = None

    def _inward(self) -> list[object]:
        parameters = self._method.parameters
        if len(self._arguments) != len(parameters):
            raise COMError(E_INVALIDARG, f"{self._method.raw_name} takes {len(parameters)} arguments")
        given = dict(zip((each.name for each in parameters), self._arguments, strict=True))
        for parameter in parameters:
            if parameter.passing in (Passing.RESULT, Passing.BOTH, Passing.RESULT_LENGTH):
                self._take_cell(parameter, given[parameter.name])
        inward: list[object] = []
        for parameter in parameters:
            if parameter.passing is Passing.BOTH:
                inward.append(_convert(parameter, self._cells[parameter.name].value))
            elif parameter.passing not in (Passing.RESULT, Passing.RESULT_LENGTH):
                inward.append(_convert(parameter, given[parameter.name]))
            if parameter.passing is Passing.LENGTH:
                described = given[parameter.describes or ""]
                _check_length(parameter, inward[-1], described.value if isinstance(described, Ref) else described)
        return inward

    def _take_cell(self, parameter: ParameterInfo, cell: object) -> None:
        if cell is None:
            if not parameter.optional:
                raise COMError(E_POINTER, f"{parameter.name} is NULL")
            return
        if not isinstance(cell, Ref):
            raise COMError(E_INVALIDARG, f"{parameter.name} takes a Ref, not {type(cell).__name__}")
        length = parameter.length
        if parameter.passing is Passing.RESULT_LENGTH and length is not None and length.capacity:
            _check_range(parameter, cell.value, _UNSIGNED_32)
        self._cells[parameter.name] = cell

    def _store(self, values: Sequence[object]) -> HRESULT | None:
        """Put *values* into the cells of the results; return the failure when there is too little room for one."""
        for parameter, given in zip(self._results, values, strict=False):
            value = of_one_family(given) if isinstance(given, Hostent) else given
            length = parameter.length
            if length is not None and (cell := self._cells.get(length.name)) is not None:
                needed = _size(value)
                small = length.capacity and needed > int(cell.value or 0)
                cell.value = needed
                if small:
                    return HRESULT_FROM_WIN32(length.too_small)
            if parameter.name in self._cells:
                _put(self._cells[parameter.name], parameter, value)
        return None


# ---- arguments -------------------------------------------------------------------------------------------------------


def _member(target: object, method: MethodInfo) -> Any:
    try:
        return getattr(target, method.name)
    except AttributeError as error:
        if error.obj is target and error.name == method.name:
            raise COMError(E_NOTIMPL, f"{type(target).__name__} has no {method.name}") from error
        raise


def _convert(parameter: ParameterInfo, value: Any) -> Any:
    """Return *value* as the Python face takes it.

    :raises COMError: ``E_INVALIDARG``, it is no value of that type; ``E_POINTER``, NULL where one is needed.
    """
    kind = parameter.type
    if parameter.idl in _RANGES:
        return _check_range(parameter, value, _RANGES[parameter.idl])
    if isinstance(kind, type) and issubclass(kind, (IntEnum, IntFlag)):
        return _convert_enumerator(parameter, value, kind)
    if kind is bool:
        return _check_range(parameter, value, range(-(2**31), 2**32)) != 0
    if isinstance(kind, COMInterfaceClass):
        return value
    if value is None:
        if parameter.nullable:
            return None
        raise COMError(E_POINTER, f"{parameter.name} is NULL")
    if isinstance(kind, type) and kind in (str, UUID, SocketAddress) and not isinstance(value, kind):
        raise COMError(E_INVALIDARG, f"{parameter.name} takes {kind.__name__}, not {type(value).__name__}")
    return value


def _convert_enumerator(parameter: ParameterInfo, value: Any, kind: type[IntEnum | IntFlag]) -> IntEnum | IntFlag:
    number = _check_range(parameter, value, range(-(2**31), 2**32))
    try:
        return kind(number)
    except ValueError as error:
        raise COMError(E_INVALIDARG, f"{parameter.name}: {number} is no {kind.__name__}") from error


def _check_range(parameter: ParameterInfo, value: object, legal: range) -> int:
    if not isinstance(value, int) or int(value) not in legal:
        raise COMError(E_INVALIDARG, f"{parameter.name}: {value!r} is no {parameter.idl}")
    return int(value)


def _check_length(parameter: ParameterInfo, length: Any, described: Any) -> None:
    if described is None:
        return
    own = max((_size(each) for each in described), default=0) if parameter.each else _size(described)
    if length > own:
        raise COMError(E_INVALIDARG, f"{parameter.name}: {length} is more than the {own} of {parameter.describes}")


# ---- results ---------------------------------------------------------------------------------------------------------


def _split(result: Any, parameters: Sequence[ParameterInfo]) -> tuple[HRESULT, tuple[Any, ...]]:
    """Take a result of the Python face apart: the HRESULT and the outs.

    Where there are outs only an ``HRESULT`` is read as one: a plain integer may be the out itself.

    :raises TypeError: the method has returned something else than its declaration says.
    """
    outs = len(parameters)
    if isinstance(result, HRESULT) and (outs == 0 or FAILED(result)):
        return result, ()
    if outs == 0:
        if result is None:
            return S_OK, ()
        if type(result) is not int:
            raise TypeError(f"expected None or an HRESULT, got {type(result).__name__}")
        return HRESULT(result), ()
    if isinstance(result, tuple) and len(result) == outs + 1 and isinstance(result[0], HRESULT):
        return result[0], result[1:]
    if outs == 1:
        if result is None and not parameters[0].nullable:
            raise TypeError(f"expected {parameters[0].name}, got None")
        return S_OK, (result,)
    if not isinstance(result, tuple) or len(result) != outs:
        raise TypeError(f"expected a tuple of {outs} outs, got {result!r}")
    return S_OK, result


def _is_interface(parameter: ParameterInfo) -> bool:
    members = [parameter.type, *get_args(parameter.type)]
    return parameter.idl == "void**" or any(isinstance(each, COMInterfaceClass) for each in members)


def _is_structure(parameter: ParameterInfo) -> bool:
    kind = parameter.type
    return isinstance(kind, type) and is_dataclass(kind) and parameter.idl == f"{kind.__name__}*"


def _put(cell: Ref[Any], parameter: ParameterInfo, value: Any) -> None:
    """Store one out: into the caller's structure if there is one, with a reference if it is an interface."""
    if _is_structure(parameter) and isinstance(cell.value, parameter.type):
        for field in fields(parameter.type):
            setattr(cell.value, field.name, getattr(value, field.name))
        return
    if _is_interface(parameter):
        for each in value if isinstance(value, tuple) else (value,):
            if hasattr(each, "AddRef"):
                each.AddRef()
    cell.value = value


def _size(value: Any) -> int:
    """Return the length that a length parameter gives *value*: bytes, or the number of members."""
    match value:
        case SocketAddress():
            return value.length
        case memoryview():
            return value.nbytes
        case str():
            return len(value.encode())
        case Hostent():
            return hostent_size(value)
        case _:
            return len(value)
