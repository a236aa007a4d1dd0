"""Keeps personal data and secrets out of logs, messages to people and dead-letter reasons.

Redaction goes by the name of a field, at any depth, and looks into strings that hold JSON, because an order travels
inside an event inside a queue message. What cannot be read is not shown at all: nobody knows what is in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")


def redact(value: Any) -> Any:
    """Return a copy of value (anything that json.loads could return) without personal data and secrets.

    >>> redact({"order_id": "ord-1", "customer": {"name": "Ada"}})
    {'order_id': 'ord-1', 'customer': '[redacted]'}
    """
    if isinstance(value, Mapping):
        return {key: _redact_field(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    if isinstance(value, str):
        return redact_text(value)
    return value


def redact_text(text: str) -> str:
    """Return text with e-mail addresses redacted, and with JSON inside it redacted by field name."""
    decoded = _decode(text)
    if decoded is not None:
        return json.dumps(redact(decoded), ensure_ascii=False, separators=(",", ":"))
    return _EMAIL.sub(REDACTED, text)


def _redact_field(name: str, value: Any) -> Any:
    plain_name = name.lower().replace("-", "").replace("_", "")
    if plain_name in _PRIVATE_FIELDS:
        return REDACTED
    if plain_name in _PAYLOAD_FIELDS and isinstance(value, str):
        decoded = _decode(value)
        return redact(decoded) if decoded is not None else fingerprint(value)
    return redact(value)


def fingerprint(text: str) -> str:
    """Describe text that must not be shown: its size and the start of its SHA-256, enough to recognise it again."""
    data = text.encode(errors="surrogatepass")
    return f"[{len(data)} bytes, sha256 {sha256(data).hexdigest()[:16]}]"


def _decode(text: str) -> Any:
    """Return the JSON object or array that text holds, else None."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
