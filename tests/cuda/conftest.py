"""Tests that need an accelerator. They run where there is a GPU: ``pytest -m cuda``.

``RESCAPS_TEST_DEVICE=cpu`` runs them on a CPU instead, to try the tests themselves.
"""

import os

import pytest
import torch

DEVICE = os.environ.get('RESCAPS_TEST_DEVICE', 'cuda')


@pytest.fixture(autouse=True)
def device():
    """The device under test, which computes float32 in float32."""
    if DEVICE == 'cuda' and not torch.cuda.is_available():
        pytest.skip('needs a GPU: torch.cuda.is_available() is false')
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    yield torch.device(DEVICE)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution
