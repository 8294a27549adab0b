"""What several commands print: JSON that every program can read."""

import json


def print_json(value) -> None:
    """Print `value` as JSON. NaN and Infinity, which JSON does not have, become null."""
    finite = json.loads(json.dumps(value), parse_constant=lambda _: None)
    print(json.dumps(finite, indent=1))
