"""Mapping templates: the Velocity Template Language with API Gateway's variables.

A library for the other `api_gateway_*` gaps; the language itself is `airspeed-ext`'s. Names and
meaning of the variables are from the API Gateway developer guide, "Variables for data
transformations for API Gateway" and "Override your API's request and response parameters and status codes".

Where airspeed differs from Velocity, a template should not depend on it: `#if($x)` takes an empty
string or 0 as false, and `&&` and `||` evaluate both sides.
"""

from __future__ import annotations

import base64
import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote_plus, unquote_plus

import airspeed


class TemplateError(Exception):
    """A mapping template cannot be parsed or evaluated; the message says where."""


class JavaMap(dict[str, Any]):
    """A map that prints as Java prints one."""

    def __str__(self) -> str:
        return "{" + ", ".join(f"{name}={text_of(value)}" for name, value in self.items()) + "}"


class JavaList(list[Any]):
    """A list that prints as JSON, as API Gateway prints one."""

    def __str__(self) -> str:
        return compact_json(self)


METHODS = airspeed.operators.__additional_methods__
METHODS[str] |= {
    "endsWith": str.endswith,
    "equals": operator.eq,
    "isEmpty": operator.not_,
    "toLowerCase": str.lower,
    "toUpperCase": str.upper,
    "trim": str.strip,
}
METHODS[JavaList] = METHODS[list]
METHODS[JavaMap] = METHODS[dict] | {
    "containsKey": operator.contains,
    "entrySet": lambda self: [JavaMap(key=name, value=value) for name, value in self.items()],
    "isEmpty": operator.not_,
    "size": len,
}


def to_java(value: Any) -> Any:
    """The value with maps and lists that behave like Java's, at every depth."""
    if isinstance(value, Mapping):
        return JavaMap({name: to_java(item) for name, item in value.items()})
    if isinstance(value, list):
        return JavaList(to_java(item) for item in value)
    return value


def compact_json(value: Any) -> str:
    """JSON without spaces, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Parameters:
    """Parameters of the method request: by place, and by name as `$input.params(name)` looks."""

    path: Mapping[str, str]
    querystring: Mapping[str, str]
    header: Mapping[str, str]

    def find(self, name: str) -> str:
        """The parameter of that name in path, query string or headers, in this order, or ''."""
        for place in (self.path, self.querystring):
            if name in place:
                return place[name]
        return self.header.get(name.lower(), "")


class Input:
    """`$input`: the payload that a template transforms, and the request's parameters."""

    def __init__(self, body: str, parameters: Parameters) -> None:
        self._payload = body
        self._parameters = parameters
        self.body = body or "{}"

    def path(self, expression: str) -> Any:
        """The object at a JSONPath; null where there is none."""
        return to_java(json_path(self._document(), expression))

    def json(self, expression: str) -> str:
        """The JSON text at a JSONPath; an empty JSON string where there is none."""
        value = json_path(self._document(), expression)
        return '""' if value is None else compact_json(value)

    def params(self, name: str | None = None) -> Any:
        """The named parameter, or all of them by place."""
        if name is not None:
            return self._parameters.find(name)
        return to_java(
            {
                "path": self._parameters.path,
                "querystring": self._parameters.querystring,
                "header": self._parameters.header,
            }
        )

    def _document(self) -> Any:
        return json.loads(self._payload) if self._payload else None


def text_of(value: Any) -> str:
    """The value as a template prints it."""
    return str(airspeed.operators.value_to_string(value))


def escape_java_script(value: Any) -> str:
    """The text with the escapes of JavaScript, the single quote's among them."""
    return json.dumps(text_of(value))[1:-1].replace("'", "\\'")


UTIL: dict[str, Callable[[Any], Any]] = {
    "base64Decode": lambda value: base64.b64decode(text_of(value)).decode(),
    "base64Encode": lambda value: base64.b64encode(text_of(value).encode()).decode(),
    "escapeJavaScript": escape_java_script,
    "parseJson": lambda value: to_java(json.loads(text_of(value))),
    "urlDecode": lambda value: unquote_plus(text_of(value)),
    "urlEncode": lambda value: quote_plus(text_of(value)),
}
"""`$util`: the functions that API Gateway adds to the language."""


def new_context(values: Mapping[str, Any]) -> JavaMap:
    """`$context` for the templates of one request; overrides that they set are read back from it."""
    context: JavaMap = to_java(values)
    for override, places in (
        ("requestOverride", ("header", "path", "querystring")),
        ("responseOverride", ("header",)),
    ):
        context[override] = JavaMap({place: JavaMap() for place in places})
    return context


def render(
    template: str,
    *,
    body: str,
    parameters: Parameters,
    context: JavaMap,
    stage_variables: Mapping[str, str],
) -> str:
    """Evaluate a mapping template.

    Args:
        template: Source in the Velocity Template Language.
        body: Payload that `$input` stands for.
        parameters: Parameters of the method request.
        context: From `new_context`; the template may change its overrides.
        stage_variables: `$stageVariables`.

    Raises:
        TemplateError: If the template cannot be parsed or evaluated.
    """
    namespace = {
        "input": Input(body, parameters),
        "util": UTIL,
        "context": context,
        "stageVariables": to_java(stage_variables),
    }
    try:
        return str(compiled(template).merge(namespace))
    except (airspeed.operators.TemplateError, ValueError) as error:
        raise TemplateError(str(error)) from error


@lru_cache(maxsize=256)
def compiled(template: str) -> Any:
    """The parsed template; parsing takes milliseconds, so each source is parsed once."""
    result = airspeed.Template(template)
    result.ensure_compiled()
    return result


_PATH_STEP = re.compile(r"\.(?:(\*)|([^.\[]+))|\[(?:(\*)|(\d+)|'([^']*)'|\"([^\"]*)\")\]")


@lru_cache(maxsize=256)
def path_steps(expression: str) -> tuple[str | int, ...]:
    """The steps of a JSONPath: member names, indices and `*`.

    Raises:
        TemplateError: If the path uses filters, slices, `..` or functions.
    """
    if not expression.startswith("$"):
        raise TemplateError(f"a JSONPath starts with $: {expression!r}")
    steps: list[str | int] = []
    position = 1
    while position < len(expression):
        match = _PATH_STEP.match(expression, position)
        if match is None:
            raise TemplateError(f"JSONPath {expression!r}: the local stack knows .name, ['name'], [0] and [*] only")
        index = match[4]
        steps.append(int(index) if index else next(part for part in match.groups() if part))
        position = match.end()
    return tuple(steps)


def json_path(document: Any, expression: str) -> Any:
    """The value at a JSONPath, or None where there is none."""
    return _descend(document, path_steps(expression))


def _descend(value: Any, steps: tuple[str | int, ...]) -> Any:
    for number, step in enumerate(steps):
        if step == "*":
            items = value.values() if isinstance(value, dict) else value
            return [_descend(item, steps[number + 1 :]) for item in items or ()]
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value
