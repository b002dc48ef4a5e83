"""The one way to open a model.

1. Resolve the name to a folder of safetensors (`sources`).
2. Read it with transformers: no remote code, no pickle.
3. Check that every weight is a finite number.
4. Run a fixed prompt, wrap the model in a TransformerBridge, run the prompt again: a gap above the
   dtype's tolerance is an error, because every later number would be about another model.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import ModelError, UsageError
from workbench.models.packing import pack_linears
from workbench.models.reading import reading
from workbench.models.sharing import shares
from workbench.models.sources import Source, resolve
from workbench.models.subject import Subject
from workbench.runs import note

# Largest allowed gap between bridge and plain model, as a share of the largest logit.
PARITY = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}
_PARITY_TEXT = "The quick brown fox jumps over the lazy dog, and 17 + 25 = 42."


def open_model(
    model: str,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | None = None,
    device_map: str | None = None,
    quantisation: str | None = None,
    chat_template: str | None = None,
) -> Subject:
    """Open `model`: a catalog name, a hub id, a folder of safetensors, or a .gguf file.

    `dtype` defaults to bfloat16 where the device has it in hardware, else float32; `device` to cuda, mps or
    cpu, whichever is there first. `device_map` and `quantisation` (bitsandbytes) need a GPU. `chat_template`
    is Jinja text that replaces the model's own.

    Raises ModelError, UsageError or RunError, each with what to do.
    """
    if quantisation not in (None, "4bit", "8bit"):
        raise UsageError(f"Quantisation is 4bit or 8bit, not {quantisation!r}.")
    place = _device(device) if device is not None else default_device()
    precision = _dtype(dtype) if dtype is not None else default_dtype(place)
    if (device_map or quantisation) and not torch.cuda.is_available():
        raise UsageError("device_map and quantisation need a CUDA GPU, and there is none; leave them out.")
    if precision == torch.bfloat16 and place.type == "cpu" and not has_bfloat16():
        note("This processor has no bfloat16 in hardware: float32, which is the default here, is many times as fast.")
    source = resolve(model, str(precision).removeprefix("torch."))
    tokenizer = _tokenizer(source)
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    hf_model = _hf_model(source, precision, place, device_map, quantisation)
    if quantisation is None:
        _require_finite(hf_model, source)
        pack_linears(hf_model)
    bridge = _bridge(hf_model, tokenizer, source, precision, place)
    digest = source.digest if quantisation is None else f"{source.digest}+{quantisation}"
    place = _device_of(hf_model)
    made = Subject(source.name, bridge, tokenizer, digest, precision, place, source.origin, source.folder)
    return replace(made, shares=shares(made, PARITY[precision]))


def default_device() -> torch.device:
    """cuda, mps or cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def default_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where it is in hardware, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if device.type == "cpu" and has_bfloat16() else torch.float32


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def _device(device: str) -> torch.device:
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).cpu()
    except (RuntimeError, AssertionError, NotImplementedError):
        here = default_device().type
        raise UsageError(f"There is no device {device!r} on this machine; leave it out to use {here}.") from None
    return found


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    named = {str(known).removeprefix("torch."): known for known in PARITY}
    found = named.get(dtype) if isinstance(dtype, str) else dtype
    if found is None or found not in PARITY:
        raise UsageError(f"dtype {dtype!r} is not supported; use float32, bfloat16 or float16.")
    return found


def _tokenizer(source: Source) -> Any:
    from transformers import AutoTokenizer

    with reading(source.folder):
        return AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)


def _hf_model(
    source: Source, dtype: torch.dtype, device: torch.device, device_map: str | None, quantisation: str | None
) -> Any:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import logging

    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": False, "use_safetensors": True}
    if quantisation is not None:
        options["quantization_config"] = BitsAndBytesConfig(**{f"load_in_{quantisation}": True})
    if device_map is not None:
        options["device_map"] = device_map
    # The bridge computes attention eagerly, so that its hooks see scores; the reference must do the same.
    options["attn_implementation"] = "eager"
    logging.disable_progress_bar()
    with reading(source.folder):
        model, loaded = AutoModelForCausalLM.from_pretrained(source.folder, output_loading_info=True, **options)
        if device_map is None and quantisation is None:
            model = model.to(device)
    if missing := sorted(loaded["missing_keys"]):
        raise ModelError(f"{source.folder} lacks the weights {', '.join(missing[:3])}; fetch it again.")
    # The weights keep requires_grad: without it, torch multiplies the last position alone by a copy of the
    # unembedding for each row, eight times slower than the rest of the pass. Passes run in inference mode.
    return model.eval()


def _device_of(hf_model: Any) -> torch.device:
    return torch.device(next(hf_model.parameters()).device)


def _require_finite(hf_model: Any, source: Source) -> None:
    for name, weight in hf_model.named_parameters():
        # One pass without a mask: a sum is finite only if no term is NaN or infinite.
        if not torch.isfinite(weight.sum(dtype=torch.float32)):
            raise ModelError(f"{source.name} has NaN or infinite values in {name}; fetch the weights again.")


def _bridge(hf_model: Any, tokenizer: Any, source: Source, dtype: torch.dtype, device: torch.device) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    ids = torch.tensor([tokenizer(_PARITY_TEXT)["input_ids"]], device=_device_of(hf_model))
    with torch.inference_mode():
        plain = hf_model(ids).logits
    with reading(source.folder):
        bridge = TransformerBridge.boot_transformers(
            source.name, hf_model=hf_model, tokenizer=tokenizer, dtype=dtype, device=str(device)
        )
    with torch.inference_mode():
        check_parity(plain, bridge(ids), dtype, source.name)
    return bridge


def check_parity(plain: Tensor, bridged: Tensor, dtype: torch.dtype, name: str) -> None:
    """Raise ModelError where the bridge's logits are not the plain model's, within the dtype's tolerance."""
    gap = float((plain.float() - bridged.float()).abs().max())
    allowed = PARITY[dtype] * max(1.0, float(plain.float().abs().max()))
    if not gap <= allowed:
        raise ModelError(
            f"The TransformerBridge of {name} and the plain transformers model differ by {gap:.2g} in their logits "
            f"on a fixed prompt (at most {allowed:.2g} is allowed); this architecture or version is not usable."
        )


def read_chat_template(path: Path) -> str:
    """The text of a Jinja template file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The chat template {path} cannot be read ({error}); give a UTF-8 Jinja file.") from error
