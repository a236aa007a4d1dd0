"""The template keeps its invariants (design, section 10), in every variant and at the bounds of its parameters.

Each test is one rule about one resource, in all variants that have it, and its message says why the rule stands. The
rules are in ``invariants/``; ``test_faults.py`` shows that each of them can fail.
"""

from __future__ import annotations

import pytest

from tests.template.invariants import INVARIANTS, Invariant
from tests.template.variants import AT_BOUNDS, VARIANTS, stack


def variants_for(invariant: Invariant) -> list[str]:
    """Return where a rule must hold; the bounds of the parameters are only of interest to times and counts."""
    return [*VARIANTS, *AT_BOUNDS] if invariant.depends_on_numbers else [*VARIANTS]


CASES = {
    f"{rule}-{subject}": (rule, subject)
    for rule, invariant in INVARIANTS.items()
    for variant in variants_for(invariant)
    for subject in invariant.subjects(stack(variant))
    if subject not in invariant.exceptions
}
EXCEPTIONS = {
    f"{rule}-{subject}": (rule, subject) for rule, invariant in INVARIANTS.items() for subject in invariant.exceptions
}


@pytest.mark.parametrize(("rule", "subject"), CASES.values(), ids=CASES.keys())
def test_invariant_holds(rule: str, subject: str) -> None:
    invariant = INVARIANTS[rule]
    variants_by_violation: dict[str, list[str]] = {}
    for variant in variants_for(invariant):
        if subject in invariant.subjects(stack(variant)):
            for violation in invariant.violations(stack(variant), subject):
                variants_by_violation.setdefault(violation, []).append(variant)
    assert not variants_by_violation, "\n\n".join(
        f"{violation}\nIn: {', '.join(variants)}" for violation, variants in variants_by_violation.items()
    )


@pytest.mark.parametrize(("rule", "subject"), EXCEPTIONS.values(), ids=EXCEPTIONS.keys())
def test_exception_is_needed_without_flow_control_and_only_there(rule: str, subject: str) -> None:
    invariant = INVARIANTS[rule]
    for variant in VARIANTS:
        if variant.startswith("no_flow_control"):
            assert invariant.violations(stack(variant), subject), "it keeps the rule: it is no exception any more"
        else:
            assert subject not in invariant.subjects(stack(variant)), "with flow control nothing is let off"


def test_only_deliveries_without_flow_control_are_let_off() -> None:
    """The published first build has no dead-letter destination for deliveries, on purpose."""
    assert set(EXCEPTIONS.values()) == {
        ("rule_target_has_dead_letter_queue", "DirectDeliveryRule/delivery"),
        ("asynchronous_function_has_destination", "DeliveryFunction"),
    }
