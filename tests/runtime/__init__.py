"""Runs the built functions on this machine as Lambda would: see `python -m tests.runtime -h`."""

from .artefact import BUILT_TEMPLATE, BuiltFunction, NotBuiltError, read_functions
from .execution_environment import ExecutionEnvironment, Invocation

__all__ = [
    "BUILT_TEMPLATE",
    "BuiltFunction",
    "ExecutionEnvironment",
    "Invocation",
    "NotBuiltError",
    "read_functions",
]
