"""The reader of docs/runbook.md finds its entries, and what they lack."""

from __future__ import annotations

import re

import pytest

from tests.template.runbook import LOOK, MEANING, REMEDY, anchor, entries, runbook
from tests.template.translated import template_yaml

ENTRY = """# Runbook

Words before the first entry.

## QueueAlarm

**What it means.** Orders wait.

**How to look.** At the queue:

```console
$ aws sqs get-queue-attributes
```

**How to put it right.** Wait.

### More about it

## Something else

## OtherAlarm
"""


def test_entries_are_the_headings_of_alarms() -> None:
    assert list(entries(ENTRY)) == ["QueueAlarm", "OtherAlarm"]
    assert "Orders wait." in entries(ENTRY)["QueueAlarm"].text
    assert anchor("QueueAlarm") == "#queuealarm"


def test_a_complete_entry_lacks_nothing() -> None:
    assert entries(ENTRY)["QueueAlarm"].lacks() == []


@pytest.mark.parametrize(
    ("before", "after", "lacks"),
    [
        ("**What it means.** Orders wait.", "Orders wait.", MEANING),
        ("**What it means.** Orders wait.", "**What it means.**", MEANING),
        ("**How to look.**", "**Look.**", LOOK),
        ("```console\n$ aws", "```\naws", "no command to copy"),
        ("**How to put it right.** Wait.", "", REMEDY),
    ],
)
def test_what_is_missing_is_named(before: str, after: str, lacks: str) -> None:
    assert before in ENTRY
    assert any(lacks in sentence for sentence in entries(ENTRY.replace(before, after))["QueueAlarm"].lacks())


def test_an_empty_entry_lacks_everything() -> None:
    assert len(entries(ENTRY)["OtherAlarm"].lacks()) == 3


def test_commands_name_resources_of_the_template() -> None:
    """A command that fails costs minutes when they matter most."""
    named = {name for entry in runbook().values() for name in re.findall(r"\$\(resource (\w+)\)", entry.text)}
    assert named
    assert named <= template_yaml().document["Resources"].keys()
