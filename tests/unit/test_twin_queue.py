from __future__ import annotations

import pytest

from loadtest.twin.clock import Clock
from loadtest.twin.constants import Platform
from loadtest.twin.queue import Message, Queue
from loadtest.twin.settings import QueueSettings

VISIBILITY, RETENTION, RECEIVES = 30.0, 100.0, 3


class Books:
    def __init__(self) -> None:
        self.dead: list[int] = []
        self.expired: list[int] = []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def queue(clock: Clock, books: Books) -> Queue:
    settings = QueueSettings("Queue", VISIBILITY, RETENTION, RECEIVES)
    return Queue(clock, settings, Platform(), dead_letter=books.dead.append, expire=books.expired.append)


def orders(messages: list[Message]) -> list[int]:
    return [message.order for message in messages]


def test_a_received_message_is_out_of_sight_until_its_visibility_timeout(clock: Clock, queue: Queue) -> None:
    queue.send(1)
    batch = queue.receive(10)
    assert orders(batch) == [1]
    assert queue.receive(10) == []
    queue.abandon(batch)
    clock.run(until=VISIBILITY - 0.1)
    assert (queue.visible, queue.size) == (0, 1)
    clock.run(until=VISIBILITY + 0.1)
    [message] = queue.receive(10)
    assert message.receives == 2


def test_a_hidden_message_comes_back_when_its_backoff_is_over(clock: Clock, queue: Queue) -> None:
    queue.send(1)
    queue.hide(queue.receive(1)[0], 7.0)
    clock.run(until=6.9)
    assert not queue.visible
    clock.run(until=7.1)
    assert queue.visible == 1


def test_what_was_sent_first_comes_first_though_it_was_received_before(clock: Clock, queue: Queue) -> None:
    queue.send(1)
    clock.run(until=1)
    queue.send(2)
    queue.hide(queue.receive(1)[0], 0.0)
    assert orders(queue.receive(10)) == [1, 2]


def test_a_deleted_message_is_gone(queue: Queue) -> None:
    queue.send(1)
    queue.receive(1)
    queue.delete(1)
    assert queue.size == 0


def test_the_redrive_policy_moves_a_message_away_when_it_would_be_received_too_often(
    clock: Clock, queue: Queue, books: Books
) -> None:
    queue.send(1)
    for _ in range(RECEIVES):
        queue.abandon(queue.receive(1))
        clock.run(until=clock.now + VISIBILITY + 1)
    assert queue.receive(1) == []
    assert books.dead == [1]
    assert queue.size == 0


def test_the_retention_period_deletes_a_message_in_silence(clock: Clock, queue: Queue, books: Books) -> None:
    queue.send(1)
    clock.run(until=RETENTION)
    queue.send(2)
    assert orders(queue.receive(10)) == [2]
    assert (books.expired, books.dead) == ([1], [])


def test_expired_messages_are_found_without_a_receive_and_the_others_stay(
    clock: Clock, queue: Queue, books: Books
) -> None:
    queue.send(1)
    clock.run(until=RETENTION)
    queue.send(2)
    queue.expire_all()
    assert books.expired == [1]
    assert orders(queue.receive(10)) == [2]


def test_a_fresh_copy_has_no_receives_and_a_new_age(clock: Clock, queue: Queue) -> None:
    queue.send(1)
    clock.run(until=50)
    queue.renew(queue.receive(1)[0])
    [message] = queue.receive(1)
    assert (message.order, message.receives, message.sent) == (1, 1, 50.0)
    assert queue.size == 1


def test_nothing_more_is_received_at_the_in_flight_limit(clock: Clock, books: Books) -> None:
    settings = QueueSettings("Queue", VISIBILITY, RETENTION, None)
    queue = Queue(
        clock, settings, Platform(in_flight_limit=2), dead_letter=books.dead.append, expire=books.expired.append
    )
    for order in range(5):
        queue.send(order)
    assert orders(queue.receive(10)) == [0, 1]
    assert queue.receive(10) == []


def test_whoever_waits_for_messages_is_told_of_each(queue: Queue) -> None:
    told: list[int] = []
    queue.tell(lambda: told.append(queue.visible))
    queue.send(1)
    queue.send(2)
    assert told == [1, 2]
