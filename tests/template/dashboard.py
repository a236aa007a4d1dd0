"""The dashboard as CloudWatch gets it: its body resolved for a variant, and what stands in it.

What only a deployment knows stays readable: ``${IngestQueue.QueueName}`` for the attribute of a resource.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.template.translated import Stack

Widget = dict[str, Any]
COLUMNS = 24


@dataclass(frozen=True)
class Metric:
    """A line of a widget that names a metric."""

    namespace: str
    name: str
    dimensions: dict[str, str]
    options: dict[str, Any]


def widgets(stack: Stack) -> list[Widget]:
    """Return the dashboard's widgets, in their order."""
    [name] = stack.of_type("AWS::CloudWatch::Dashboard")
    body: dict[str, Any] = json.loads(text(stack.properties(name)["DashboardBody"]))
    found: list[Widget] = body["widgets"]
    return found


def rows(found: list[Widget]) -> list[list[Widget]]:
    """Return the widgets by rows, each of which begins with a text of the whole width.

    Raises:
        ValueError: A line has a hole, a widget hangs out of it, or a row has no title.
    """
    result: list[list[Widget]] = []
    column, height = 0, 0
    for widget in found:
        if "x" in widget or "y" in widget:
            raise ValueError("a widget with a position: rows of one variant leave holes in the other")
        if column == 0:
            height = widget["height"]
        if widget["height"] != height or column + widget["width"] > COLUMNS:
            raise ValueError(f"{title(widget)} does not fit into its line")
        if widget["type"] == "text":
            if column or widget["width"] != COLUMNS:
                raise ValueError(f"the text {title(widget)} does not begin a row")
            result.append([])
        elif not result:
            raise ValueError("the first row has no title")
        result[-1].append(widget)
        column = (column + widget["width"]) % COLUMNS
    if column:
        raise ValueError("the last line has a hole")
    return result


def title(widget: Widget) -> str:
    """Return a widget's title, or the heading of a text."""
    properties = widget["properties"]
    return str(properties.get("title") or properties.get("markdown", "").partition("\n")[0])


def metrics(widget: Widget) -> list[Metric]:
    """Return the metrics that a widget names."""
    return [
        Metric(line[0], line[1], dict(zip(line[2::2], line[3::2], strict=False)), line[-1])
        for line in widget["properties"].get("metrics", [])
        if "expression" not in line[0]
    ]


def expressions(widget: Widget) -> list[dict[str, Any]]:
    """Return the lines of a widget that calculate."""
    return [line[0] for line in widget["properties"].get("metrics", []) if "expression" in line[0]]


def text(value: Any) -> str:
    """Resolve what CloudFormation makes a text of."""
    match value:
        case {"Fn::Join": [separator, list(parts)]}:
            return str(separator).join(map(text, parts))
        case {"Fn::Sub": [str(template), dict(variables)]}:
            return re.sub(r"\$\{(\w+)\}", lambda m: text(variables[m[1]]) if m[1] in variables else m[0], template)
        case {"Fn::Sub": str(template)}:
            return template
        case {"Ref": str(name)}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [str(name), str(attribute)]}:
            return f"${{{name}.{attribute}}}"
        case {"Fn::Select": [2, {"Fn::Split": ["/", {"Fn::GetAtt": [str(name), "Arn"]}]}]}:
            return f"${{{name}.RuleName}}"
        case str() | int() | float():
            return str(value)
    raise ValueError(f"{value} in the dashboard: teach it to {__name__}.text")


def references(dimensions: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield each dimension's name, and the resource and attribute that its value refers to; the value if to none."""
    for name, given in dimensions.items():
        found = re.fullmatch(r"\$\{(\w+)(?:\.(\w+))?\}", given)
        yield (name, found[1], found[2] or "Ref") if found else (name, "", given)
