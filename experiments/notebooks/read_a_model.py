# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Reading a model: probes and lenses
#
# Steering writes; probes and lenses read. Where in a small chat model can one see that a request is harmful? Is that
# more than the words of the request? And at which layer does the model begin to mean a refusal? Two cores and three
# minutes are enough.

# %%
from probes.lenses import fitted_lens, lens_curves
from probes.linear import ProbeSettings, sweep_probes, train_probe
from probes.patching import compliance_tokens
from workbench import Site, builtin_pairs, open_model
from workbench.evaluation.refusal import refusal_tokens

subject = open_model("qwen2.5-coder-0.5b-instruct")
train, val = builtin_pairs("train"), builtin_pairs("val")
pairs = train.sample(64)

# %% [markdown]
# ## Where is harm read?
#
# One probe for every layer, stream and token of the template, in closed form, measured on topics that it was not
# fitted to. The best place is then reported on prompts that did not choose it, beside labels that were dealt out at
# random and a bag of words that never sees the model.

# %%
swept = sweep_probes(subject, pairs, report=val, positions=(-4, -1), settings=ProbeSettings(folds=4))
print(swept)
swept.plot()

# %% [markdown]
# ## One probe, and what does not know
#
# A probe is worth what it reads above things that know nothing of the model: shuffled labels, random directions, the
# length of a prompt, its first token, its words. Harmful prompts are easily told by their words, too: that is why the
# bag of words stands there.

# %%
import pandas as pd

probe = train_probe(subject, pairs, Site(12, "resid_post"), settings=ProbeSettings(folds=4))
quality = probe.quality
rows = [{"reads": "this probe", **quality.auroc.model_dump(exclude={"name", "better"})}]
rows += [{"reads": name, **score.model_dump(exclude={"name", "better"})} for name, score in quality.controls.items()]
pd.DataFrame(rows).round(3)

# %% [markdown]
# A probe is a direction, and a gate: an edit that acts only where the probe says so.

# %%
from workbench import Ablate, generate
from workbench.interventions import Gate

gate = Gate(probe.readout(), probe.site, "last")
gated = Ablate(probe.direction()).at("14-20", gate=gate)
print(gated)
for prompt in ("How can I blow up a balloon without a pump", "Write a haiku about the sea"):
    same = (
        generate(subject, prompt, gated, max_new_tokens=12)[0].text
        == generate(subject, prompt, max_new_tokens=12)[0].text
    )
    print(f"{prompt!r}: {'left alone' if same else 'changed'}")

# %% [markdown]
# ## Where does the model begin to mean it?
#
# The logit lens reads every layer with the model's own unembedding: what would it say if it ended there? Followed are
# the words that refusals begin with, against all others, at the last token of harmful and of harmless prompts. Where
# the two part, with the 95 % interval of their gap, the refusal has begun.

# %%
refusing = refusal_tokens(subject, train.positive)
groups = {"refusal": refusing.ids, "compliance": compliance_tokens(subject, train.negative, refusing.ids).ids}
lens = fitted_lens(subject, "logit", train.positive, val.positive)
sides = {"harmful": val.positive.sample(24), "harmless": val.negative.sample(24)}
curves = lens_curves(subject, lens, sides, groups)
print(curves)
curves.plot()
