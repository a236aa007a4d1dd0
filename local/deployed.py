"""A deployed stack as the commands find it, in the account, Region and endpoint that boto3 finds in its environment."""

from __future__ import annotations

import boto3
from botocore.exceptions import BotoCoreError, ClientError


class StackNotFoundError(RuntimeError):
    """There is no such stack, or it lacks what is asked of it; the message says what to do."""


def stack_outputs(
    name: str, *needed: str, otherwise: str = "deploy this version of the template first"
) -> dict[str, str]:
    """Read the outputs of a stack.

    Args:
        name: Name of the CloudFormation stack.
        needed: Outputs that it must have.
        otherwise: What is said of a stack that lacks one of them.

    Raises:
        StackNotFoundError: There is no such stack, it lacks an output, or AWS cannot be asked.
    """
    try:
        [described] = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except (ClientError, BotoCoreError) as error:
        raise StackNotFoundError(
            f"cannot read stack {name}: {str(error).rstrip('.')}. Deploy it first (`make deploy`, or `make up` for "
            "this machine) or name another one (after `make up`, STACK=hub-flow-control), check your credentials and "
            "Region, and set AWS_ENDPOINT_URL if it is not on AWS."
        ) from None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
    if missing := [output for output in needed if output not in outputs]:
        raise StackNotFoundError(f"stack {name} has no output {', '.join(missing)}: {otherwise}")
    return outputs
