"""Alarms say what they mean and where to read on, and neither sleep through missing data nor cry wolf over it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.template.invariants.invariant import invariant, of
from tests.template.runbook import anchor, runbook
from tests.template.translated import Stack

ALARM, COMPOSITE = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"


@invariant(of(ALARM, COMPOSITE))
def alarm_has_runbook_entry(stack: Stack, alarm: str) -> Iterator[str]:
    """Who is woken by an alarm needs to know what it means, how to look and how to put it right.

    docs/runbook.md has an entry for each, in the form that tests/template/runbook.py shows.
    """
    if alarm not in runbook():
        yield f'has no entry "## {alarm}" in docs/runbook.md'


@invariant(lambda stack: list(runbook()))
def runbook_entry_is_complete(stack: Stack, alarm: str) -> Iterator[str]:
    """An entry without a command to copy, or for an alarm that is gone, costs the time that it should save."""
    for lacking in runbook()[alarm].lacks():
        yield f"has {lacking} in docs/runbook.md"
    if stack.source.document["Resources"].get(alarm, {}).get("Type") not in (ALARM, COMPOSITE):
        yield "has an entry in docs/runbook.md, and is no alarm of template.yaml"


@invariant(of(ALARM, COMPOSITE))
def alarm_links_to_runbook(stack: Stack, alarm: str) -> Iterator[str]:
    """The message that people get shows the description: what happened in a sentence, and where to read on.

    The link is the parameter RunbookUrl and the anchor of the entry (the heading in lower case).
    """
    sentence, _, link = str(stack.properties(alarm).get("AlarmDescription", "")).rpartition(" ")
    if link != f"{stack.parameters['RunbookUrl']}{anchor(alarm)}":
        yield f"does not end its AlarmDescription with ${{RunbookUrl}}{anchor(alarm)}"
    if not sentence.endswith("."):
        yield "does not say in a sentence what it means, before the link"


@invariant(of(ALARM))
def alarm_says_what_missing_data_means(stack: Stack, alarm: str) -> Iterator[str]:
    """Without TreatMissingData a metric that stops leaves its alarm in INSUFFICIENT_DATA, which tells nobody.

    (CloudWatch user guide, "Configuring how CloudWatch alarms treat missing data".) Who wants that state on purpose
    says so, and tells people of it.
    """
    properties = stack.properties(alarm)
    treatment = properties.get("TreatMissingData")
    if treatment not in ("breaching", "notBreaching", "ignore", "missing"):
        yield "has no TreatMissingData"
    if treatment == "missing" and not properties.get("InsufficientDataActions"):
        yield "has TreatMissingData: missing, and no InsufficientDataActions"
