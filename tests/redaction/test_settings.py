"""A redactor of one's own: what can be set, what is refused, and that it is a value."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
import threading

import pytest

from creatormate_resilience.redaction import REDACTED, TRUNCATED, Redactor, redact_text

ORDER = re.compile(r"\bORD-[0-9]{6}\b")


def test_emails_may_stay():
    """Where an address is what the log is about; logins in URLs go all the same."""
    redactor = Redactor(emails=False)
    assert redactor.redact("jane@example.com") == "jane@example.com"
    assert redactor.redact("smtp://u:hunter2@example.com") == f"smtp://{REDACTED}@example.com"
    assert Redactor().redact("jane@example.com") == REDACTED


@pytest.mark.parametrize("key", ["iban", "IBAN", "customer_iban", "customerIban", "X-Iban", "iban_2"])
def test_own_keys_are_secret_in_fields_and_in_text(key):
    """By their words, as the known ones."""
    redactor = Redactor(keys=("iban",))
    assert redactor.redact({key: "DE89"}) == {key: REDACTED}
    assert redactor.redact(f"{key}=DE89 x") == f"{key}={REDACTED} x"
    assert redactor.redact({"password": "x"}) == {"password": REDACTED}


@pytest.mark.parametrize(
    ("own", "key"), [("tax_id", "customerTaxId"), ("tax id", "tax-id"), ("taxId", "TAX_ID"), ("größe", "größe")]
)
def test_own_keys_of_several_words_may_be_spelled_in_any_way(own, key):
    """What is given and what is found need not look alike."""
    redactor = Redactor(keys=(own,))
    assert redactor.redact({key: "x", "id": 1, "tax": 2}) == {key: REDACTED, "id": 1, "tax": 2}
    assert redactor.redact(f"{key}: x7") == f"{key}: {REDACTED}"


def test_own_keys_are_not_found_inside_other_words():
    """`iban` is not in `caliban`."""
    redactor = Redactor(keys=("iban",))
    assert redactor.redact({"caliban": "x", "ibanez": "y"}) == {"caliban": "x", "ibanez": "y"}
    assert redactor.redact("caliban=x ibanez=y") == "caliban=x ibanez=y"


def test_own_patterns_are_replaced_in_every_text():
    """In values and keys, short and long; what is marked stays as it is."""
    redactor = Redactor(patterns=(ORDER, re.compile("RED"), re.compile("x*")))
    value = {"a": "ORD-123456", "ORD-123456": ["see ORD-123456 RED", "xx"]}
    shown = {"a": REDACTED, REDACTED: [f"see {REDACTED} {REDACTED}", REDACTED]}
    assert redactor.redact(value) == shown
    assert redactor.redact(shown) == shown


def test_a_pattern_that_never_comes_to_rest_leaves_nothing_of_the_text():
    """It finds something new behind every mark it makes."""
    redactor = Redactor(patterns=(re.compile(r"^."),))
    shown = redactor.redact("abcdefghijkl")
    assert "l" not in shown
    assert redactor.redact(shown) == shown


@pytest.mark.parametrize("name", ["max_depth", "max_nodes", "max_items", "max_text"])
def test_budgets_are_positive_whole_numbers(name):
    """Anything else is refused by name."""
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"{name} is {wrong}"):
            Redactor(**{name: wrong})
    for wrong in (1.5, "9", None, True):
        with pytest.raises(TypeError, match=f"{name} is {type(wrong).__name__}"):
            Redactor(**{name: wrong})


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"keys": "iban"}, TypeError, "keys is str"),
        ({"keys": 5}, TypeError, "keys is int"),
        ({"keys": (b"iban",)}, TypeError, "keys holds bytes"),
        ({"keys": ("",)}, ValueError, "keys holds ''"),
        ({"keys": ("a", "--")}, ValueError, "keys holds '--'"),
        ({"patterns": "x"}, TypeError, "patterns is str"),
        ({"patterns": ("x",)}, TypeError, "patterns holds str"),
        ({"patterns": (re.compile(b"x"),)}, TypeError, "patterns holds b'x'"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings, error, told):
    """At construction, not at the first secret."""
    with pytest.raises(error, match=told):
        Redactor(**settings)


@pytest.mark.parametrize("limit", [0, -1])
def test_the_limit_of_a_text_is_positive(limit):
    """A negative one would cut from the end."""
    with pytest.raises(ValueError, match="max_text"):
        redact_text("a", limit)


def test_a_redactor_is_a_value():
    """It compares, hashes, copies, pickles and prints by its settings alone, used before or not."""
    redactor = Redactor(keys=["iban"], patterns=[ORDER], max_items=5)
    redactor.redact({"iban": "ORD-123456"})
    for same in (pickle.loads(pickle.dumps(redactor)), copy.deepcopy(redactor), dataclasses.replace(redactor)):
        assert same == redactor
        assert hash(same) == hash(redactor)
        assert same.redact({"iban": "x"}) == {"iban": REDACTED}
    assert dataclasses.asdict(redactor)["keys"] == ("iban",)
    assert "iban" in repr(redactor)
    assert dataclasses.replace(redactor, keys=()).redact({"iban": "x"}) == {"iban": "x"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        redactor.max_items = 1  # type: ignore[misc]


def test_without_secrets_numbers_and_names_stay():
    """`secrets=False` flattens and cuts, nothing else."""
    redactor = Redactor(secrets=False, max_text=5)
    assert redactor.redact({"token": 4111111111111111, "pw": "a=b@c.de"}) == {
        "token": 4111111111111111,
        "pw": f"a=b@c{TRUNCATED}",
    }


def test_names_are_remembered_within_a_bound():
    """Keys may come from strangers: what is kept of them is bounded, and long ones are not kept."""
    redactor = Redactor(max_nodes=100_000)
    for start in range(0, 20_000, 1000):
        redactor.redact({f"name{start + n}": 1 for n in range(1000)})
    redactor.redact({"x" * 1000: 1})
    remembered = redactor._names
    assert 0 < len(remembered) <= 4096
    assert max(map(len, remembered)) <= 128


def test_threads_share_a_redactor():
    """What it remembers is of use to all and hurts none."""
    redactor, wrong = Redactor(), []

    def work(own: int) -> None:
        for n in range(300):
            shown = redactor.redact({f"k{own}-{n}": n, f"token{n}": "x"})
            if shown != {f"k{own}-{n}": n, f"token{n}": REDACTED}:
                wrong.append(shown)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
