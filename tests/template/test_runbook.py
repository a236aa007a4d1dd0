"""The reader of docs/runbook.md finds its entries, and what they lack."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.template.invariants.alarms import ALARM, COMPOSITE
from tests.template.runbook import LOOK, MEANING, REMEDY, anchor, entries, runbook
from tests.template.translated import ROOT, deploy, template_yaml

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


@pytest.mark.parametrize("flow_control", ["enabled", "disabled"])
def test_the_runbook_says_what_the_alarms_cost(flow_control: str) -> None:
    """CloudWatch pricing, us-east-1: by the metrics that an alarm looks at, and their resolution."""
    there = deploy(template_yaml(), {"FlowControl": flow_control})
    alarms, composites = there.of_type(ALARM), there.of_type(COMPOSITE)
    dollars = 0.5 * len(composites)
    for alarm in map(there.properties, alarms):
        queries = [query["MetricStat"]["Period"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
        dollars += sum(0.1 if int(period) >= 60 else 0.3 for period in queries or [alarm["Period"]])
    told = " ".join((ROOT / "docs" / "runbook.md").read_text().split())
    assert re.search(rf"{dollars:.2f} USD( a month)? \({len(alarms)}( metric alarms)? and {len(composites)}", told), (
        f"with FlowControl={flow_control}, say {dollars:.2f} USD ({len(alarms)} and {len(composites)})"
    )


def test_the_readme_says_the_same_of_the_alarms() -> None:
    runbook_says = re.search(r"the alarms cost (\d+\.\d\d) USD", (ROOT / "docs" / "runbook.md").read_text())
    assert runbook_says
    assert f"alarms ({runbook_says[1]})" in (ROOT / "README.md").read_text()


def test_nobody_is_sent_past_the_redrive() -> None:
    """StartMessageMoveTask reads no circuit and stops for nothing (docs/decisions.md); people get make redrive."""
    texts = [ROOT / "README.md", ROOT / "template.yaml", *(ROOT / "docs").glob("*.md")]
    assert [text.name for text in texts if "start-message-move-task" in text.read_text()] == []


def test_commands_can_be_copied() -> None:
    """Each block of the runbook is shell, continued lines and all."""
    blocks = re.findall(
        r"^```console\n(.*?)^```$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) > len(runbook())
    for block in blocks:
        script = re.sub(r"^\$ ", "", block, flags=re.MULTILINE)
        checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, f"{checked.stderr}\n{script}"
