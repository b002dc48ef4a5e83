"""Prompts of both sides that a byte tokenizer makes as long as each other, and a model with one head that answers."""

from pathlib import Path

import torch

from tests.tiny import save_model
from workbench.models import Subject, open_model
from workbench.prompts import Prompts

N = 8
HARMFUL = Prompts.of([f"Do thing {i} !!!!" for i in range(N)], "harmful")
HARMLESS = Prompts.of([f"Do thing {i} ????" for i in range(N)], "harmless")
LONGER = Prompts.of([f"Do the other thing {i}{'?' * (i * 5 % 7)}" for i in range(N)], "harmless")
WRITER = (1, 2)  # layer and head
REFUSAL, OTHER = 40, 90


def with_a_writer(folder: Path) -> Subject:
    """A llama whose head `WRITER` alone tells ! from ? and says so in favour of the token `REFUSAL`.

    The others write a hundredth of what they wrote, so that there is something to find it among.
    """
    subject = open_model(str(save_model("llama", folder)), dtype="float32")
    model = subject.bridge.original_model
    weights = dict(model.named_parameters())
    at = {name.replace("_original_component.", ""): weight for name, weight in weights.items()}
    mark = at["model.embed_tokens.weight"]
    ids = [subject.tokenizer(c, add_special_tokens=False)["input_ids"][0] for c in "!?"]
    layer, head, width = *WRITER, 8
    with torch.no_grad():
        for number in range(subject.n_layers):
            at[f"model.layers.{number}.self_attn.o_proj.weight"].mul_(0.01)
            at[f"model.layers.{number}.mlp.down_proj.weight"].mul_(0.01)
        here = f"model.layers.{layer}.self_attn"
        at[f"{here}.q_proj.weight"][head * width : (head + 1) * width] = 0  # it reads all tokens alike
        values = at[f"{here}.v_proj.weight"]
        values[head // 2 * width] = mark[ids[0]] - mark[ids[1]]  # two heads share their values
        row = at["lm_head.weight"][REFUSAL] - at["lm_head.weight"][OTHER]
        at[f"{here}.o_proj.weight"][:, head * width] = row / row.norm()
    return subject
