"""Runs a definition in the Amazon States Language state by state, against services that a test simulates.

As much of the language as the circuit breaker uses, with JSONata by the library that the emulator uses, too. An
execution stops before every task and after every wait, so that a test decides what happens in between. The emulator's
own interpreter runs the same definition in tests/integration/test_circuit_breaker_paths.py.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import cache
from typing import Any
from uuid import uuid4

import jsonata

Data = Any
Services = Callable[["Execution", str, Data], Data]
"""Calls a service for an execution: the resource without its common beginning, such as lambda:invoke, and arguments."""


class ServiceError(Exception):
    """What a task's service answers, named as Step Functions names it."""

    def __init__(self, name: str, cause: str = "") -> None:
        super().__init__(name, cause)
        self.name = name
        self.cause = cause


class Execution:
    """One execution of a state machine.

    Args:
        definition: The state machine.
        arn: The execution's name.
        given: Its input.
        services: What its tasks call.
        now: When it starts, in seconds.
    """

    def __init__(self, definition: dict[str, Any], arn: str, given: Data, services: Services, now: float) -> None:
        self.arn = arn
        self.visited: list[str] = []
        self.result: str | None = None
        """None while it runs; then the state that it ended in, or the error that it failed with."""
        self.ready_at = now
        """When its wait ends."""
        self._states = definition["States"]
        self._services = services
        self._variables: dict[str, Data] = {}
        self._context = {"Execution": {"Id": arn, "Input": given}, "StateMachine": {"Id": "machine"}}
        self._course = self._run(definition["StartAt"], given)
        next(self._course, None)

    def step(self, now: float) -> None:
        """Do the next task, and go on to the one after it, or to the end of a wait."""
        self.ready_at = now
        next(self._course, None)

    def _run(self, name: str, data: Data) -> Iterator[None]:
        try:
            yield from self._follow(name, data)
        except ServiceError as error:  # in an expression of a state that catches nothing
            self.result = error.name

    def _follow(self, name: str, data: Data) -> Iterator[None]:
        while True:
            self.visited.append(name)
            state = self._states[name]
            match state["Type"]:
                case "Succeed" | "Fail":
                    self.result = name
                    return
                case "Task":
                    name = yield from self._task(state, data)
                    if self.result:
                        return
                case "Wait":
                    seconds = self._evaluate(state["Seconds"], {"input": data})
                    assert seconds == int(seconds) >= 0, f"{name} waits {seconds} s"
                    self.ready_at += seconds
                    yield
                    name = state["Next"]
                case "Pass":
                    self._assign(state, {"input": data})
                    name = state["Next"]
                case "Choice":
                    taken = next((rule for rule in state["Choices"] if self._holds(rule, data)), None)
                    self._assign(taken or state, {"input": data})
                    name = taken["Next"] if taken else state["Default"]

    def _holds(self, rule: dict[str, Any], data: Data) -> bool:
        return bool(self._evaluate(rule["Condition"], {"input": data}))

    def _task(self, state: dict[str, Any], data: Data) -> Generator[None, None, str]:
        tries: dict[int, int] = {}
        while True:
            yield
            try:
                arguments = self._evaluate(state["Arguments"], {"input": data})
                result = self._services(self, state["Resource"].rpartition(":::")[2], arguments)
                self._assign(state, {"input": data, "result": result})
            except ServiceError as error:
                if self._retries(state["Retry"], error, tries):
                    continue
                catcher = next((one for one in state["Catch"] if _matches(one["ErrorEquals"], error)), None)
                if catcher is None:
                    self.result = error.name
                    return ""
                self._assign(catcher, {"input": data, "errorOutput": {"Error": error.name, "Cause": error.cause}})
                return str(catcher["Next"])
            return str(state["Next"])

    def _retries(self, retriers: list[dict[str, Any]], error: ServiceError, tries: dict[int, int]) -> bool:
        for index, retrier in enumerate(retriers):
            if _matches(retrier["ErrorEquals"], error):
                tries[index] = tries.get(index, 0) + 1
                return bool(tries[index] <= retrier["MaxAttempts"])
        return False

    def _assign(self, holder: dict[str, Any], states: dict[str, Data]) -> None:
        """Assign all variables at once: none sees another's new value."""
        self._variables |= {name: self._evaluate(value, states) for name, value in holder.get("Assign", {}).items()}

    def _evaluate(self, value: Data, states: dict[str, Data]) -> Data:
        if isinstance(value, dict):
            return {key: self._evaluate(item, states) for key, item in value.items()}
        if isinstance(value, list):
            return [self._evaluate(item, states) for item in value]
        if not (isinstance(value, str) and value.startswith("{%")):
            return value
        expression = value.removeprefix("{%").removesuffix("%}").strip()
        if expression[1:] in self._variables:  # nothing but a variable
            return self._variables[expression[1:]]
        try:
            found = _compiled(expression).evaluate(
                None, {**self._variables, "states": {**states, "context": self._context}}
            )
        except jsonata.JException as error:
            raise ServiceError("States.QueryEvaluationError", str(error)) from error
        if found is None:
            raise ServiceError("States.QueryEvaluationError", f"{expression} is undefined")
        return found


@cache
def _compiled(expression: str) -> jsonata.Jsonata:
    compiled = jsonata.Jsonata.jsonata(expression)
    compiled.register_lambda("uuid", lambda: str(uuid4()))
    return compiled


def _matches(names: list[str], error: ServiceError) -> bool:
    """Whether a retrier or catcher is for an error; States.ALL leaves two alone ("Error names", developer guide)."""
    terminal = error.name in ("States.Runtime", "States.DataLimitExceeded")
    return error.name in names or ("States.ALL" in names and not terminal)
