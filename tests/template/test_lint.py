"""cfn-lint finds nothing, neither in template.yaml nor in what SAM makes of it.

The translated template is linted for each variant with its parameters filled in, because cfn-lint sees through a
literal where it must believe a SAM property or a reference. ``.cfnlintrc.yaml`` names what is let off, and why.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from tests.template.translated import REGION, ROOT, template_yaml
from tests.template.variants import stack

SETTINGS = yaml.safe_load((ROOT / ".cfnlintrc.yaml").read_text())
# The gaps that the variant without flow control has on purpose must not be let off where there is flow control.
NO_FLOW_CONTROL_ONLY = {"ES4000", "ES1007"}


def test_cfn_lint_finds_what_is_let_off_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test, because its last part needs the findings of all templates, and to lint takes seconds."""
    monkeypatch.chdir(
        tmp_path
    )  # cfn-lint reads .cfnlintrc.yaml where it runs, and would keep quiet about what it names
    let_off = set(SETTINGS["ignore_checks"])

    source = findings(template_yaml().text)
    assert not _told(source, but=let_off), "template.yaml"
    with_flow_control = findings(_translated("flow_control"))
    assert not _told(with_flow_control, but=let_off - NO_FLOW_CONTROL_ONLY), "translated, with flow control"
    without = findings(_translated("no_flow_control"))
    assert not _told(without, but=let_off), "translated, without flow control"

    on_purpose = _told({rule: without[rule] for rule in NO_FLOW_CONTROL_ONLY}, but=set())
    assert all("Resources/DirectDelivery" in message for message in on_purpose), "only direct delivery is let off"
    # A check that finds nothing any more must not stay switched off, or it misses the next fault.
    stale = let_off - source.keys() - with_flow_control.keys() - without.keys()
    assert not stale, "take these out of .cfnlintrc.yaml"


def findings(text: str) -> dict[str, list[str]]:
    """Lint a template; return the findings by the rule that made them."""
    found: dict[str, list[str]] = {}
    for match in lint(text, config=ManualArgs(append_rules=SETTINGS["append_rules"], regions=[REGION])):
        found.setdefault(match.rule.id, []).append(f"{'/'.join(map(str, match.path or []))}: {match.message}")
    return found


def _told(found: dict[str, list[str]], *, but: set[str]) -> list[str]:
    return [f"{rule} {message}" for rule, messages in found.items() if rule not in but for message in messages]


def _translated(variant: str) -> str:
    """Return a variant's translation without conditions, which are worked out already."""
    template = stack(variant).template
    sections = {
        section: {
            name: {key: value for key, value in body.items() if key != "Condition"}
            for name, body in template[section].items()
        }
        for section in ("Resources", "Outputs")
    }
    return json.dumps({"AWSTemplateFormatVersion": template["AWSTemplateFormatVersion"], **sections}, indent=1)
