"""Instructions of the processor, which older versions of PyTorch cannot tell."""

import torch

# Those that decide how fast float32, bfloat16 and int8 are computed, by their names in PyTorch.
INSTRUCTIONS = (
    *('avx2', 'avx512_f', 'avx512_bf16', 'avx512_fp16', 'avx_vnni', 'avx512_vnni', 'amx_bf16', 'amx_fp16', 'amx_int8'),
    *('neon', 'bf16', 'dot', 'i8mm', 'sve', 'sve_bf16', 'sme'),
)


def find_instructions() -> list[str]:
    """Return those of :data:`INSTRUCTIONS` that the processor has; none in versions of PyTorch that cannot tell."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, 'get_capabilities') else {}
    return [name for name in INSTRUCTIONS if capabilities.get(name)]
