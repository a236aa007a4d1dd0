"""docs/runbook.md as the alarms need it: an entry for each of them, under its logical id.

An entry is a heading and three paragraphs, each with its lead in bold; the second holds a command to copy::

    ## IngestDeadLetterAlarm

    **What it means.** …

    **How to look.** …

    ```console
    $ make dead-letters
    ```

    **How to put it right.** …
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tests.template.translated import ROOT

MEANING, LOOK, REMEDY = "What it means", "How to look", "How to put it right"
# A heading of another kind ("# Runbook", "### …") structures the page, and is no entry.
_ENTRY = re.compile(r"^## (\w+Alarm)\n(.*?)(?=^##? |\Z)", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^```console\n\$ \S.*?^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """What the runbook says about one alarm."""

    alarm: str
    text: str

    def lacks(self) -> list[str]:
        """Return what is missing, as the end of a sentence that begins with "has"."""
        parts = re.split(r"^\*\*([\w ]+)\.\*\*", self.text, flags=re.MULTILINE)
        bodies = {lead: body.strip() for lead, body in zip(parts[1::2], parts[2::2], strict=True)}
        lacking = [f'no paragraph "**{lead}.** …"' for lead in (MEANING, LOOK, REMEDY) if not bodies.get(lead)]
        if LOOK in bodies and not _COMMAND.search(bodies[LOOK]):
            lacking.append(f'no command to copy (```console, "$ …") under "{LOOK}"')
        return lacking


def entries(text: str) -> dict[str, Entry]:
    """Return the entries of a runbook by the alarm's logical id."""
    return {match[1]: Entry(match[1], match[2]) for match in _ENTRY.finditer(text)}


@cache
def runbook() -> dict[str, Entry]:
    """Read the repository's runbook once."""
    return entries((ROOT / "docs" / "runbook.md").read_text(encoding="utf-8"))


def anchor(alarm: str) -> str:
    """Return the anchor that a heading of one word gets on GitHub and in most renderers."""
    return f"#{alarm.lower()}"
