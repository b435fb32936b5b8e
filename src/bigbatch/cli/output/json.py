"""JSON that every program can read."""

import json
import math
from collections.abc import Mapping


def print_json(value: object) -> None:
    """Print a value as JSON: NaN and infinity, which JSON does not have, as null; control characters as escapes."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
