"""The translated template, as the invariants see it; the code is in ``local.translated``, which the twin reads too."""

from local.translated import (
    REGION,
    ROOT,
    Source,
    Stack,
    as_list,
    deploy,
    logical_id,
    references,
    template_yaml,
)

__all__ = ["REGION", "ROOT", "Source", "Stack", "as_list", "deploy", "logical_id", "references", "template_yaml"]
