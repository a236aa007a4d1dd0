"""What an invariant is: a rule, the resources it is about, and why it stands."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tests.template.translated import Stack

Subjects = Callable[[Stack], Iterable[str]]
Check = Callable[[Stack, str], Iterator[str]]


@dataclass(frozen=True)
class Invariant:
    """A rule about a stack.

    Attributes:
        name: Name of the function that checks it.
        because: Its docstring: the AWS fact that makes the rule, and where AWS says so.
        subjects: Finds what the rule is about, most often the logical ids of resources.
        check: Yields a sentence for each violation by one subject.
        exceptions: Subjects that break the rule on purpose, each with its reason.
    """

    name: str
    because: str
    subjects: Subjects
    check: Check
    exceptions: Mapping[str, str]

    @property
    def depends_on_numbers(self) -> bool:
        """Whether the parameters' numbers can break it: the rules of ``timing``."""
        return self.check.__module__.endswith(".timing")

    def violations(self, stack: Stack, subject: str) -> list[str]:
        """Return what is wrong with a subject, exceptions included, as messages that say why it is wrong."""
        return [f"{subject} {violation}.\nWhy: {self.because}" for violation in self.check(stack, subject)]


INVARIANTS: dict[str, Invariant] = {}


def invariant(subjects: Subjects, exceptions: Mapping[str, str] | None = None) -> Callable[[Check], Check]:
    """Register a function as an invariant; its docstring is the reason."""

    def register(check: Check) -> Check:
        name, because = check.__name__, inspect.getdoc(check)
        if not because or name in INVARIANTS:
            raise ValueError(f"{name}: an invariant needs a name of its own, and a docstring that says why it stands")
        INVARIANTS[name] = Invariant(name, because, subjects, check, exceptions or {})
        return check

    return register


def of(*types: str) -> Subjects:
    """Be about every resource of these types."""
    return lambda stack: stack.of_type(*types)
