"""How much is tried of what is made up: the same in every run, but with `make fuzz`."""

import os
import random

import pytest
from hypothesis import settings

FUZZING = os.environ.get("ISCC_FUZZ") == "1"
FACTOR = 30 if FUZZING else 1

# Tests that `make fuzz` runs beside those of hypothesis.
EXPLORES = pytest.mark.explores


def examples(count: int) -> settings:
    """What a property test is decorated with to try so many examples."""
    return settings(max_examples=count * FACTOR, deadline=None)


def chance(seed: int) -> random.Random:
    """Where a test gets its random choices from; a failure that `make fuzz` finds says the seed."""
    if FUZZING:
        seed = random.SystemRandom().randrange(2**32)
        print(f"seed: {seed}")
    return random.Random(seed)
