"""Limit PyTorch to one thread. Its threads wait actively, for seconds if other tests use the cores."""

import pytest


@pytest.fixture(scope="module")
def one_thread():
    try:
        import torch
    except ImportError:
        yield
        return
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(number)
