"""CloudWatch Logs Insights, as far as the template's saved queries use it: filter, fields, stats, sort and limit.

The emulator runs no such queries, and a query that was never run is a guess. What is here follows "CloudWatch Logs
Insights language query syntax" (CloudWatch Logs user guide); what it does not know it refuses.
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Row = dict[str, Any]

_TOKENS = re.compile(r'"[^"]*"|!=|<=|>=|=|@|\*(?=\))')
_TRANSLATED = {"=": "==", "@": "at_", "*": "True"}
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, values: value in values,
}
_AGGREGATES: dict[str, Callable[[Sequence[Any]], Any]] = {"sum": sum, "min": min, "max": max, "count": len}


def rows(events: Iterable[tuple[int, str]]) -> list[Row]:
    """Discover the fields of log events (milliseconds, message): those of a JSON object, and @timestamp."""
    return [{"@timestamp": at, "@message": text, **_json(text)} for at, text in events]


def run(query: str, found: Sequence[Row], parameters: dict[str, str] | None = None) -> list[Row]:
    """Run a query over the rows of its log groups."""
    for name, value in (parameters or {}).items():
        query = query.replace("{{" + name + "}}", value)
    assert "{{" not in query, "a parameter has no value"
    for command in re.split(r"\s*\n?\|\s*", query.strip()):
        name, _, text = command.partition(" ")
        found = _COMMANDS[name](text, found)
    return list(found)


def fields(query: str) -> set[str]:
    """Return every field that a query reads: all names but functions, and aliases that it makes itself."""
    bare = re.sub(r'"[^"]*"', '""', query)
    names = set(re.findall(r"(?<![\w{])@?[a-z_]+(?![\w(]|\s*\()", bare))
    aliases = set(re.findall(r"\bas (\w+)", bare))
    return names - aliases - _COMMANDS.keys() - {"as", "by", "in", "and", "or", "not", "asc", "desc"}


def _filter(text: str, found: Sequence[Row]) -> list[Row]:
    condition = _parse(text)
    return [row for row in found if _value(condition, row)]


def _fields(text: str, found: Sequence[Row]) -> list[Row]:
    names = [name.strip() for name in text.split(",")]
    # What a later command filters or sorts by is still known, as it is on CloudWatch; the first ones are shown.
    return [{name: row.get(name) for name in names} | row for row in found]


def _stats(text: str, found: Sequence[Row]) -> list[Row]:
    columns, _, keys = text.rpartition(" by ")
    names = [name.strip() for name in keys.split(",")]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    expressions = [expression.rsplit(" as ", 1) for expression in re.split(r",\s*(?![^(]*\))", columns)]
    result: list[Row] = []
    for key, group in groups.items():
        row = dict(zip(names, key, strict=True))
        for expression, alias in expressions:
            row[alias.strip()] = _value(_parse(expression), row, group)
        result.append(row)
    return result


def _sort(text: str, found: Sequence[Row]) -> list[Row]:
    name, _, direction = text.partition(" ")
    return sorted(found, key=lambda row: row[name], reverse=direction.strip() == "desc")


_COMMANDS: dict[str, Callable[[str, Sequence[Row]], Sequence[Row]]] = {
    "filter": _filter,
    "fields": _fields,
    "stats": _stats,
    "sort": _sort,
    "limit": lambda text, found: found[: int(text)],
}


def _parse(text: str) -> ast.expr:
    """Read an expression as Python reads it, in which = is == and @ may not stand in a name."""
    python = _TOKENS.sub(lambda found: _TRANSLATED.get(found.group(), found.group()), text.strip())
    return ast.parse(python, mode="eval").body


def _value(node: ast.expr, row: Row, group: Sequence[Row] = ()) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return row.get(f"@{name[3:]}" if name.startswith("at_") else name)
        case ast.List(elts=items):
            return [_value(item, row, group) for item in items]
        case ast.BoolOp(op=ast.And(), values=terms):
            return all(_value(term, row, group) for term in terms)
        case ast.BoolOp(op=ast.Or(), values=terms):
            return any(_value(term, row, group) for term in terms)
        case ast.Compare(left=left, ops=[op], comparators=[right]) | ast.BinOp(left=left, op=op, right=right):
            sides = _value(left, row, group), _value(right, row, group)
            return None if None in sides else _OPERATORS[type(op)](*sides)
        case ast.Call(func=ast.Name(id="ispresent"), args=[argument]):
            return _value(argument, row) is not None
        case ast.Call(func=ast.Name(id="strcontains"), args=[where, what]):
            sides = _value(where, row), _value(what, row)
            return None if None in sides else int(str(sides[1]) in str(sides[0]))
        case ast.Call(func=ast.Name(id=name), args=[argument]) if name in _AGGREGATES:
            values = [value for member in group if (value := _value(argument, member)) is not None]
            return _AGGREGATES[name](values) if values else None
    raise ValueError(f"{ast.unparse(node)}: teach it to {__name__}")


def _json(text: str) -> Row:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
