"""Fields of states in JSONata, and errors that States.ALL leaves alone.

AWS ("Transforming data with JSONata in Step Functions", "Handling errors in Step Functions
workflows", Step Functions developer guide): every state but Fail has Output, a Parallel state has
Arguments, and both have Assign; TimeoutSeconds may be an expression; States.ALL matches neither
States.Runtime nor States.DataLimitExceeded.
ministack: ignores Output of Succeed and of the default of Choice, and all three on Parallel; fails
on an expression for TimeoutSeconds; lets States.ALL match every error.
"""

from __future__ import annotations

from typing import Any

from local.gaps.emulator import Emulator

TERMINAL_ERRORS = ("States.Runtime", "States.DataLimitExceeded")

State = dict[str, Any]


def install(emulator: Emulator) -> None:
    """Wrap the emulator's handlers of these states."""
    from ministack.services import stepfunctions

    emulator.wrap(stepfunctions, "_apply_output_path", succeed_with_output, parameters=("state_def", "data", "ctx"))
    emulator.wrap(stepfunctions, "_execute_choice", choose_with_output, parameters=("state_def", "raw_input", "ctx"))
    states = ("state_def", "raw_input", "execution", "ctx")
    emulator.wrap(stepfunctions, "_run_parallel_branches", parallel_in_jsonata, parameters=states)
    emulator.wrap(stepfunctions, "_execute_task", task_with_timeout, parameters=states)
    emulator.wrap(stepfunctions, "_error_matches", match_error, parameters=("error_equals", "error"))


def in_jsonata(state: State, context: Any) -> bool:
    """Whether a state's query language is JSONata."""
    from ministack.services import stepfunctions

    return bool(stepfunctions._state_query_language(state, context) == "JSONata")


def succeed_with_output(original: Any) -> Any:
    """Apply the Output of a Succeed state where the emulator applies a path."""
    from ministack.services import stepfunctions

    def output(state_def: State, data: Any, ctx: Any = None) -> Any:
        if state_def.get("Type") == "Succeed" and in_jsonata(state_def, ctx):
            return stepfunctions._apply_jsonata_output(state_def, data, ctx, default=data)
        return original(state_def, data, ctx)

    return output


def choose_with_output(original: Any) -> Any:
    """Treat the default of a Choice state as a last rule, which has Output and Assign."""

    def choose(state_def: State, raw_input: Any, ctx: Any = None) -> Any:
        if "Default" not in state_def or not in_jsonata(state_def, ctx):
            return original(state_def, raw_input, ctx)
        default: State = {"Condition": True, "Next": state_def["Default"]}
        default |= {key: state_def[key] for key in ("Output", "Assign") if key in state_def}
        # A rule has no query language of its own.
        rules = [{**rule, "QueryLanguage": "JSONata"} for rule in (*state_def["Choices"], default)]
        return original(state_def | {"Choices": rules}, raw_input, ctx)

    return choose


def parallel_in_jsonata(original: Any) -> Any:
    """Give the branches the Arguments, and apply Output and Assign to their results."""
    from ministack.services import stepfunctions

    def run(state_def: State, raw_input: Any, execution: Any, ctx: Any) -> Any:
        if not in_jsonata(state_def, ctx):
            return original(state_def, raw_input, execution, ctx)
        arguments = stepfunctions._apply_jsonata_arguments(state_def, raw_input, ctx)
        results, following = original(state_def, arguments, execution, ctx)
        output = stepfunctions._apply_jsonata_output(state_def, raw_input, ctx, result=results, default=results)
        stepfunctions._apply_state_assign(state_def, raw_input, ctx, result=results)
        return output, following

    return run


def task_with_timeout(original: Any) -> Any:
    """Evaluate an expression for TimeoutSeconds before the task begins."""
    from ministack.services import stepfunctions

    def execute(state_def: State, raw_input: Any, execution: Any, ctx: Any) -> Any:
        if isinstance(state_def.get("TimeoutSeconds"), str):
            seconds = stepfunctions._jsonata_state_field(state_def, "TimeoutSeconds", "number", raw_input, ctx)
            state_def = state_def | {"TimeoutSeconds": seconds}
        return original(state_def, raw_input, execution, ctx)

    return execute


def match_error(original: Any) -> Any:
    """Match an error that ends the execution by its own name only."""

    def matches(error_equals: list[str], error: str) -> bool:
        if error in TERMINAL_ERRORS:
            return error in error_equals
        return bool(original(error_equals, error))

    return matches
