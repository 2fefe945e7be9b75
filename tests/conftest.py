"""Settings of all tests."""

import numpy as np
import pytest
import torch
from hypothesis import settings

# The same examples in every run: what is red here is red everywhere, and no slow machine fails by the clock.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=40, database=None)
settings.load_profile("repeatable")


@pytest.fixture
def one_thread():
    """Here as in the processes that `start` starts: with another number of threads PyTorch adds in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """The tiny data set of tests/training.py as the files that the command line reads."""
    from tests.training import TEST, TRAIN

    folder = tmp_path_factory.mktemp("data")
    for prefix, data in (("train", TRAIN), ("t10k", TEST)):
        for kind, array in (("images-idx3", data.images), ("labels-idx1", data.labels.astype(np.uint8))):
            head = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
            (folder / f"{prefix}-{kind}-ubyte").write_bytes(head + array.tobytes())
    return folder


@pytest.fixture
def hub(monkeypatch):
    """A LoopbackHub, which huggingface_hub takes for the only one there is. Skips where that isn't installed."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is not installed")
    from tests.loopback_hub import LoopbackHub

    with LoopbackHub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere/token")
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub
