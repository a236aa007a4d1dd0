"""Links to CloudWatch Logs Insights: what a message about a failure points to."""

from __future__ import annotations

import re
from collections.abc import Sequence

# The parameter of a saved query, in the console's own notation.
_CORRELATION_ID = "{{correlation_id}}"
# A correlation id stands in a query, so it may hold nothing that ends a text there.
_PLAIN = re.compile(r"[\w.-]{1,128}", flags=re.ASCII)


def link(query: str, log_groups: Sequence[str], *, region: str, seconds: float) -> str:
    """Return the address of the console's page that has run a query.

    The page's address has an encoding of its own, which AWS does not document; this one is what the console writes.

    Args:
        query: In the language of CloudWatch Logs Insights.
        log_groups: Where to search.
        region: The Region of the log groups.
        seconds: How far to look back, more than 0.
    """
    sources = "".join(f"~'{_escape(group)}" for group in log_groups)
    detail = (
        f"~(end~0~start~-{seconds:.0f}~timeType~'RELATIVE~unit~'seconds"
        f"~editorString~'{_escape(query)}~source~({sources}))"
    )
    encoded = re.sub(r"[~'()*]", lambda found: f"$25{ord(found.group()):02X}", detail)
    return (
        f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
        f"#logsV2:logs-insights$3FqueryDetail$3D{encoded}"
    )


def story_link(
    correlation_id: str, query: str, log_groups: Sequence[str], *, region: str, seconds: float
) -> str | None:
    """Return the address of an order's story in all log groups; None for an id that is no plain text.

    Args:
        correlation_id: The order's.
        query: A saved query with the parameter ``{{correlation_id}}``.
        log_groups: Where to search.
        region: The Region of the log groups.
        seconds: How far to look back, more than 0.
    """
    if not _PLAIN.fullmatch(correlation_id):
        return None
    return link(query.replace(_CORRELATION_ID, correlation_id), log_groups, region=region, seconds=seconds)


def _escape(text: str) -> str:
    """Write a text as the console's address does: what is not a letter, digit, - or _ as * and its code."""
    return re.sub(r"[^\w.-]", lambda found: f"*{ord(found.group()):02x}", text, flags=re.ASCII)
