# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Editing the weights, and proving that it is the same edit
#
# An ablation can be done while the model runs, by hooks, or once and for all, in the matrices that write to the
# stream: `W' = W - r rᵀ W`. Are the two the same edit? That is a question with a number for an answer. Two cores and
# three minutes are enough.

# %%
from pathlib import Path

import torch

from workbench import Ablate, SearchSettings, builtin_pairs, find_direction, open_model
from workbench.weights import compile_recipe, edited, export_model

subject = open_model("smollm2-135m-instruct")
search = SearchSettings(n_train=64, n_val=16, most_val=8, positions=(-1,), layers=(14, 16), filtered=False)
found = find_direction(subject, builtin_pairs("train"), validation=builtin_pairs("val"), settings=search)
recipe = Ablate(found.direction).at("all")
print(recipe)

# %% [markdown]
# Which matrices write to the stream, and what the recipe does to them. Which side of a matrix is the stream's is read
# from the module and never guessed from its shape. A recipe that cannot be written into weights - a gate, a window of
# tokens - says which part of it prevents it.

# %%
print(compile_recipe(subject, recipe))

# %% [markdown]
# The weights are changed, asked, and put back: every bit is as it was. Both ways of the edit are compared with the
# model as it is, in the logits of the next word.

# %%
from workbench import steered

batch = subject.batch([subject.tokenizer.encode("How do I kill a background job?")])
plain = subject.logits(batch)
with steered(subject, recipe):
    hooked = subject.logits(batch)
with edited(subject, recipe) as changed:
    written = changed.logits(batch)
again = subject.logits(batch)
print(f"hooks against weights: {float((hooked - written).abs().max()):.4f} logits apart at most")
print(f"hooks against the model as it is: {float((hooked - plain).abs().max()):.4f} logits apart at most")
print(f"put back bit for bit: {torch.equal(plain, again)}")

# %% [markdown]
# ## A folder for others, with its certificate
#
# The edited model is written as plain safetensors, opened again in a fresh process by plain `transformers`, and asked
# the prompts of the certificate. Where it differs from the live edit by more than the rounding of its dtype explains,
# the folder is removed again and an error says so.

# %%
exported = export_model(subject, recipe, "hf", Path("smollm2-without-the-direction"))
exported

# %%
certificate = exported.to_json()["certificate"]
{name: (certificate["export"][name], certificate["unedited"][name]) for name in certificate["export"]}

# %% [markdown]
# The first number of each pair is how far the export is from the live edit, the second how far the unedited model is:
# an edit that did nothing would pass no such certificate. And what would somebody else see who has only the folder?
# `workbench audit-weights` compares it with its base, matrix by matrix.

# %%
from workbench.weights import audit_weights

audit = audit_weights(str(exported.path), "smollm2-135m-instruct", direction=found.direction)
print(audit)
audit.plot()
