"""Writes the page. What its numbers are, and nothing else, it takes from compare.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadtest import style
from loadtest.twin.report import pictures

SPACE = "\N{NO-BREAK SPACE}"


def _decimals(digits: int, unit: str = "", factor: float = 1, sign: str = "") -> Callable[[float], str]:
    return lambda value: f"{value * factor:{sign},.{digits}f}".replace("-", "\N{MINUS SIGN}") + (unit and SPACE + unit)


def _times(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


FORMS: Mapping[str, Callable[[float], str]] = {
    "count": _decimals(0),
    "percent": _decimals(0, "%", 100),
    "tenths": _decimals(1, "%", 100),
    "seconds": _decimals(0, "s"),
    "hundredths": _decimals(2, "s"),
    "dollars": lambda value: f"${value:.4f}",
    "times": _times,
    "deviation": _decimals(0, "%", 100, "+"),
    "points": _decimals(1, "points", 100, "+"),
}
"""How numbers are written."""

FIGURES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Orders": {
        "orders": ("sent", "count"),
        "accepted": ("accepted (202)", "count"),
        "delivered": ("delivered", "count"),
        "lost": ("lost", "count"),
        "waiting": ("still on their way", "count"),
        "dead_letters": ("in dead-letter queues", "count"),
        "duplicates": ("delivered twice", "count"),
    },
    "The delivery function": {
        "peak_concurrency": ("most executions at a time", "count"),
        "peak_concurrency_of_account": ("most executions of all functions at a time", "count"),
        "worst_minute_success": ("success in the worst minute", "tenths"),
        "max_failed_per_minute": ("most failures in a minute", "count"),
        "invocations": ("invocations", "count"),
        "billed_seconds_per_order": ("billed time for each order", "hundredths"),
    },
    "Waiting": {
        "p50_delay_s": ("delay, median", "seconds"),
        "p95_delay_s": ("delay, 95th percentile", "seconds"),
        "max_backlog": ("most orders waiting", "count"),
        "drain_s": ("from the end of the load to the last order", "seconds"),
        "fluid_limit_drain_s": ("the same for a courier that is never idle", "seconds"),
    },
    "The courier": {
        "courier_calls": ("calls", "count"),
        "throttled_share": ("of them refused as too many", "tenths"),
        "peak_calls_per_second": ("most calls within a second", "count"),
        "goodput_ratio": ("used of what it can take, while orders wait", "tenths"),
    },
    "Cost": {
        "cost_usd_per_1000_orders": ("US dollars for a thousand orders", "dollars"),
    },
}
"""Groups of the table; of each figure of the twin what people call it, and how it is written."""

SERVICES = {
    "lambda": "Lambda",
    "api_gateway": "API Gateway",
    "sqs": "SQS",
    "eventbridge": "EventBridge",
    "dynamodb": "DynamoDB",
    "step_functions": "Step Functions",
    "cloudwatch_logs": "CloudWatch Logs",
}

DESCRIPTIONS = {
    "flow-control": "Orders wait in a queue; few executions make paced calls, and hand back what failed.",
    "plain-buffer": "A queue and a cap on executions, each of which carries one order and waits inside for retries.",
    "no-flow-control": "The event bus starts an execution for each order, which waits inside for its retries.",
}

QUALIFIERS = {
    "no-flow-control": {},
    "plain-buffer": {"peak_concurrency_of_account": "about", "worst_minute_success": "≥"},
}
"""What the source of a published figure says about it, where it is not exact."""


def write(document: Mapping[str, Any]) -> str:
    """Return the page as one HTML file that needs nothing else.

    Args:
        document: compare.json.
    """
    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    rows = {key: row for group in FIGURES.values() for key, row in group.items()}
    return environment.get_template("page.html.j2").render(
        number=lambda path, form="count": number(document, path, form),
        varies=lambda path: look_up(document, path)["lowest"] != look_up(document, path)["highest"],
        colours=colours(),
        styles=(here / "page.css").read_text(),
        labels=style.LABELS,
        descriptions=DESCRIPTIONS,
        published=document["published"],
        qualifiers=QUALIFIERS,
        groups=FIGURES,
        meanings={key: meaning for key, (meaning, _) in rows.items()},
        forms={key: form for key, (_, form) in rows.items()},
        services=SERVICES,
        titles={name: picture.title for name, picture in pictures.PICTURES.items()},
        pictures={
            name: {
                "wide": pictures.inline(picture, document, pictures.WIDE),
                "narrow": pictures.inline(picture, document, pictures.NARROW),
            }
            for name, picture in pictures.PICTURES.items()
        },
    )


def number(document: Mapping[str, Any], path: str, form: str) -> Markup:
    """Write a number of compare.json, with its path, so that a test can look it up; a dash if there is none.

    Args:
        document: compare.json.
        path: Keys on the way to it, joined by dots.
        form: One of FORMS.
    """
    value = look_up(document, path)
    if value is None:
        return Markup("\N{EN DASH}")
    return Markup('<data value="{}" data-path="{}">{}</data>').format(value, path, FORMS[form](value))


def look_up(document: Mapping[str, Any], path: str) -> Any:
    """Return what stands at a path of compare.json."""
    return reduce(lambda part, key: part[key], path.split("."), document)


def colours() -> str:
    """Return the CSS variables of both themes."""
    light, dark = (
        " ".join(f"{variable}: {colour};" for colour, variable in pictures.variables(theme).items())
        for theme in style.THEMES
    )
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
