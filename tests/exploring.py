"""How many examples property tests try: as many as they say, and many more with `make fuzz`."""

import os

from hypothesis import settings

FUZZING = os.environ.get("ISCC_FUZZ") == "1"
FACTOR = 30 if FUZZING else 1


def examples(count: int) -> settings:
    """What a property test is decorated with to try so many examples."""
    return settings(max_examples=count * FACTOR, deadline=None)
