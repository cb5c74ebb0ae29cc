"""An adapter merged during a generation, and the base restored bit by bit."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from pipelines.families.causal_lm.merging import merged_adapter


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fails", [False, True])
def test_a_merged_adapter_leaves_no_trace(fails, dtype, network, tokenizer):
    torch.manual_seed(2)
    model = get_peft_model(
        network.to(dtype),
        LoraConfig(
            r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
        ),
    ).eval()
    ids = torch.tensor([tokenizer("Colon cancer.")["input_ids"]])
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        adapted = model(ids).logits
        with model.disable_adapter():
            bare = model(ids).logits
    try:
        with merged_adapter(model) as merged, torch.no_grad():
            inside = merged(ids).logits
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    with torch.no_grad():
        assert torch.equal(model(ids).logits, adapted)
    tolerance = 1e-4 if dtype == torch.float32 else 0.2
    assert (inside - adapted).abs().max() < tolerance < (inside - bare).abs().max()


def test_a_model_without_an_adapter_is_used_as_it_is(network):
    with merged_adapter(network) as same:
        assert same is network
