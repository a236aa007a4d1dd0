"""Settings: read once, typed, and an error that names every variable to set."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.settings import SettingsError, load


@dataclass(frozen=True)
class Settings:
    courier_url: str
    maximum_concurrency: int
    courier_timeout: float
    honours_key: bool
    note: str = "nothing to add"


GOOD = {
    "COURIER_URL": "https://courier.example/deliveries",
    "MAXIMUM_CONCURRENCY": "3",
    "COURIER_TIMEOUT": "2.5",
    "HONOURS_KEY": "true",
}


def test_each_variable_becomes_a_field_of_its_type() -> None:
    assert load(Settings, GOOD) == Settings("https://courier.example/deliveries", 3, 2.5, True)


def test_an_optional_variable_that_is_set_replaces_the_default() -> None:
    assert load(Settings, {**GOOD, "NOTE": "ring twice"}).note == "ring twice"


def test_an_empty_optional_variable_leaves_the_default() -> None:
    assert load(Settings, {**GOOD, "NOTE": ""}).note == "nothing to add", "CloudFormation cannot leave a variable out"


def test_spaces_around_a_value_do_not_count() -> None:
    assert load(Settings, {**GOOD, "MAXIMUM_CONCURRENCY": " 3 "}).maximum_concurrency == 3


@pytest.mark.parametrize("value", ["", "   "])
def test_an_empty_required_variable_counts_as_missing(value: str) -> None:
    with pytest.raises(SettingsError, match="COURIER_URL is not set"):
        load(Settings, {**GOOD, "COURIER_URL": value})


def test_all_missing_variables_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        load(Settings, {})
    for name in GOOD:
        assert f"{name} is not set" in str(raised.value), "one deployment has to be enough to learn of all of them"
    assert "NOTE" not in str(raised.value), "an optional variable is nothing to complain of"


def test_missing_and_malformed_variables_are_named_together() -> None:
    with pytest.raises(SettingsError) as raised:
        load(Settings, {"MAXIMUM_CONCURRENCY": "many", "COURIER_TIMEOUT": "soon", "HONOURS_KEY": "perhaps"})
    message = str(raised.value)
    assert "COURIER_URL is not set" in message
    assert "MAXIMUM_CONCURRENCY='many' must be a whole number" in message
    assert "COURIER_TIMEOUT='soon' must be a number" in message
    assert "HONOURS_KEY='perhaps' must be true or false" in message
    assert "template.yaml" in message, "an error says what to do next"


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True", True), ("TRUE", True), ("false", False), ("False", False)]
)
def test_a_boolean_is_true_or_false_in_any_case(text: str, value: bool) -> None:
    assert load(Settings, {**GOOD, "HONOURS_KEY": text}).honours_key is value


@pytest.mark.parametrize("text", ["1", "0", "yes", "on"])
def test_nothing_else_is_a_boolean(text: str) -> None:
    with pytest.raises(SettingsError, match="HONOURS_KEY"):
        load(Settings, {**GOOD, "HONOURS_KEY": text})


def test_a_whole_number_has_no_fraction() -> None:
    with pytest.raises(SettingsError, match="MAXIMUM_CONCURRENCY"):
        load(Settings, {**GOOD, "MAXIMUM_CONCURRENCY": "3.5"})


@given(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_what_is_written_is_what_is_read(whole: int, number: float, flag: bool) -> None:
    environment = {**GOOD, "MAXIMUM_CONCURRENCY": str(whole), "COURIER_TIMEOUT": repr(number), "HONOURS_KEY": str(flag)}
    settings = load(Settings, environment)
    assert (settings.maximum_concurrency, settings.courier_timeout, settings.honours_key) == (whole, number, flag)


def test_the_process_environment_is_read_when_no_other_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert load(Settings) == load(Settings, GOOD)
