"""What this machine can do at most: by these a figure is read as a share of the limit."""

from time import perf_counter
from typing import Any

import torch

_SIDE = 2048
_BYTES = 1 << 28


def machine(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """The measured matmul peak in `dtype` (GFLOP/s) and memory bandwidth (GB/s): the best of 10, as a limit is."""
    one, other = (torch.randn(_SIDE, _SIDE).to(device, dtype) for _ in range(2))
    long = torch.ones(_BYTES // 4, device=device)
    return {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "dtype": str(dtype).removeprefix("torch."),
        "matmul_gflops": round(2 * _SIDE**3 / _seconds(lambda: one @ other) / 1e9, 1),
        "read_gb_per_s": round(_BYTES / _seconds(long.sum) / 1e9, 1),
    }


def _seconds(job: Any) -> float:
    taken = []
    for _ in range(10):
        start = perf_counter()
        job()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(perf_counter() - start)
    return min(taken)
