"""What an option may be: its type with limits, as pydantic has it, and the same in words.

An option is declared once, beside what it belongs to: in the signature of a function or dataclass
(`rewire.declared`), its sentence of help in the docstring, or as a field of a `Section`. Checks,
error lines, help and reference are made of that. Read without importing torch.
"""

from __future__ import annotations

import copy
import os
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from rewire.numbers import fraction

LONGEST_TEXT, LONGEST_SHOWN = 1000, 80


class Allowed(str):
    """Beside a type: what is allowed, in words, where the type alone does not say it well."""


class Null(str):
    """Beside a type with None: what null means."""


class Called(str):
    """Beside the type of a value inside a list: what messages call it."""


class AsWritten:
    """Beside a type with numbers: 8/255 is no such number."""


class Section(BaseModel):
    """Options that stand together."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Chosen(Section):
    """A group that names an object of a registry, with the options of what has that name."""

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The options of the named object alone, for `Registry.build`."""
        # `rewire.pipeline.schema` adds the others in a class below.
        common = cast(type[Section], type(self).__bases__[0]).model_fields
        return {o: getattr(self, o) for o in type(self).model_fields if o not in common}


def _printable(text: str) -> str:
    if not (0 < len(text) <= LONGEST_TEXT and text.isprintable()):
        raise ValueError
    return text


def _a_name(value: Any) -> Any:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.=+-]{0,59}", str(value)) is None:
        raise ValueError
    return value


_NAME = "1 to 60 letters, digits and _ . = + -, the first a letter or digit"
Share = Annotated[float, Field(ge=0, le=1)]
Some = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=1)]
FromZero = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Width = Annotated[float, Field(gt=0, le=16)]
Classes = Annotated[int, Field(ge=2, le=10_000)]
Image = Annotated[int, Field(ge=16, le=1024)]
if TYPE_CHECKING:
    Shares = Sequence[float]  # a default is a tuple
else:
    Shares = list[Share]
Metric = Literal["euclidean", "eq3", "matrix"]
Ties = Literal["random", "first", "same_vector"]
HeadScale = Literal["as_coded", "sum"]
Epsilon = Some
StepSize = Positive
Steps = Count
All = Annotated[Count | None, Null("all")]
MachineCount = Annotated[Count | None, Null("the machine's choice")]
Text = Annotated[
    str,
    AfterValidator(_printable),
    Allowed(f"printable text of 1 to {LONGEST_TEXT:,} characters"),
]
# A name of digits alone arrives as a number.
Name = Annotated[str | int | float, AfterValidator(_a_name), Allowed(_NAME)]
Scale = Annotated[str, AfterValidator(_a_name), Allowed(f"{_NAME}, quoted if a number")]
PathText = Annotated[
    str,
    AfterValidator(_printable),
    Allowed(f"a path of 1 to {LONGEST_TEXT:,} printable characters (quoted if a number)"),
    os.path.expanduser,
]
Flag = bool
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "32-true", "bf16-mixed"]
Threads = Annotated[Count | None, Null("all cores")]


def unwrapped(kind: Any, notes: tuple = ()) -> tuple[Any, tuple]:
    """(the type itself, all that is noted beside it)."""
    if isinstance(kind, FieldInfo):
        return unwrapped(kind.annotation, (*kind.metadata, *notes))
    if get_origin(kind) is Annotated:
        inner, *more = get_args(kind)
        flat = [n for m in more for n in (m.metadata if isinstance(m, FieldInfo) else [m])]
        return unwrapped(inner, (*flat, *notes))
    return kind, notes


def children(kind: Any) -> dict[str, Any] | None:
    """Option → its type, of a section; `*` stands for names that the user gives. None of others."""
    kind, _ = unwrapped(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return dict(kind.model_fields)
    if get_origin(kind) is dict:
        return {"*": get_args(kind)[1]}
    return None


def words(kind: Any) -> str:
    """What a type allows."""
    kind, notes = unwrapped(kind)
    if told := [note for note in notes if isinstance(note, Allowed)]:
        return told[0]
    if get_origin(kind) in (Union, types.UnionType):
        parts = ", or ".join(words(part) for part in get_args(kind) if part is not type(None))
        null = "".join(f" for {note}" for note in notes if isinstance(note, Null))
        return parts + (f", or null{null}" if type(None) in get_args(kind) else "")
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is list:
        few = ", at least one" if any(isinstance(note, MinLen) for note in notes) else ""
        return f"a list{few}, each {words(get_args(kind)[0])}"
    if (beside := children(kind)) is not None:
        return f"a section with {', '.join(beside)}" if "*" not in beside else "a section"
    if kind in (bool, str):
        return "false, true" if kind is bool else "text"
    return _limits({type(note): note for note in notes}, whole=kind is int)


def _limits(notes: Mapping[type, Any], *, whole: bool) -> str:
    low = f" above {notes[Gt].gt:g}" if Gt in notes else ""
    low = low or (f" from {notes[Ge].ge:g}" if Ge in notes else "")
    if whole:
        return f"a whole number{low}" + (f" to {notes[Le].le:,}" if Le in notes else "")
    high = [f"below {notes[Lt].lt:g}"] if Lt in notes else []
    high += [f"at most {notes[Le].le:g}"] if Le in notes else []
    return " and ".join([f"a number{low}", *high])


def reader(kind: Any) -> Callable[[Any], Any]:
    """What makes of a value as people write it the one that is meant: 8/255, ~ in paths."""
    kind, notes = unwrapped(kind)
    if os.path.expanduser in notes:
        return lambda value: os.path.expanduser(value) if isinstance(value, str) else value
    if get_origin(kind) in (Union, types.UnionType) and not _has(float, kind):
        return reader(get_args(kind)[0])
    if _has(float, kind) and not any(isinstance(note, AsWritten) for note in notes):
        return fraction
    return lambda value: value


def _has(wanted: type, kind: Any) -> bool:
    kind, _ = unwrapped(kind)
    fields = kind.model_fields.values() if isinstance(kind, type(BaseModel)) else get_args(kind)
    return kind is wanted or any(_has(wanted, part) for part in fields)


def shown(value: Any) -> str:
    """A value as the messages have it: null, true and quoted text, cut if it is long."""
    names = {None: "null", True: "true", False: "false"}
    text = names[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        path: of the option.
        kind: `missing`, `unknown` or `refused`.
        allowed: in words.
        called: the name of a value in it, where it has one.
        value: the one that is refused.
    """

    path: tuple[str, ...]
    kind: str
    allowed: str = ""
    called: str = ""
    value: Any = None


def refused(fault: Fault) -> str:
    """A line about a value that is refused."""
    dotted = ".".join(fault.path)
    said = f"{fault.called or dotted} is {shown(fault.value)}. Allowed: {fault.allowed}."
    return f"{said} It is in {dotted}." if fault.called else said


KINDS = {"missing": "missing", "extra_forbidden": "unknown"}


def faults(schema: type[BaseModel], values: Mapping[str, Any]) -> Iterator[Fault]:
    """All that is wrong with values, once for each option."""
    try:
        schema.model_validate(values)
    except ValidationError as error:
        found: dict[tuple[tuple[str, ...], str], Fault] = {}
        for said in error.errors(include_url=False, include_context=False):
            fault = _fault(schema, values, said)
            found.setdefault((fault.path, fault.kind), fault)
        yield from found.values()


def _fault(schema: type[BaseModel], values: Mapping[str, Any], said: Mapping[str, Any]) -> Fault:
    here: Any = schema
    path: list[str] = []
    value: Any = values
    kind = KINDS.get(said["type"], "refused")
    rest = list(said["loc"])
    while rest and (beside := children(here)) is not None and isinstance(value, Mapping):
        name = rest.pop(0)
        path.append(str(name))
        here = beside.get(name, beside.get("*"))
        value = value.get(name)
        if here is None:
            return Fault(tuple(path), "unknown")
    option = here
    for part in rest:  # inside of a list, which is refused as a whole, or of one of several types
        arguments = get_args(unwrapped(here)[0])
        if not isinstance(part, int) or not arguments:
            break
        here = arguments[min(part, len(arguments) - 1)]  # a list has one, a tuple one for each
        if called := [note for note in unwrapped(here)[1] if isinstance(note, Called)]:
            return Fault(tuple(path), "refused", words(here), called[0], said["input"])
    return Fault(tuple(path), "refused" if rest else kind, words(option), "", value)


def section(name: str, options: Mapping[str, Any], *, base: type[Section] = Section) -> Any:
    """A `Section` of options that are declared elsewhere: name → type, field or (type, default)."""
    fields: dict[str, Any] = {o: _field(kind) for o, kind in options.items()}
    return create_model(name, __base__=base, **fields)


def _field(kind: Any) -> tuple[Any, Any]:
    if isinstance(kind, FieldInfo):
        return kind.annotation, kind
    return kind if isinstance(kind, tuple) else (kind, ...)


def optional(kind: type[Section]) -> Any:
    """The same section, of which any option may be missing."""
    fields = {name: copy.copy(field) for name, field in kind.model_fields.items()}
    for field in fields.values():
        field.default = None
    return section(f"{kind.__name__}Change", fields)
