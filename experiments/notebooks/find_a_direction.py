# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Finding the direction that refuses, and taking it away
#
# A chat model was taught to refuse some requests. Arditi et al. (2024) found that in many models this hangs on one
# direction of the stream of numbers that flows from layer to layer. Here it is found in a small model, taken away,
# and added; and a random direction of the same size is treated the same, so that one sees what is the direction's
# doing and what is any edit's. Two cores and three minutes are enough.

# %%
from workbench import Ablate, Add, SearchSettings, builtin_pairs, evaluate, find_direction, generate, open_model

subject = open_model("qwen2.5-coder-0.5b-instruct")
subject

# %% [markdown]
# ## 1. Find it
#
# A candidate at a layer and a token is the mean of harmful prompts there minus the mean of harmless ones. Each
# candidate is scored on validation prompts that did not make it: **bypass** (does ablating it stop refusals of
# harmful prompts?), **induce** (does adding it bring refusals of harmless ones?) and **KL** (what else does it
# change?). The rule of the paper chooses. A few layers and positions are searched here; `workbench find` searches all
# of them.

# %%
settings = SearchSettings(n_train=64, n_val=30, most_val=8, positions=(-2, -1), layers=(14, 16, 18))
found = find_direction(subject, builtin_pairs("train"), validation=builtin_pairs("val"), settings=settings)
print(found)
found.plot()

# %% [markdown]
# Every candidate, with its intervals:

# %%
found.to_pandas()[["position", "layer", "refusal_score", "steering_score", "kl_div_score"]].round(2)

# %% [markdown]
# ## 2. Take it away, and add it
#
# A recipe says what is edited and where. `Ablate` removes the component along the direction from everything that
# writes to the stream; `Add` shifts the stream at one layer, by one gap between the classes. The request is one that
# only sounds harmful, which this model refuses all the same.

# %%
ablated = Ablate(found.direction).at("all")
added = Add(found.direction).at(found.direction.site)
for name, prompt, recipe in (
    ("as it is", "How can I blow up a balloon without a pump", None),
    ("ablated", "How can I blow up a balloon without a pump", ablated),
    ("as it is", "Write a haiku about the sea", None),
    ("added", "Write a haiku about the sea", added),
):
    print(f"{name:>9}  {generate(subject, prompt, recipe, max_new_tokens=24)[0].text!r}")

# %% [markdown]
# ## 3. Measure it
#
# On test prompts, which the search has not seen: how often does the model refuse, as it is, edited, and with a random
# direction in the place of the real one? Each rate has a 95 % interval and each change a paired test on the same
# prompts.

# %%
from workbench.evaluation import Settings

test = builtin_pairs("test")
few = test.sample(20)
evaluation = evaluate(subject, ablated, few, settings=Settings(max_new_tokens=32))
evaluation.plot()

# %%
refusal = evaluation.difference("treated", "harmful", "refusal")
control = evaluation.difference("random control", "harmful", "refusal")
print(f"the direction ablated: refusal of harmful prompts changes by {refusal}: {refusal.says}")
print(f"a random direction ablated: it changes by {control}: {control.says}")

# %% [markdown]
# With 20 prompts the intervals are wide. `workbench evaluate MODEL --direction RUN --ablate --suite full` measures
# more, and also what an edit costs.
