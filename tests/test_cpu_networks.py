"""What makes models fast on a CPU computes what the library computes."""

import copy
import ctypes
import inspect
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_encoder
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import Linear
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pipelines import cpu
from pipelines.cpu import memory
from pipelines.cpu.attention import NAME, use_grouped_attention
from pipelines.cpu.dropout import CheapDropout, cheap_dropout, dropout
from pipelines.cpu.fused_adapters import FusedLinear
from pipelines.cpu.half_copies import compute_in_half_copies
from pipelines.cpu.used_embeddings import UsedEmbeddings, train_used_embeddings

IDS = torch.tensor([[5, 9, 12, 7, 0, 0], [3, 8, 2, 6, 11, 4]])
MASK = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
NETWORKS = {
    "bert": lambda: BertModel(BertConfig(vocab_size=20, **tiny_encoder.SIZES)),
    "distilbert": lambda: tiny_encoder.ENCODERS["distilbert"](20),
    "roberta": lambda: tiny_encoder.ENCODERS["roberta"](20),
    "mistral": lambda: MistralForCausalLM(
        MistralConfig(
            vocab_size=20,
            hidden_size=32,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=3,
        )
    ),
    "qwen3": lambda: Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=20,
            hidden_size=32,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
        )
    ),
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=20,
            hidden_size=32,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_attention_is_the_librarys(kind):
    torch.manual_seed(0)
    network = NETWORKS[kind]().eval()
    network.set_attn_implementation("eager")
    expected = network(input_ids=IDS, attention_mask=MASK, output_attentions=True)
    use_grouped_attention(network)
    assert network.config._attn_implementation == NAME
    found = network(input_ids=IDS, attention_mask=MASK, output_attentions=True)
    torch.testing.assert_close(found[0][MASK.bool()], expected[0][MASK.bool()])
    for mine, theirs in zip(found.attentions, expected.attentions, strict=True):
        real = MASK[:, None, :, None].expand_as(mine).bool()
        torch.testing.assert_close(mine[real], theirs[real])


def test_attention_reads_a_cache_as_the_whole_text():
    torch.manual_seed(0)
    network = NETWORKS["llama"]().eval()
    use_grouped_attention(network)
    whole = network(input_ids=IDS[1:]).logits
    begun = network(input_ids=IDS[1:, :4], use_cache=True)
    rest = network(input_ids=IDS[1:, 4:], past_key_values=begun.past_key_values)
    torch.testing.assert_close(rest.logits, whole[:, 4:])


def test_attention_drops_weights_in_training_alone():
    torch.manual_seed(0)
    network = BertModel(
        BertConfig(
            vocab_size=20,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.5,
            **tiny_encoder.SIZES,
        )
    )
    use_grouped_attention(network)
    weights = network.train()(input_ids=IDS, output_attentions=True).attentions[0]
    assert 0.3 < (weights == 0).float().mean() < 0.7
    assert not (network.eval()(input_ids=IDS, output_attentions=True).attentions[0] == 0).any()


def test_networks_of_another_attention_are_left_alone(tmp_path):
    network = tiny_encoder.ENCODERS["deberta-v2"](50)
    before = network.config._attn_implementation
    use_grouped_attention(network)
    assert network.config._attn_implementation == before != NAME


@pytest.mark.parametrize(
    ("p", "dtype"), [(0.1, torch.float32), (0.5, torch.bfloat16), (0.9, torch.float32)]
)
def test_dropout_drops_its_share_and_keeps_the_mean(p, dtype):
    torch.manual_seed(0)
    x = torch.ones(301, 333, dtype=dtype, requires_grad=True)
    y = dropout(x, p)
    y.sum().backward()
    assert y.dtype == dtype
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert y[y != 0].float().mean().item() == pytest.approx(1 / (1 - p), rel=0.01)
    assert torch.equal(
        x.grad, y.detach()
    )  # the same are dropped, and scaled alike, in the backward pass


def test_dropout_follows_torchs_seed():
    x = torch.ones(100, 7)
    torch.manual_seed(3)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)


def test_layers_drop_cheaply_for_a_while_and_only_in_training():
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.0), nn.Dropout(1.0))
    x = torch.ones(50, 50)
    with cheap_dropout(model):
        assert type(model[0]) is CheapDropout
        assert 0.3 < (model[0](x) == 0).float().mean() < 0.7
        assert torch.equal(model[1](x), x)
        assert not model[2](x).any()
        assert torch.equal(model.eval()(x), x)
    assert type(model[0]) is nn.Dropout


def trained(model, ids, steps=4):
    optimizer = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad], lr=0.1, weight_decay=0.0
    )
    for _ in range(steps):
        loss = model(input_ids=ids, attention_mask=MASK).last_hidden_state.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def encoder():
    torch.manual_seed(0)
    return BertModel(
        BertConfig(
            vocab_size=40,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **tiny_encoder.SIZES,
        ),
        add_pooling_layer=False,
    )


def test_training_the_rows_that_are_read_trains_the_same_model():
    expected, model = trained(encoder(), IDS), encoder()
    before = model.get_input_embeddings().weight.detach().clone()
    with train_used_embeddings(model, IDS.unique()):
        assert isinstance(model.get_input_embeddings(), UsedEmbeddings)
        assert model.get_input_embeddings().weight.shape == (len(IDS.unique()), 16)
        trained(model, IDS)
    assert type(model.get_input_embeddings()) is nn.Embedding
    for (name, mine), theirs in zip(model.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)
    changed = (model.get_input_embeddings().weight != before).any(1)
    assert changed.nonzero()[:, 0].tolist() == [
        i for i in IDS.unique().tolist() if i
    ]  # padding is never trained


def test_rows_that_training_does_not_read_are_there_in_prediction():
    model, ids = trained(encoder(), IDS), torch.tensor([[5, 33, 39, 2]])
    expected = model.eval()(input_ids=ids).last_hidden_state
    with train_used_embeddings(model, IDS.unique()):
        torch.testing.assert_close(model(input_ids=ids).last_hidden_state, expected)


def test_a_model_of_which_few_rows_are_trained_is_saved_and_loaded_whole(tmp_path):
    model = encoder()
    with train_used_embeddings(model, IDS.unique()):
        trained(model, IDS)
        kept = {name: weight.clone() for name, weight in model.state_dict().items()}
        rows = model.get_input_embeddings()
        assert torch.equal(kept["embeddings.word_embeddings.weight"][rows.used], rows.weight)
        model.save_pretrained(tmp_path)
        trained(model, IDS)
        model.load_state_dict(kept)
        found = copy.deepcopy(model.state_dict())
    read = BertModel.from_pretrained(tmp_path, add_pooling_layer=False)
    assert read.get_input_embeddings().weight.shape == (40, 16)
    for name, weight in read.state_dict().items():
        assert torch.equal(weight, kept[name])
        assert torch.equal(weight, found[name])
    assert torch.equal(
        model.get_input_embeddings().weight, kept["embeddings.word_embeddings.weight"]
    )


@pytest.mark.parametrize("reason", ["frozen", "most"])
def test_embeddings_are_left_alone_where_training_them_gains_nothing(reason):
    model = encoder()
    used = torch.arange(30 if reason == "most" else 5)
    model.get_input_embeddings().weight.requires_grad = reason != "frozen"
    with train_used_embeddings(model, used):
        assert type(model.get_input_embeddings()) is nn.Embedding


# The two verbs


def adapted():
    network = NETWORKS["llama"]()
    network.dropout = nn.Dropout(0.1)
    model = get_peft_model(
        network, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    )
    model.get_input_embeddings().weight.requires_grad = True
    return model


def parts(model):
    """What training on a CPU changes in a model."""
    network = model.get_base_model()
    return (
        network.config._attn_implementation,
        type(network.dropout),
        type(network.model.layers[0].self_attn.q_proj),
        type(model.get_input_embeddings()),
    )


def interrupted(model):
    with cpu.training(model, used_ids=torch.arange(5)):
        assert parts(model) == (NAME, CheapDropout, FusedLinear, UsedEmbeddings)
        raise KeyboardInterrupt


def test_training_puts_its_parts_in_and_takes_them_out_again():
    model = adapted()
    before = parts(model)
    assert before == ("sdpa", nn.Dropout, Linear, nn.Embedding)
    with pytest.raises(KeyboardInterrupt):
        interrupted(model)
    assert parts(model) == before


@pytest.mark.parametrize("kind", cpu.SHARDED)
def test_where_weights_are_sharded_nothing_is_changed(kind, monkeypatch):
    state = SimpleNamespace(device=torch.device("cuda"), distributed_type=kind)
    monkeypatch.setattr(cpu, "PartialState", lambda: state)
    model = adapted()
    before = parts(model)
    with cpu.training(model, used_ids=torch.arange(5), half_copies=True):
        assert parts(model) == before
        assert "forward" not in vars(model)


def test_a_step_in_half_copies_is_that_of_a_bf16_model_with_gradients_in_float32():
    model, half = encoder().train(), encoder().train().bfloat16()
    signature = inspect.signature(model.forward)
    half(input_ids=IDS, attention_mask=MASK).last_hidden_state.float().square().sum().backward()
    with compute_in_half_copies(model):
        assert inspect.signature(model.forward) == signature
        states = model(input_ids=IDS, attention_mask=MASK).last_hidden_state
        assert states.dtype == torch.bfloat16
        states.float().square().sum().backward()
        with torch.no_grad():
            assert model.eval()(input_ids=IDS).last_hidden_state.dtype == torch.float32
    for (name, mine), theirs in zip(model.named_parameters(), half.parameters(), strict=True):
        assert mine.dtype == mine.grad.dtype == torch.float32
        torch.testing.assert_close(mine.grad, theirs.grad.float(), msg=name)
    assert "forward" not in vars(model)


def test_a_wrapped_forward_computes_in_half_copies_too():
    model = encoder().train()
    with compute_in_half_copies(model):
        inner = model.forward
        model.forward = lambda **inputs: inner(**inputs)  # as accelerate does for autocast
        assert model(input_ids=IDS).last_hidden_state.dtype == torch.bfloat16
    assert model(input_ids=IDS).last_hidden_state.dtype == torch.float32


needs_glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="the system has no glibc",
)


@needs_glibc
@pytest.mark.parametrize(
    ("seconds", "trains", "returned"), [(0, True, True), (3600, True, False), (0, False, False)]
)
def test_training_returns_freed_memory_to_the_system(seconds, trains, returned, monkeypatch):
    def resident():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    monkeypatch.setattr(memory, "TRIM_SECONDS", seconds)
    model = nn.Linear(1, 1).train(trains)
    with memory.return_freed_memory(model):
        blocks = [bytearray(b"x" * 100_000) for _ in range(2000)]
        del blocks[:-1]  # what is left keeps the heap from shrinking
        before = resident()
        model(torch.ones(1))
        assert (resident() < before - 100_000_000) == returned
    assert not model._forward_pre_hooks


def test_prediction_gives_the_same_with_weights_laid_out_for_few_rows():
    torch.manual_seed(0)
    network = NETWORKS["llama"]().eval()
    expected = network(input_ids=IDS[1:]).logits
    cpu.for_prediction(network)
    assert network.config._attn_implementation == NAME
    assert network.lm_head.weight.stride() == (1, 20)
    torch.testing.assert_close(network(input_ids=IDS[1:]).logits, expected)
