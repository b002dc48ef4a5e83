"""A named place in the residual stream, and the one type that knows hook names.

    embed       what the embedding writes (layer 0 only)
    resid_pre   the stream as block `layer` reads it
    attn_heads  the heads' outputs, concatenated, before the output projection
    attn_out    what attention writes to the stream
    mlp_out     what the MLP writes to the stream
    resid_post  the stream as block `layer` leaves it

`attn_out` and `mlp_out` are what is added to the stream: where a norm follows the writer (Gemma 2 and 3, OLMo
2), they stand after that norm.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import UsageError

if TYPE_CHECKING:
    from transformer_lens.hook_points import HookPoint
    from transformer_lens.model_bridge import TransformerBridge

STREAMS = ("embed", "resid_pre", "attn_heads", "attn_out", "mlp_out", "resid_post")
WRITERS = ("resid_pre", "attn_out", "mlp_out")  # where Arditi et al. 2024 ablate


@dataclass(frozen=True, order=True)
class Site:
    """The place `stream` of block `layer`."""

    layer: int
    stream: str

    def __post_init__(self) -> None:
        if self.stream not in STREAMS:
            raise UsageError(f"There is no stream {self.stream!r}; there are: {', '.join(STREAMS)}.")
        if self.stream == "embed" and self.layer != 0:
            raise UsageError(f"The embedding is at layer 0 alone, not at {self.layer}.")

    def __str__(self) -> str:
        return f"{self.layer}.{self.stream}"

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Read `12.resid_pre`."""
        found = re.fullmatch(r"(\d{1,9})\.([a-z_]+)", text.strip())
        if found is None:
            raise UsageError(f"{text!r} is not a site; write LAYER.STREAM, such as 12.resid_pre.")
        return cls(int(found[1]), found[2])

    def hook_point(self, bridge: "TransformerBridge") -> "HookPoint":
        """The bridge's hook at this place."""
        if self.stream == "embed":
            return bridge.embed.hook_out
        block = bridge.blocks[self.layer]
        try:
            if self.stream == "attn_heads":
                return block.attn.o.hook_in
            return getattr(block, f"hook_{self.stream}")
        except AttributeError:
            raise UsageError(f"This architecture has no place {self}; choose another stream.") from None
