"""The other side of a certificate: a fresh process that knows nothing of the workbench, and opens an export.

    python -P reloading.py REQUEST.json

The request names a model's folder, an adapter's folder or none, dtype, device, rows of tokens (with the place from
which on logits are wanted), and a folder for the logits. Each row is read by itself, without padding. stdout has one
JSON line for the versions, and one for each row once its logits are written. This file is run as a script: it imports
transformers (and peft), and no package of ours.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file


def main(request: dict[str, Any]) -> None:
    """Open what the request names, and write the logits of each row."""
    model = _opened(request)
    packages = ("torch", "transformers", *(["peft"] if request["adapter"] else []))
    _say({"versions": {name: version(name) for name in packages}})
    for number, row in enumerate(request["rows"]):
        with torch.inference_mode():
            logits = model(torch.tensor([row["tokens"]], device=request["device"])).logits[0, row["new"] :]
        save_file({"logits": logits.cpu().contiguous()}, Path(request["out"]) / f"{number}.safetensors")
        _say({"row": number})


def _opened(request: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, loaded = AutoModelForCausalLM.from_pretrained(
        request["model"],
        dtype=getattr(torch, request["dtype"]),
        attn_implementation="eager",
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )
    for what in ("missing_keys", "mismatched_keys"):
        if loaded[what]:
            sys.exit(f"transformers finds {what.replace('_', ' ')}: {sorted(map(str, loaded[what]))[:3]}")
    model = model.to(request["device"])
    return (_adapted(model, request["adapter"]) if request["adapter"] else model).eval()


def _adapted(model: Any, adapter: str) -> Any:
    """The model with an adapter; an adapter of which a part is not used is none."""
    from peft import PeftModel
    from safetensors import safe_open

    found = PeftModel.from_pretrained(model, adapter)
    with safe_open(Path(adapter) / "adapter_model.safetensors", framework="pt") as file:
        wanted = set(file.keys())
    have = {name.replace(".default", "") for name, _ in found.named_parameters() if "lora_" in name}
    if wanted != have:
        sys.exit(f"peft uses other parts than the adapter has: {sorted(wanted ^ have)[:3]}")
    return found


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
