"""Definitions of state machines in YAML.

AWS ("AWS::StepFunctions::StateMachine", CloudFormation template reference): the definition in S3 may
be JSON or YAML, and is stored as JSON; substitutions are texts, numbers or booleans.
ministack: stores the file as it is, and no execution of a definition in YAML can start; writes a
boolean as Python does.
"""

from __future__ import annotations

import json
from typing import Any

from local.gaps.emulator import Emulator

Properties = dict[str, Any]


def install(emulator: Emulator) -> None:
    """Convert the definition after its substitutions."""
    from ministack.services.cloudformation import provisioners

    def as_json(original: Any) -> Any:
        def definition(props: Properties) -> str:
            substitutions = props.get("DefinitionSubstitutions") or {}
            written = {key: substitution(value) for key, value in substitutions.items()}
            return converted(original(props | {"DefinitionSubstitutions": written}))

        return definition

    emulator.wrap(provisioners, "_sfn_definition", as_json, parameters=("props",))


def substitution(value: Any) -> str:
    """A substitution's value as it stands in JSON and YAML."""
    return value if isinstance(value, str) else json.dumps(value)


def converted(text: str) -> str:
    """The definition in JSON.

    Raises:
        ValueError: If it is neither JSON nor YAML.
    """
    import yaml

    try:
        json.loads(text)
    except ValueError:
        try:
            return json.dumps(yaml.safe_load(text), default=str)
        except yaml.YAMLError as error:
            raise ValueError(f"the definition of the state machine is not valid YAML: {error}") from error
    return text
