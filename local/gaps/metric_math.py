"""Alarms on metric math.

AWS ("AWS::CloudWatch::Alarm", CloudFormation template reference, and "Using metric math", CloudWatch
user guide): an alarm has `Metrics` instead of one metric, of which one expression returns data; an
expression has a value for a period in which every metric that it names has one. SERVICE_QUOTA gives
the quota that a usage metric belongs to.
ministack: refuses a template with such an alarm.

Of metric math, what alarms here use: numbers, + - * / and SERVICE_QUOTA. Anything else is an error
when the alarm is made, so that none is silently asleep.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from local.gaps.emulator import Emulator

LAMBDA_CONCURRENCY_QUOTA = 1000.0
"""What SERVICE_QUOTA gives for ConcurrentExecutions of AWS/Lambda: the default quota of an account."""

Values = Mapping[str, float | None]
OPERATIONS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def install(emulator: Emulator) -> None:
    """Make such an alarm as one on its first metric, and let it remember what it is really about."""
    from ministack.services.cloudformation import provisioners

    def record(original: Any) -> Any:
        def make(name: str, props: dict[str, Any]) -> dict[str, Any]:
            queries = props.get("Metrics")
            if not queries:
                return dict(original(name, props))
            value(queries, {query["Id"]: 1.0 for query in queries if "MetricStat" in query})
            first = next(query["MetricStat"] for query in queries if "MetricStat" in query)
            one = {"MetricName": first["Metric"]["MetricName"], "Namespace": first["Metric"]["Namespace"]}
            plain = {key: item for key, item in props.items() if key != "Metrics"}
            return dict(original(name, plain | one | {"Period": first["Period"]}), Metrics=queries)

        return make

    emulator.wrap(provisioners, "_cw_metric_alarm_record", record, parameters=("name", "props"))


def metric_stats(queries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The metrics that the queries of an alarm name, by their ids, in the form of an alarm on one metric."""
    return {
        query["Id"]: query["MetricStat"]["Metric"]
        | {"Period": query["MetricStat"]["Period"], "Statistic": query["MetricStat"]["Stat"]}
        for query in queries
        if "MetricStat" in query
    }


def value(queries: list[dict[str, Any]], metrics: Values) -> float | None:
    """The value that the queries of an alarm return for one period, from the values of their metrics.

    Raises:
        ValueError: If no query returns data, or its expression is none that this module knows.
    """
    returned = [query for query in queries if str(query.get("ReturnData", True)).lower() == "true"]
    if len(returned) != 1:
        raise ValueError("exactly one of an alarm's Metrics returns data")
    if "Expression" not in returned[0]:
        return metrics[returned[0]["Id"]]
    return calculate(returned[0]["Expression"], metrics)


def calculate(expression: str, metrics: Values) -> float | None:
    """The value of an expression for one period; None if a metric that it needs has none, or it divides by nothing.

    Raises:
        ValueError: If the expression is none that this module knows.
    """
    try:
        return _evaluate(ast.parse(expression, mode="eval").body, metrics)
    except _NoValue:
        return None
    except (SyntaxError, KeyError) as error:
        raise ValueError(f"metric math that is not known here: {expression!r} ({error})") from error


class _NoValue(Exception):
    """There is no value for the period."""


def _evaluate(node: ast.expr, metrics: Values) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            found = metrics[name]
            if found is None:
                raise _NoValue
            return found
        case ast.BinOp(left=left, op=operation, right=right):
            first, second = _evaluate(left, metrics), _evaluate(right, metrics)
            if isinstance(operation, ast.Div) and second == 0:
                raise _NoValue
            return OPERATIONS[type(operation)](first, second)
        case ast.Call(func=ast.Name(id="SERVICE_QUOTA"), args=[ast.Name(id=name)]) if name in metrics:
            return LAMBDA_CONCURRENCY_QUOTA
    raise ValueError(f"metric math that is not known here: {ast.unparse(node)}")
