"""Talking: batched decoding with a KV cache, under a recipe or one for each row."""

from workbench.generation.decoding import generate
from workbench.generation.replies import Replies, Reply

__all__ = ["Replies", "Reply", "generate"]
