"""Shared by all tests: few threads, the folder of real images where there is one."""

import os
from pathlib import Path

import pytest
import torch

os.environ["SEGKIT_KEEP_PAGES"] = "0"  # a command that a test calls leaves this process's allocator as it is
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture
def real_data() -> Path:
    """The folder of real images; a test that needs it skips where it is not set."""
    root = os.environ.get("SEGKIT_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("SEGKIT_DATA names no folder of real images")
    return Path(root)
