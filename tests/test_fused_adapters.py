"""Fused LoRA layers have the outputs and gradients of peft's; other layers stay peft's."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import Linear
from torch._dynamo.testing import CompileCounter

from pipelines.cpu.fused_adapters import FusedLinear, fused_adapters

IDS = torch.tensor([[5, 9, 12, 7], [3, 8, 2, 6]])


def adapted(network, **options):
    torch.manual_seed(0)
    model = get_peft_model(
        network,
        LoraConfig(
            r=4,
            lora_alpha=12,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
            **{"lora_dropout": 0.0} | options,
        ),
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first, and then A would have no gradient
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def outputs_and_gradients(model):
    model.zero_grad()
    logits = model(input_ids=IDS).logits
    logits.square().mean().backward()
    return [
        logits.detach(),
        *(parameter.grad.clone() for parameter in model.parameters() if parameter.requires_grad),
    ]


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}])
def test_outputs_and_gradients_are_pefts(network, options):
    model = adapted(network, **options).train()
    expected = outputs_and_gradients(model)
    with fused_adapters(model):
        found = outputs_and_gradients(model)
        assert type(model.get_base_model().model.layers[0].mlp.down_proj) is FusedLinear
    assert len(expected) > 10
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    assert type(model.get_base_model().model.layers[0].mlp.down_proj) is Linear


def test_a_merged_or_switched_off_adapter_is_not_added_again(network):
    model = adapted(network).eval()
    with torch.no_grad(), fused_adapters(model):
        expected = model(input_ids=IDS).logits
        model.merge_adapter()
        torch.testing.assert_close(model(input_ids=IDS).logits, expected, rtol=1e-4, atol=1e-5)
        model.unmerge_adapter()
        with model.disable_adapter():
            off = model(input_ids=IDS).logits
    assert not torch.allclose(off, expected, atol=1e-3)
    with torch.no_grad(), model.disable_adapter():
        torch.testing.assert_close(model(input_ids=IDS).logits, off)


@pytest.mark.parametrize(
    "options", [{"use_dora": True}, {"lora_dropout": 0.5}, {"lora_bias": True}]
)
def test_other_layers_stay_pefts(network, options):
    model = adapted(network, **options)
    with fused_adapters(model):
        assert not any(isinstance(module, FusedLinear) for module in model.modules())


@pytest.mark.slow
def test_one_compilation_serves_all_layers_but_the_first(network):
    # Before the first layer nothing is trainable, so that its graph is another one.
    network.config.num_hidden_layers = 5
    model = adapted(type(network)(network.config)).train()
    layers = model.get_base_model().model.layers
    compiled = CompileCounter()
    with fused_adapters(model):
        for layer in layers:
            layer.compile(backend=compiled, dynamic=True)
        model(input_ids=IDS, use_cache=False).logits.sum().backward()
    assert compiled.frame_count == 2


def test_in_bf16_sums_are_as_near_as_pefts(network):
    model = adapted(network).train()
    exact = outputs_and_gradients(model)
    for module in model.modules():
        if hasattr(module, "lora_A"):
            module.get_base_layer().weight.data = module.get_base_layer().weight.data.bfloat16()

    def error(found):
        return sum(
            float((mine - theirs).norm() / theirs.norm())
            for mine, theirs in zip(found, exact, strict=True)
        )

    with torch.autocast("cpu", torch.bfloat16):
        theirs = error(outputs_and_gradients(model))
        with fused_adapters(model):
            mine = error(outputs_and_gradients(model))
    assert mine < 1.3 * theirs
