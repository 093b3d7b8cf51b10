"""How much random input is tried: the same in every run, except with `make fuzz`."""

import os
import random

import pytest
from hypothesis import settings

FUZZING = os.environ.get("ISCC_FUZZ") == "1"
FACTOR = 30 if FUZZING else 1

# Tests that `make fuzz` runs beside those of hypothesis.
EXPLORES = pytest.mark.explores


def examples(count: int) -> settings:
    """Decorate a property test to try this many examples."""
    return settings(max_examples=count * FACTOR, deadline=None)


def chance(seed: int) -> random.Random:
    """The random choices of a test; a failure found by `make fuzz` shows the seed."""
    if FUZZING:
        seed = random.SystemRandom().randrange(2**32)
        print(f"seed: {seed}")
    return random.Random(seed)
