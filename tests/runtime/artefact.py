"""What `sam build` left behind: each function's code, layers and settings.

The built template is read by the SAM CLI's own reader, the one behind `sam local invoke`, so that
Globals, parameters and intrinsic functions mean here what they mean there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from local.stack import TEMPLATE, built_template

BUILT_TEMPLATE = built_template(TEMPLATE)

# Logical ID -> {"Ref": …, "Arn": …}: what CloudFormation would put in place of Ref and Fn::GetAtt.
PhysicalIds = Mapping[str, Mapping[str, str]]


class NotBuiltError(Exception):
    """There is no artefact to run."""


@dataclass(frozen=True)
class BuiltFunction:
    """A function as it would be uploaded: `timeout` in seconds, `memory` in MB."""

    name: str
    handler: str
    code: Path
    layers: tuple[Path, ...] = ()
    timeout: float = 3
    memory: int = 128
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def source_name(self) -> str:
        """Its folder under functions/ and its file under events/: SlowApiFunction -> slow_api."""
        words = self.name.removesuffix("Function")
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in words).lstrip("_")

    def with_variables(self, variables: Mapping[str, str]) -> Self:
        """The same function with some environment variables added or replaced."""
        return replace(self, variables={**self.variables, **variables})


def read_functions(
    template: Path = BUILT_TEMPLATE,
    parameters: Mapping[str, str] | None = None,
    physical_ids: PhysicalIds | None = None,
) -> dict[str, BuiltFunction]:
    """Every function of a built template, by logical ID.

    `parameters` override the template's defaults. A Ref or Fn::GetAtt of a resource that
    `physical_ids` does not know becomes a readable placeholder (the logical ID or an ARN made of
    it).

    Raises NotBuiltError when `sam build` has not run, and ValueError for a parameter that the
    template does not have.
    """
    # The SAM CLI takes two seconds to import, which tests of the runtime alone need not wait for.
    from samcli.lib.providers.sam_function_provider import SamFunctionProvider  # type: ignore[import-untyped]
    from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider  # type: ignore[import-untyped]

    # CloudFormation passes every parameter as text; the SAM CLI leaves a Ref to 0.2 unresolved.
    declared = _read_template(template).get("Parameters", {})
    if unknown := (parameters or {}).keys() - declared.keys():
        raise ValueError(f"the template has no parameter {', '.join(unknown)}")
    defaults = {name: str(p["Default"]) for name, p in declared.items() if "Default" in p}
    values = {**defaults, **(parameters or {}), **(physical_ids or {})}
    stacks, _ = SamLocalStackProvider.get_stacks(str(template), parameter_overrides=values)
    provider = SamFunctionProvider(stacks, ignore_code_extraction_warnings=True)
    return {
        function.name: BuiltFunction(
            name=function.name,
            handler=function.handler,
            code=Path(function.codeuri),
            layers=tuple(Path(layer.codeuri) for layer in function.layers),
            timeout=float(function.timeout or 3),
            memory=int(function.memory or 128),
            variables=_as_text((function.environment or {}).get("Variables", {})),
        )
        for function in provider.get_all()
    }


def read_resources(template: Path = BUILT_TEMPLATE) -> dict[str, dict[str, Any]]:
    """The resources of a built template as they stand there, by logical ID."""
    return dict(_read_template(template)["Resources"])


def _read_template(template: Path) -> dict[str, Any]:
    from samcli.yamlhelper import yaml_parse  # type: ignore[import-untyped]

    if not template.is_file():
        raise NotBuiltError(f"{template} does not exist: run `sam build` first")
    return dict(yaml_parse(template.read_text()))


def _as_text(variables: Mapping[str, Any]) -> dict[str, str]:
    """Environment variables are text; what could not be resolved is shown as it stands."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in variables.items()}
