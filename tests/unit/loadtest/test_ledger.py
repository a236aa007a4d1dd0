from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from loadtest.ledger import SentOrder, read_records, settle

IDS = [f"ord-{n}" for n in range(8)]
SUBSETS = st.sets(st.sampled_from(IDS))


def sent(order_id: str, status: int | None = 202) -> SentOrder:
    return SentOrder(order_id, sent_at=0.0, status=status, correlation_id=f"c-{order_id}")


def test_every_fate() -> None:
    ledger = settle(
        [
            sent("delivered"),
            sent("dead"),
            sent("waiting"),
            sent("gone"),
            sent("refused", 429),
            sent("unanswered", None),
        ],
        {"delivered": 2, "unanswered": 1},
        ["dead"],
        spent=["gone"],
        waiting=2,
    )
    assert ledger.delivered == {"delivered"}
    assert ledger.dead == {"dead"}
    assert ledger.in_flight == {"waiting"}
    assert ledger.lost == {"gone"}
    assert ledger.duplicates == 1
    assert ledger.unexpected == {"unanswered"}


def test_an_order_at_the_courier_and_among_the_dead_letters_is_delivered() -> None:
    ledger = settle([sent("both")], {"both": 1}, ["both"])
    assert (ledger.delivered, ledger.dead) == ({"both"}, frozenset())


def test_an_order_that_was_called_for_without_effect_is_not_delivered() -> None:
    assert settle([sent("called")], {"called": 0}, []).lost == {"called"}


@given(SUBSETS, SUBSETS, SUBSETS, SUBSETS, st.integers(-1, 10))
def test_fates_are_disjoint_and_complete(
    accepted: set[str], courier: set[str], dead: set[str], spent: set[str], waiting: int
) -> None:
    orders = [sent(order_id, 202 if order_id in accepted else 500) for order_id in IDS]
    ledger = settle(orders, dict.fromkeys(courier, 1), dead, spent=spent, waiting=waiting)
    fates = [ledger.delivered, ledger.dead, ledger.in_flight, ledger.lost]
    assert sum(map(len, fates)) == len(accepted)
    assert frozenset().union(*fates) == accepted
    assert not ledger.in_flight & spent
    assert ledger.unexpected == courier - accepted


def test_a_record_that_is_still_being_written_is_left_out() -> None:
    whole = json.dumps({"order_id": "ord-1", "sent_at": 1.5, "answered_at": 1.6, "status": 202, "correlation_id": "c"})
    assert read_records([whole, whole[:30]]) == [SentOrder("ord-1", 1.5, 202, "c")]
