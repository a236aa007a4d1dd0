"""Redaction: no private value survives, wherever it hides; everything else does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hub.redaction import REDACTED, fingerprint, redact, redact_text
from tests.unit.orders import PRIVATE, a_queue_event, an_envelope, an_order, compact, json_values, texts

PRIVATE_FIELDS = [
    *["customer", "delivery_address", "name", "email", "phone", "line1", "line2", "postal_code", "city"],
    *["x-api-key", "X-Api-Key", "apiKey", "api_key", "Authorization", "Cookie", "password", "secret", "token"],
    *["sourceIp", "X-Forwarded-For"],
]
SECRET = "Zebulon-Quackenbush"

private_documents = st.fixed_dictionaries({}, optional={name: st.just(SECRET) for name in PRIVATE_FIELDS}).filter(bool)


def _wrap(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Put something one level deeper: into an object, an array, or JSON inside a string."""
    in_object = st.tuples(texts, json_values, texts, children).map(
        lambda parts: {parts[0]: parts[1], parts[2]: parts[3]}
    )
    in_array = st.tuples(st.lists(json_values, max_size=2), children).map(lambda parts: [*parts[0], parts[1]])
    containers = in_object | in_array
    in_string = containers.map(json.dumps).map(lambda text: {"detail": text})
    in_body = containers.map(lambda value: {"body": json.dumps(value, indent=1)})
    return containers | in_string | in_body


hidden = st.recursive(private_documents, _wrap, max_leaves=5)


@given(hidden)
def test_no_private_value_survives_at_any_depth(document: Any) -> None:
    assert SECRET not in json.dumps(redact(document)), "redaction goes by the field's name, however deep it lies"


@given(hidden)
def test_no_private_value_survives_in_json_text(document: Any) -> None:
    assert SECRET not in redact_text(json.dumps({"Records": document}))


@given(hidden)
def test_redacting_twice_changes_nothing(document: Any) -> None:
    assert redact(redact(document)) == redact(document)


@pytest.mark.parametrize("field", PRIVATE_FIELDS)
def test_a_field_is_private_in_every_spelling(field: str) -> None:
    assert redact({field: SECRET}) == {field: REDACTED}


@pytest.mark.parametrize("value", [["a", SECRET], {"first": SECRET}, 1234567, None])
def test_a_private_field_is_redacted_whatever_it_holds(value: Any) -> None:
    assert redact({"customer": value}) == {"customer": REDACTED}


def test_an_order_in_an_event_in_a_queue_message_is_redacted() -> None:
    shown = json.dumps(redact(a_queue_event(compact(an_envelope()))))
    for name, value in PRIVATE.items():
        assert value not in shown, f"the customer's {name} is in the body's detail's data"
    assert "ord-1" in shown, "without the order id nobody could tell which order was hurt"
    assert "WIDGET-BLUE-M" in shown, "what was sold is nobody's secret"


@given(texts.filter(lambda text: text.lstrip()[:1] not in ("{", "[")))
def test_a_payload_that_cannot_be_read_is_never_shown(text: str) -> None:
    assert redact({"body": text}) == {"body": fingerprint(text)}, "nobody knows what is in it"


def test_broken_json_in_a_payload_is_never_shown() -> None:
    broken = json.dumps(an_order())[:-1]
    shown = json.dumps(redact({"Records": [{"body": broken}]}))
    assert all(value not in shown for value in PRIVATE.values())
    assert f"{len(broken)} bytes" in shown


def test_json_that_is_a_text_holding_json_is_redacted() -> None:
    """As a payload that was encoded once too often."""
    shown = redact_text(json.dumps(json.dumps(an_order())))
    assert PRIVATE["name"] not in shown, "a JSON string is JSON too"


def test_json_cut_short_is_never_shown() -> None:
    """As the start of an answer in which the courier repeats the order."""
    shown = redact_text(json.dumps({"message": "not deliverable", "order": an_order()})[:250])
    assert PRIVATE["name"] not in shown, "half of a JSON text cannot be redacted by field, so it must not be shown"


def test_equal_payloads_have_equal_fingerprints_and_others_do_not() -> None:
    assert fingerprint("an order") == fingerprint("an order") != fingerprint("another order")


def test_a_fingerprint_counts_bytes_not_characters() -> None:
    assert fingerprint("🎁").startswith("[4 bytes,")


def test_half_a_surrogate_pair_has_a_fingerprint() -> None:
    assert fingerprint("\ud83d").startswith("[3 bytes,"), "JSON can escape it, so a message can hold it"


@example("o'brien!@mail.example.com", "{}")
@given(st.emails(), st.sampled_from(["{}", "write to {}", "({}),", "a {} b {}"]))
def test_an_email_address_in_free_text_is_redacted(address: str, text: str) -> None:
    domain = address.rpartition("@")[2]
    assert f"@{domain}" not in redact_text(text.replace("{}", address))


def test_an_ordinary_email_address_disappears_entirely() -> None:
    assert redact_text("no mailbox anna.lindqvist+orders@mail.example.com.") == f"no mailbox {REDACTED}"


def test_text_without_secrets_stays_as_it_is() -> None:
    assert redact_text("HTTP 422: not deliverable [really]") == "HTTP 422: not deliverable [really]"
    assert redact_text("[not JSON") == "[not JSON"


@pytest.mark.parametrize("value", [1, 2.5, True, None, "plain"])
def test_scalars_stay_as_they_are(value: Any) -> None:
    assert redact(value) == value


def test_the_original_stays_untouched() -> None:
    order = an_order()
    redact(order)
    assert order == an_order()


def test_tuples_and_sets_become_lists_so_that_json_can_hold_them() -> None:
    assert redact({"statuses": ("START", "COMPLETED")}) == {"statuses": ["START", "COMPLETED"]}
    assert redact({"missing": {"order_id"}}) == {"missing": ["order_id"]}
