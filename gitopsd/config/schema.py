"""What host configuration and stack file have in common: strict sections, and pydantic's findings in people's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Final, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

from gitopsd.config.durations import parse_duration
from gitopsd.model.errors import Problem
from gitopsd.yamltext import LineIndex

NOT_YET: Final = "not supported yet"
_LABEL: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    """A mapping of the file: keys in camelCase, none unknown, no value converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


def _refuse(_: T) -> T:
    raise PydanticCustomError("later", NOT_YET)


def _label(text: str) -> str:
    if not is_label(text):
        raise ValueError("expected a DNS label: at most 63 lower-case letters, digits and hyphens, as in my-name")
    return text


def _path(text: str) -> str:
    if not text or _CONTROL.search(text):
        raise ValueError("expected a path")
    return text


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("has to be longer than 0s")
    return seconds


def is_label(text: str) -> bool:
    """Whether a text may be the name of a stack, component, source, cluster or instance (RFC 1123 label)."""
    return bool(_LABEL.fullmatch(text))


Later = Annotated[T, AfterValidator(_refuse)]
"""A key whose feature does not exist yet: its shape is checked, then it is refused, so that nobody relies on it."""

Label = Annotated[str, AfterValidator(_label)]
PathText = Annotated[str, AfterValidator(_path)]
Text = Annotated[str, StringConstraints(min_length=1)]
MaybeZero = Annotated[float, BeforeValidator(parse_duration)]
"""A duration, in seconds; `0s` is allowed."""
Duration = Annotated[MaybeZero, AfterValidator(_positive)]
"""A duration above zero, in seconds."""


@dataclass(frozen=True, slots=True)
class Place:
    """The document that is being checked: where to find the line of a field."""

    file: str
    lines: LineIndex
    document: int

    def problem(self, message: str, path: Sequence[str | int], remedy: str = "") -> Problem:
        line = self.lines.line(self.document, path)
        return Problem(message, file=self.file, line=line, field=field_text(path), remedy=remedy)


def check(model: type[M], value: Any, place: Place) -> tuple[M | None, list[Problem]]:
    """The section that `value` is, or None and everything that is wrong with its shape."""
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        return None, [_problem(model, details, place) for details in error.errors(include_url=False)]


def field_text(path: Sequence[str | int]) -> str:
    """A path as people write it: `spec.components[0].name`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def suggestion(word: object, known: Sequence[str]) -> str:
    """`did you mean x?` for a word that is nearly one of the known ones, else which ones there are."""
    close = get_close_matches(str(word), known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(set(known)))}" if known else ""


def duplicates(names: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """(index, index of the first one) of every text that was there before."""
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if isinstance(name, str) and first.setdefault(name, index) != index:
            yield index, first[name]


def entries(value: Any, key: str) -> list[dict[str, Any]]:
    """The mappings of a list in a document that may have any shape; what is none counts as an empty one."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return [entry if isinstance(entry, dict) else {} for entry in found] if isinstance(found, list) else []


# ---------------------------------------------------------------- pydantic's findings

_FIXED: Final = {
    "missing": "this key is missing",
    "too_short": "may not be empty",
    "string_too_short": "may not be empty",
    "greater_than_equal": "has to be at least {ge}",
    "less_than_equal": "has to be at most {le}",
}
_WANTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "float_type": "a number",
}
_FOUND: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (bool, "true or false"),
    (str, "text"),
    ((int, float), "a number"),
    (list, "a list"),
    (dict, "a mapping"),
    (type(None), "nothing"),
)


def _problem(model: type[BaseModel], error: ErrorDetails, place: Place) -> Problem:
    path = [step for step in error["loc"] if step != "[key]"]
    message, remedy = _words(model, error)
    return place.problem(message, path, remedy)


def _words(model: type[BaseModel], error: ErrorDetails) -> tuple[str, str]:
    """(message, remedy) of one finding."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _FIXED:
        return _FIXED[kind].format_map(context), ""
    if kind == "extra_forbidden":
        return "unknown key", suggestion(error["loc"][-1], _keys(model, error["loc"][:-1]))
    if kind == "literal_error":
        return f"expected {str(context['expected']).replace(chr(39), '')}", ""
    if kind == "value_error":
        return str(context["error"]), ""
    if kind in _WANTED:
        quote = kind == "string_type" and isinstance(error["input"], (bool, int, float))
        return f"expected {_WANTED[kind]}, found {_found(error['input'])}", "put it in quotes" if quote else ""
    return error["msg"][0].lower() + error["msg"][1:], ""


def _found(value: object) -> str:
    return next((name for kinds, name in _FOUND if isinstance(value, kinds)), "something else")


def _keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys that the section at a path may have."""
    section: type[BaseModel] | None = model
    for step in path:
        if isinstance(step, str) and section is not None:
            named = {info.alias or name: info for name, info in section.model_fields.items()}
            section = next(_sections(named[step].annotation), None) if step in named else section
    return [info.alias or name for name, info in section.model_fields.items()] if section is not None else []


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)
