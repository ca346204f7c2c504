"""The saved state of a training run, as bytes."""

import pytest
import torch

from calbench.benchmark.training.state import pack, unpack


def test_state_packs_nested_data_with_shared_tensors():
    weight = torch.arange(4.0)
    state = {"epoch": 3, "w": weight, "again": weight, "groups": [{"lr": 0.1, "betas": (0.9, 0.99)}], 7: None}
    with pytest.raises(TypeError):
        pack({"x": object()})
    back = unpack(pack({"s": {"state": {0: {"step": torch.tensor(2.0)}}, **{k: state[k] for k in state if k != 7}}}))
    assert back["s"]["state"][0]["step"].item() == 2
    assert back["s"]["again"].tolist() == [0, 1, 2, 3]
    assert back["s"]["groups"] == [{"lr": 0.1, "betas": [0.9, 0.99]}]


@pytest.mark.parametrize("data", [b"", b"x" * 100, pack({"a": 1})[:-3], pack({"a": torch.ones(9)})[:-5]])
def test_damaged_states_are_value_errors(data):
    with pytest.raises(ValueError, match="no saved state|header|not a readable file|Expecting"):
        unpack(data)
