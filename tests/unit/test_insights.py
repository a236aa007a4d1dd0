"""hub.insights: links that the console understands, and that a correlation id cannot break."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from hub.insights import story_link
from tests.unit.orders import CORRELATION_ID

QUERY = 'fields @timestamp\n| filter correlation_id = "{{correlation_id}}"'


def test_the_story_of_an_order_is_searched_in_all_log_groups() -> None:
    link = story_link(CORRELATION_ID, QUERY, ["/aws/lambda/a", "b"], region="eu-west-1", seconds=7200)
    assert link is not None
    address, _, encoded = link.partition("$3FqueryDetail$3D")
    assert address == ("https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#logsV2:logs-insights")
    detail = unquote(unquote(encoded.replace("$", "%")))
    assert "~start~-7200~" in detail
    assert "~source~(~'*2faws*2flambda*2fa~'b)" in detail
    query = detail.partition("~editorString~'")[2].partition("~source")[0]
    assert unquote(query.replace("*", "%")) == f'fields @timestamp\n| filter correlation_id = "{CORRELATION_ID}"'


@pytest.mark.parametrize("correlation_id", ["", 'x" | filter 1=1', "a b", "x" * 200, "ü"])
def test_no_link_for_what_is_no_plain_text(correlation_id: str) -> None:
    assert story_link(correlation_id, QUERY, ["a"], region="eu-west-1", seconds=60) is None
