"""lm-eval tasks on the built-in questions, written to a folder: offline, and the same on every machine."""

from pathlib import Path

from workbench.evaluation.metrics import choices

DATA = Path(choices.__file__).parents[1] / "data" / "choices.jsonl"
TASK = """\
task: {name}
dataset_path: {path}
dataset_kwargs:
  data_files:
    test: {data}
output_type: {output}
test_split: test
fewshot_split: test
num_fewshot: {examples}
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{options}}}}"
doc_to_target: {target}
metric_list:
  - metric: {metric}
  - metric: {other}
"""


def write_tasks(folder: Path) -> Path:
    """`workbench_options`, with an example before it, without its data, and one that wants text to be generated."""
    folder.mkdir()
    plain = {"path": "json", "data": DATA, "output": "multiple_choice", "examples": 0, "target": "answer"}
    plain |= {"metric": "acc", "other": "acc_norm"}
    written = {"options": "", "few": {"examples": 1}, "away": {"path": "nobody/nothing"}}
    written["said"] = {"output": "generate_until", "metric": "exact_match", "other": "exact_match"}
    for name, changes in written.items():
        options = plain | dict(changes or {}) | {"name": f"workbench_{name}"}
        (folder / f"{name}.yaml").write_text(TASK.format(**options), encoding="utf-8")
    return folder
