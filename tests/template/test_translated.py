"""The resolver that the invariants rely on tells the truth."""

from __future__ import annotations

from typing import Any

import pytest

from tests.template.invariants.form import unmatched_substitutions
from tests.template.translated import Source, deploy, logical_id, references

TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Parameters:
  Kind: { Type: String, Default: small }
  Delay: { Type: Number, Default: 5 }
Mappings:
  Seconds:
    Retention: { small: 60, large: 3600 }
Conditions:
  Small: !Equals [!Ref Kind, small]
  Large: !Not [!Condition Small]
  Never: !And [!Condition Small, !Condition Large]
  Always: !Or [!Condition Small, !Condition Large]
Rules:
  LargeIsSlow:
    RuleCondition: !Equals [!Ref Kind, large]
    Assertions:
      - { Assert: !Not [!Equals [!Ref Delay, 5]], AssertDescription: Large needs another Delay. }
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      DelaySeconds: !Ref Delay
      MessageRetentionPeriod: !FindInMap [Seconds, Retention, !Ref Kind]
      VisibilityTimeout: !If [Small, !Ref AWS::NoValue, 7]
      Tags: [!If [Large, { Key: large, Value: "yes" }, !Ref AWS::NoValue]]
  Other:
    Type: AWS::SQS::Queue
    Condition: Large
  Nothing:
    Type: AWS::SQS::Queue
    Condition: Never
  Function:
    Type: AWS::Serverless::Function
    Condition: Always
    Properties: { CodeUri: functions/x, Handler: app.handler, Runtime: python3.13, Role: "arn:aws:iam::1:role/r" }
Outputs:
  Other: { Condition: Large, Value: !Ref Other }
"""


@pytest.mark.parametrize(
    ("values", "names", "queue"),
    [
        ({}, {"Queue", "Function"}, {"DelaySeconds": 5, "MessageRetentionPeriod": 60, "Tags": []}),
        (
            {"Kind": "large", "Delay": 9},
            {"Queue", "Function", "Other"},
            {
                "DelaySeconds": 9,
                "MessageRetentionPeriod": 3600,
                "VisibilityTimeout": 7,
                "Tags": [{"Key": "large", "Value": "yes"}],
            },
        ),
    ],
    ids=["defaults", "large"],
)
def test_parameters_mappings_and_conditions_are_worked_out(
    values: dict[str, Any], names: set[str], queue: dict[str, Any]
) -> None:
    stack = deploy(Source.of(TEMPLATE), values)
    assert set(stack.resources) == names
    assert stack.properties("Queue") == queue
    assert set(stack.template["Outputs"]) == names & {"Other"}


def test_sam_translates() -> None:
    assert deploy(Source.of(TEMPLATE)).type_of("Function") == "AWS::Lambda::Function"


def test_rules_are_evaluated() -> None:
    source = Source.of(TEMPLATE)
    assert deploy(source).failed_assertions() == []
    assert deploy(source, {"Kind": "large"}).failed_assertions() == ["Large needs another Delay."]
    assert deploy(source, {"Kind": "large", "Delay": 6}).failed_assertions() == []


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"Ref": "A"}, {"A"}),
        ({"Fn::GetAtt": ["A", "Arn"]}, {"A"}),
        ({"Fn::GetAtt": "A.Arn"}, {"A"}),
        ({"Fn::Sub": "${A}/${B.Arn}/${!C}/${AWS::Region}"}, {"A", "B", "AWS::Region"}),
        ({"Fn::Sub": ["${A}-${x}", {"x": {"Ref": "B"}}]}, {"A", "B"}),
        ({"Fn::Join": ["", ["a", {"Ref": "A"}]]}, {"A"}),
        ([{"deep": {"Ref": "A"}}, "B", 3], {"A"}),
    ],
)
def test_references_are_found_at_any_depth(value: Any, found: set[str]) -> None:
    assert references(value) == found


def test_logical_id_is_of_a_reference_only() -> None:
    assert logical_id({"Fn::GetAtt": ["A", "Arn"]}) == "A"
    assert logical_id("A") is None
    assert logical_id({"Fn::Sub": "${A}"}) is None


def test_substitutions_of_state_machines_are_compared() -> None:
    definition = "StartAt: ${First}\nStates: { ${First}: { Resource: ${FunctionArn} } }"
    assert not list(unmatched_substitutions(definition, {"First": "a", "FunctionArn": "b"}))
    assert list(unmatched_substitutions(definition, {"First": "a", "FunctionArm": "b"})) == [
        "uses ${FunctionArn}, for which DefinitionSubstitutions has nothing",
        "has the substitution FunctionArm, which its definition does not use",
    ]
