"""Which peers are available."""

import importlib.util

from tests.train.bench.tiny_bench import CASE, STEPS
from train.bench.peers import MISSING, peers
from train.bench.workload import Training


def test_without_pytorch_the_peers_are_left_out_and_said_to_be(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with peers(Training(CASE, STEPS), STEPS) as (programs, facts):
        assert programs == {}
        assert facts == {"PyTorch": MISSING}
