"""Settings of the whole suite."""

import pytest
import torch

import rewire  # noqa: F401  installs the torchvision import hook before any test file needs it

# Many tests run at once on few cores, on small tensors: one thread each is fastest, and it makes
# floating-point sums independent of the machine's core count.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def denormal_numbers():
    """The article's stages round them to zero for their whole process; the next test has them."""
    yield
    torch.set_flush_denormal(False)
