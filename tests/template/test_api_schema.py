"""The API checks orders by the rules that the consumers rely on."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from tests.template.translated import ROOT, template_yaml

SCHEMA = ROOT / "layers/hub/hub/schemas/order.json"


def api_schema() -> dict[str, Any]:
    body = template_yaml().document["Resources"]["OrdersApi"]["Properties"]["DefinitionBody"]
    schema: dict[str, Any] = body["components"]["schemas"]["Order"]
    return schema


def test_api_and_layer_have_the_same_schema() -> None:
    """Stricter at the API, and good orders are refused; stricter in the layer, and accepted ones are dead letters."""
    layer = json.loads(SCHEMA.read_text())
    assert api_schema() == {key: value for key, value in layer.items() if key not in ("$schema", "title")}


def test_api_schema_is_draft_4() -> None:
    """API Gateway's models are JSON Schema draft 4 (API Gateway developer guide, "Data models for REST APIs").

    Keywords of later drafts are ignored, so what they forbid would pass.
    """
    jsonschema.Draft4Validator.check_schema(api_schema())
    later = re.findall(
        r'"(const|contains|propertyNames|examples|if|then|else|exclusiveM\w+)":', json.dumps(api_schema())
    )
    assert not later, "draft 4 does not know these keywords"


@pytest.mark.parametrize("field", api_schema()["required"])
def test_api_refuses_an_order_without(field: str) -> None:
    assert field in api_schema()["properties"], "required, and not described"
