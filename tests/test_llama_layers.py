"""Llama's lean layers: what they compute is what the library's compute."""

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pipelines.cpu.attention import attend_plainly
from pipelines.cpu.llama_layers import LeanLayer, use_lean_layers

IDS = torch.tensor([[0, 0, 5, 9, 12, 7], [3, 8, 2, 6, 11, 4]])
MASK = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
POSITIONS = (MASK.cumsum(1) - 1).clamp(min=0)


def llama(**settings):
    torch.manual_seed(0)
    network = LlamaForCausalLM(LlamaConfig(**{
        "vocab_size": 20, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "initializer_range": 0.3, "rms_norm_eps": 0.01, **settings})).eval()
    for name, weight in network.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    return network


def lean(network):
    network = copy.deepcopy(network)
    attend_plainly(network)
    use_lean_layers(network, network.dtype)
    assert all(isinstance(layer, LeanLayer) for layer in network.model.layers)
    return network


@pytest.mark.parametrize("settings", [{}, {"head_dim": 6}, {"num_key_value_heads": 4}, {"num_key_value_heads": 1}],
                         ids=str)
def test_lean_layers_compute_the_librarys_logits(settings):
    network = llama(**settings)
    expected = network(input_ids=IDS, attention_mask=MASK, position_ids=POSITIONS).logits
    with torch.inference_mode():
        found = lean(network)(input_ids=IDS, attention_mask=MASK, position_ids=POSITIONS).logits
    torch.testing.assert_close(found[MASK.bool()], expected[MASK.bool()], rtol=1e-4, atol=1e-4)


def test_lean_layers_are_as_near_to_float32_in_bf16_as_the_librarys():
    network = llama()
    expected = network(input_ids=IDS[1:]).logits
    with torch.inference_mode():
        theirs = (copy.deepcopy(network).bfloat16()(input_ids=IDS[1:]).logits - expected).abs().mean()
        mine = (lean(copy.deepcopy(network).bfloat16())(input_ids=IDS[1:]).logits - expected).abs().mean()
    assert 0 < mine < 1.5 * theirs


@pytest.mark.parametrize("settings", [{"attention_bias": True}, {"mlp_bias": True}, {"hidden_act": "gelu"}], ids=str)
def test_layers_with_more_in_them_are_left_alone(settings):
    network = llama(**settings)
    use_lean_layers(network, network.dtype)
    assert not any(isinstance(layer, LeanLayer) for layer in network.model.layers)
