"""Keeps personal data and secrets out of logs, messages to people and dead-letter reasons.

Redaction goes by the name of a field, at any depth, and looks into strings that hold JSON, because an order travels
inside an event inside a queue message. What cannot be read is not shown at all: nobody knows what is in it. Values that
an event holds in such fields are private texts, and are taken out of every other text as well, such as an exception's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Set
from hashlib import sha256
from typing import Any

REDACTED = "[redacted]"

# Names of fields, in lower case and without - and _, whose values are people's or are secrets.
_PERSONAL_FIELDS = {"customer", "deliveryaddress", "name", "email", "phone", "line1", "line2", "postalcode", "city"}
_NETWORK_FIELDS = {"sourceip", "xforwardedfor"}
_SECRET_FIELDS = {"apikey", "xapikey", "authorization", "cookie", "password", "secret", "token"}
_PRIVATE_FIELDS = _PERSONAL_FIELDS | _NETWORK_FIELDS | _SECRET_FIELDS
# Payloads that arrive as text: JSON is redacted inside, anything else is replaced by its size and fingerprint.
_PAYLOAD_FIELDS = {"body", "messagebody"}
_EMAIL = re.compile(r"[^\s@]+@[\w.-]+")
# What begins like JSON and holds a key, but cannot be read, is JSON cut short; "[Errno 111] ..." is not.
_KEY = re.compile(r"""["']\s*:""")
_SHORTEST_PRIVATE_TEXT = 3
_DEEPEST = 64


def redact(value: Any, private: Set[str] = frozenset(), depth: int = 0) -> Any:
    """Return a copy of value (anything that json.loads could return) without personal data and secrets.

    Args:
        value: What is to be shown.
        private: Texts to take out wherever they stand; see private_texts.
        depth: How deep value lies in what is redacted; below 64 levels nothing is shown.

    >>> redact({"order_id": "ord-1", "customer": {"name": "Ada"}})
    {'order_id': 'ord-1', 'customer': '[redacted]'}
    """
    if depth > _DEEPEST:
        return REDACTED
    if isinstance(value, Mapping):
        return {
            redact_text(str(key), private): _redact_field(str(key), item, private, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, private, depth + 1) for item in value]
    if isinstance(value, BaseException):
        return redact_text(str(value), private)
    if isinstance(value, str):
        return redact_text(value, private)
    return value


def redact_text(text: str, private: Set[str] = frozenset()) -> str:
    """Return text without e-mail addresses and private texts, and with JSON inside it redacted by field name."""
    if (shown := _redact_json(text, private)) is not None:
        return shown
    if _begins_like_json(text) and _KEY.search(text):
        return fingerprint(text)
    for secret in sorted(private, key=len, reverse=True):
        if secret.casefold() in text.casefold():
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", REDACTED, text, flags=re.IGNORECASE)
    return _EMAIL.sub(REDACTED, text)


def private_texts(value: Any, *, inside: bool = False, depth: int = 0) -> Iterator[str]:
    """Give the texts that value holds in private fields, also in JSON inside strings.

    Args:
        value: An event, or part of one.
        inside: Whether value stands in a private field.
        depth: How deep it stands; below 64 levels nothing is looked for.
    """
    if depth > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from private_texts(item, inside=inside or _plain(str(key)) in _PRIVATE_FIELDS, depth=depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from private_texts(item, inside=inside, depth=depth + 1)
    elif isinstance(value, str):
        if inside and (len(value) >= _SHORTEST_PRIVATE_TEXT or not value.isascii()):
            yield value
        elif not inside and _begins_like_json(value):
            try:
                yield from private_texts(json.loads(value), depth=depth + 1)
            except (ValueError, RecursionError):
                return


def fingerprint(text: str) -> str:
    """Describe text that must not be shown: its size and the start of its SHA-256, enough to recognise it again."""
    data = text.encode(errors="surrogatepass")
    return f"[{len(data)} bytes, sha256 {sha256(data).hexdigest()[:16]}]"


def _redact_field(name: str, value: Any, private: Set[str], depth: int) -> Any:
    if _plain(name) in _PRIVATE_FIELDS:
        return REDACTED
    if _plain(name) in _PAYLOAD_FIELDS and isinstance(value, str):
        shown = _redact_json(value, private)
        return fingerprint(value) if shown is None else shown
    return redact(value, private, depth)


def _redact_json(text: str, private: Set[str]) -> str | None:
    """Return the object, array or text that a JSON text holds, redacted; None if it holds none or cannot be read."""
    if not _begins_like_json(text):
        return None
    try:
        return json.dumps(redact(json.loads(text), private), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _begins_like_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[", '"')
