"""The template keeps its invariants (design, section 10), in every variant and at the bounds of its parameters.

Each test is one rule about one resource, and its message says why the rule stands. The rules are in ``invariants/``;
``test_faults.py`` shows that each of them can fail.
"""

from __future__ import annotations

import pytest

from tests.template.invariants import INVARIANTS
from tests.template.variants import AT_BOUNDS, VARIANTS, stack

CASES = [
    pytest.param(rule, subject, variant, id=f"{rule}-{subject}-{variant}")
    for variant in [*VARIANTS, *AT_BOUNDS]
    for rule, invariant in INVARIANTS.items()
    if variant in VARIANTS or invariant.depends_on_numbers
    for subject in invariant.subjects(stack(variant))
    if subject not in invariant.exceptions
]
EXCEPTIONS = [
    pytest.param(rule, subject, id=f"{rule}-{subject}")
    for rule, invariant in INVARIANTS.items()
    for subject in invariant.exceptions
]


@pytest.mark.parametrize(("rule", "subject", "variant"), CASES)
def test_invariant_holds(rule: str, subject: str, variant: str) -> None:
    violations = INVARIANTS[rule].violations(stack(variant), subject)
    assert not violations, "\n\n".join(violations)


@pytest.mark.parametrize(("rule", "subject"), EXCEPTIONS)
def test_exception_is_that_of_the_variant_without_flow_control(rule: str, subject: str) -> None:
    """The published first build has no dead letters for deliveries, on purpose. Nothing else is let off."""
    invariant = INVARIANTS[rule]
    for variant in VARIANTS:
        if variant.startswith("no_flow_control"):
            assert invariant.violations(stack(variant), subject), "it keeps the rule: it is no exception any more"
        else:
            assert subject not in invariant.subjects(stack(variant)), "with flow control nothing is let off"


def test_deliveries_without_flow_control_are_the_only_exceptions() -> None:
    let_off = {(rule, subject) for rule, invariant in INVARIANTS.items() for subject in invariant.exceptions}
    assert let_off == {
        ("rule_target_has_dead_letter_queue", "DirectDeliveryRule/delivery"),
        ("asynchronous_function_has_destination", "DeliveryFunction"),
    }
