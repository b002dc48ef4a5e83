"""What is left out where the processor makes it long."""

import os

import pytest

from workbench.models.loading import has_bfloat16

# A forward pass of the embedded model over 32 prompts takes 10 s and more there, and these make very many.
needs_bfloat16 = pytest.mark.skipif(
    not has_bfloat16() and not os.environ.get("WORKBENCH_HEAVY"),
    reason="the embedded model is slow on a processor without bfloat16; WORKBENCH_HEAVY=1 runs it all the same",
)
