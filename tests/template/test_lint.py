"""cfn-lint finds nothing, neither in template.yaml nor in what SAM makes of it.

The translated template is linted for each variant with its parameters filled in, because cfn-lint sees through a
literal where it must believe a SAM property or a reference. ``.cfnlintrc.yaml`` names what is let off, and why.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import yaml
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from tests.template.translated import REGION, ROOT, template_yaml
from tests.template.variants import stack

SETTINGS = yaml.safe_load((ROOT / ".cfnlintrc.yaml").read_text())
TRANSLATED = ("flow_control", "no_flow_control")
# The deliberate gaps of the variant without flow control must not be let off where there is flow control.
NO_FLOW_CONTROL_ONLY = {"ES4000", "ES1007"}


@pytest.fixture(autouse=True)
def _without_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cfn-lint reads .cfnlintrc.yaml where it runs; these tests want to see what it lets off, too."""
    monkeypatch.chdir(tmp_path)


@cache
def findings(template: str) -> dict[str, list[str]]:
    """Lint template.yaml, or its translation for a variant; return the findings by rule."""
    text = template_yaml().text if template == "template.yaml" else json.dumps(_without_conditions(template), indent=1)
    found: dict[str, list[str]] = {}
    for match in lint(text, config=ManualArgs(append_rules=SETTINGS["append_rules"], regions=[REGION])):
        found.setdefault(match.rule.id, []).append(f"{'/'.join(map(str, match.path or []))}: {match.message}")
    return found


def _without_conditions(variant: str) -> dict[str, object]:
    template = stack(variant).template
    return {
        "AWSTemplateFormatVersion": template["AWSTemplateFormatVersion"],
        **{
            section: {
                name: {key: value for key, value in body.items() if key != "Condition"}
                for name, body in template[section].items()
            }
            for section in ("Resources", "Outputs")
        },
    }


@pytest.mark.parametrize("template", ["template.yaml", *TRANSLATED])
def test_cfn_lint_finds_nothing(template: str) -> None:
    let_off = set(SETTINGS["ignore_checks"])
    if template == "flow_control":
        let_off -= NO_FLOW_CONTROL_ONLY
    found = {rule: messages for rule, messages in findings(template).items() if rule not in let_off}
    assert not found, "\n".join(f"{rule} {message}" for rule, messages in found.items() for message in messages)


def test_what_is_let_off_is_still_found() -> None:
    """A check that finds nothing any more must not stay switched off, or it misses the next fault."""
    found = {rule for template in ("template.yaml", *TRANSLATED) for rule in findings(template)}
    assert not set(SETTINGS["ignore_checks"]) - found, "take these out of .cfnlintrc.yaml"


def test_direct_delivery_is_the_only_rule_without_dead_letters() -> None:
    found = [message for rule in NO_FLOW_CONTROL_ONLY for message in findings("no_flow_control").get(rule, [])]
    assert {message.partition(":")[0] for message in found} == {
        "Resources/DirectDeliveryRule",
        "Resources/DirectDeliveryPermission",
    }
