"""Settings as text: what an evaluation and a report remember of configurations."""

from __future__ import annotations

from collections.abc import Mapping


def describe_settings(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return nested settings as text, by their dotted names.

    Args:
        values: What `to_dict` of a configuration or of a variant returns.
        prefix: What the names begin with.
    """
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= describe_settings(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            found[f"{prefix}{key}"] = ", ".join(str(item) for item in value)
        else:
            found[f"{prefix}{key}"] = str(value)
    return found
