"""What people are told of dead letters: one in full, many by their reasons with a few samples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from hub.dead_letters import Home, Letter
from hub.insights import story_link

# A message may have 256 KB ("Publish", SNS API reference). With these it has less, whatever the letters hold.
SAMPLES = 3
CAUSES = 10
EVENT_CHARACTERS = 6000
CAUSE_CHARACTERS = 1000

_HOUR = 3600.0


@dataclass(frozen=True)
class Reader:
    """Where those who are told find the rest.

    Args:
        region: The Region of the stack.
        stack: The stack's name.
        redrive_command: The command that starts the machine that sends letters again, without its input.
        story_query: The query that tells the story of an order.
        log_groups: The log groups that it searches.
    """

    region: str
    stack: str
    redrive_command: str
    story_query: str
    log_groups: Sequence[str]

    def story(self, letter: Letter, now: datetime) -> str | None:
        """Return a link to all log lines of a letter's order."""
        begun = letter.first_at or letter.sent_at
        seconds = max(0.0, (now - begun).total_seconds()) + _HOUR
        if letter.correlation_id is None:
            return None
        return story_link(letter.correlation_id, self.story_query, self.log_groups, region=self.region, seconds=seconds)


def compose(
    home: Home, letters: Sequence[Letter], *, total: int, complete: bool, reader: Reader, now: datetime
) -> tuple[str, str]:
    """Return subject and text of a message.

    Args:
        home: The queue.
        letters: What is new in it, 1 or more.
        total: About how many letters the queue holds.
        complete: Whether all of them were looked at.
        reader: Where those who are told find the rest.
        now: The present.
    """
    headline = f"{len(letters):,} new dead letter{'s' if len(letters) > 1 else ''} in {home.name}"
    seen = "" if complete else ", and not all of them were looked at"
    lines = [f"{headline}; the queue holds about {max(total, len(letters)):,}{seen}.", ""]
    if len(letters) > 1:
        lines += [*_causes(letters), ""]
    for number, letter in enumerate(_samples(letters), start=1):
        lines += [f"Sample {number}"] if len(letters) > 1 else []
        lines += [*_facts(letter, reader.story(letter, now)), ""]
    lines += _advice(home, letters, reader)
    return headline, "\n".join(lines)


def _causes(letters: Sequence[Letter]) -> Iterator[str]:
    counts = Counter(letter.cause for letter in letters)
    for cause, count in counts.most_common(CAUSES):
        yield f"{count:>6,}  {_cut(cause, CAUSE_CHARACTERS)}"
    if rest := sum(count for _, count in counts.most_common()[CAUSES:]):
        yield f"{rest:>6,}  for {len(counts) - CAUSES:,} other reasons"


def _samples(letters: Sequence[Letter]) -> list[Letter]:
    """Choose a letter for each of the most frequent causes."""
    by_cause = {letter.cause: letter for letter in reversed(letters)}
    frequent = Counter(letter.cause for letter in letters).most_common(SAMPLES)
    return [by_cause[cause] for cause, _ in frequent]


def _facts(letter: Letter, story: str | None) -> Iterator[str]:
    yield f"Reason: {_cut(letter.cause, CAUSE_CHARACTERS)}"
    if letter.answer:
        yield f"Answer: {_cut(letter.answer, CAUSE_CHARACTERS)}"
    yield f"Correlation id: {_cut(letter.correlation_id or 'unknown', 200)}"
    yield f"Order: {_cut(letter.order_id or 'unknown', 200)}"
    first, died = (
        f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else None for moment in (letter.first_at, letter.died_at)
    )
    yield f"Tried: {_times(letter.tries)}, first {first or 'unknown'}, given up {died or 'at a time not recorded'}"
    if letter.target:
        yield f"Target: {_cut(letter.target, 200)}"
    if letter.redriven:
        again = letter.redriven
        yield f"Sent again before: {_times(again.times)}, last {_cut(again.at, 40)} by {_cut(again.by, 100)}"
    if story:
        yield f"Story: {story}"
    yield f"Event: {_cut(letter.shown, EVENT_CHARACTERS)}"


def _advice(home: Home, letters: Sequence[Letter], reader: Reader) -> Iterator[str]:
    if not home.source:
        yield f"How to put it right: {home.way(reader.stack)}"
        return
    if any(letter.refused_for_good for letter in letters):
        yield "What was refused for good is refused again, unless what was wrong has been corrected."
    yield f"Send again: {home.way(reader.stack)}"
    yield f"or: {reader.redrive_command} --input '{json.dumps({'queue': home.name})}'"
    yield "What else can be done: docs/dead-letters.md"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


def _cut(text: str, characters: int) -> str:
    more = len(text) - characters
    return text if more <= 0 else f"{text[:characters]} … and {more:,} more characters"
