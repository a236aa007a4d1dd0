"""Lints every definition in statemachines/ with statelint and with cfn-lint, which find different mistakes.

`python -m tests.template.lint_state_machines` prints what they find, and exits with 1 if that is anything.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from tests.state_machines import DEFINITIONS
from tests.template.translated import REGION, ROOT

NOT_MISTAKES = {
    "Seconds of Wait takes a JSONata expression (Step Functions developer guide, 'Wait workflow state')": re.compile(
        r"\.Seconds is \"\{% .* %\}\" but should be an Integer$"
    ),
}
"""Findings that are wrong, by the reason why they are."""


def main() -> int:
    """Print the findings for every definition. Returns the exit status."""
    found = [f"{path.relative_to(ROOT)}: {finding}" for path in DEFINITIONS for finding in findings(path)]
    sys.stdout.write("".join(f"{finding}\n" for finding in found))
    return int(bool(found))


def findings(path: Path) -> list[str]:
    """Return what the linters find in a definition, without what is no mistake."""
    return [
        finding
        for finding in [*statelint(path), *cfn_lint(path)]
        if not any(wrong.search(finding) for wrong in NOT_MISTAKES.values())
    ]


def statelint(path: Path) -> list[str]:
    """Return the findings of statelint.

    Raises:
        RuntimeError: It could not judge the file.
    """
    command = [str(Path(sys.executable).with_name("statelint")), "--yaml", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or done.stderr:
        raise RuntimeError(f"statelint: {done.stderr}")
    return [line.strip() for line in done.stdout.splitlines() if line.startswith(" ")]


def cfn_lint(path: Path) -> list[str]:
    """Return the findings of cfn-lint, which judges a definition that stands in a template."""
    text = re.sub(r"\$\{Partition\}", "aws", path.read_text())
    machine = {"RoleArn": "arn:aws:iam::123456789012:role/machine", "Definition": yaml.safe_load(text)}
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {"Machine": {"Type": "AWS::StepFunctions::StateMachine", "Properties": machine}},
    }
    matches = lint(json.dumps(template, indent=1), config=ManualArgs(regions=[REGION]))
    # What is amiss with the template around it, such as tracing, is not the definition's.
    about = [match for match in matches if match.rule.id.startswith("E3")]
    return [f"{'/'.join(map(str, (match.path or [])[4:]))}: {match.message}" for match in about]


if __name__ == "__main__":
    sys.exit(main())
