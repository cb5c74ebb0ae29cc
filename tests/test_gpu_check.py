"""What training and generation do on a GPU, as far as a CPU can tell, and `benchmarks/gpu`."""

import json
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from conftest import ROOT, run_python
from test_sft import loss_and_gradients, trainer_for
from torch import nn

from pipelines.families.causal_lm.constraints import bits_of
from pipelines.families.causal_lm.sft import train_in_float32

sys.path.append(str(ROOT / "benchmarks"))

from gpu.inputs import SMALL, Setting, rows_of_tokens
from gpu.rows import Recorder, Row, read_rows, table

# What a GPU does


def test_rows_padded_on_the_right_need_no_mask(network, tokenizer, tmp_path):
    trainer = trainer_for(network, tokenizer, tmp_path, batch_tokens=1000)
    trainer.model.train()
    inputs = next(iter(trainer.get_train_dataloader()))
    assert not inputs["attention_mask"].all()
    assert trainer.masks_padding
    masked, gradients = loss_and_gradients(trainer, inputs, None)
    trainer.masks_padding = False
    seen = []
    network.model.layers[0].register_forward_pre_hook(
        lambda _, __, given: seen.append(given["attention_mask"]), with_kwargs=True
    )
    unmasked, others = loss_and_gradients(trainer, inputs, None)
    assert seen == [None]  # attention is causal by its kernel alone
    assert unmasked == pytest.approx(masked, abs=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-6)


def test_tokens_are_counted_without_waiting_and_logged_as_a_number(network, tokenizer, tmp_path):
    trainer = trainer_for(network, tokenizer, tmp_path, max_steps=2)
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    trainer.compute_loss(trainer.model, dict(inputs))
    assert isinstance(trainer._total_train_tokens, torch.Tensor)
    trainer.train()
    counts = [entry["num_tokens"] for entry in trainer.state.log_history if "loss" in entry]
    assert all(type(count) in (int, float) for count in counts)
    assert 0 < counts[0] < counts[1]
    json.dumps(trainer.state.log_history)


def test_bits_are_unpacked_as_numpy_does():
    packed = np.random.default_rng(0).integers(0, 256, (3, 5), dtype=np.uint8)
    expected = np.unpackbits(packed, axis=1, bitorder="little")
    assert bits_of(torch.from_numpy(packed)).tolist() == expected.tolist()


def test_adapters_of_a_quantised_base_are_trained_in_float32():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).bfloat16()
    model[0].requires_grad_(False)
    train_in_float32(model)
    dtypes = [weight.dtype for weight in model.parameters()]
    assert dtypes == [torch.bfloat16] * 2 + [torch.float32] * 2


# The check


@pytest.mark.slow
def test_a_case_that_fails_is_a_row_and_the_next_one_runs(tmp_path):
    record = Recorder("part", tmp_path / "rows.jsonl", limit=100)

    def wrong():
        raise AssertionError("differs by 3")

    def lacking():
        raise ImportError("no module", name="bitsandbytes")

    def broken():
        raise torch.OutOfMemoryError("out of memory\nmore lines")

    record.case("a", wrong)
    record.case("b", lacking)
    record.case("c", broken)
    assert record.case("d", lambda: {"tokens/s": 1234.5}, goal=">= 1,000") == {"tokens/s": 1234.5}
    record.case("e", lambda: {"checked": True})
    record.case("f", wrong, needs=101)
    rows = read_rows(tmp_path / "rows.jsonl")
    assert [(row.case, row.status) for row in rows] == [
        ("a", "failed"),
        ("b", "skipped"),
        ("c", "error"),
        ("d", "measured"),
        ("e", "passed"),
        ("f", "skipped"),
    ]
    assert rows[1].reason == "needs bitsandbytes"
    assert "out of memory" in rows[2].reason
    lines = "\n".join(table(rows))
    assert "tokens/s 1,234" in lines
    assert ">= 1,000" in lines
    assert asdict(Row(**asdict(rows[3]))) == asdict(rows[3])


def test_rows_repeat_until_there_are_as_many_tokens():
    rows = [{"input_ids": [1] * 3}, {"input_ids": [1] * 4}]
    assert [len(row["input_ids"]) for row in rows_of_tokens(rows, 8)] == [3, 4, 3]
    assert len(rows_of_tokens(rows, 7)) == 2
    assert len(rows_of_tokens(rows, 1)) == 1


def test_work_of_a_token_is_four_times_the_weights_of_the_layers():
    from gpu.inputs import llama
    from gpu.training import step_flops_a_token

    model = llama(SMALL, "cpu", torch.float32)
    weights = sum(
        module.weight.numel() for module in model.model.modules() if isinstance(module, nn.Linear)
    )
    assert step_flops_a_token(SMALL) == 4 * weights


@pytest.mark.slow
def test_the_checks_pass_on_a_cpu_in_a_small_form(tmp_path):
    from gpu import correctness

    record = Recorder("correctness", tmp_path / "rows.jsonl", limit=600)
    correctness.run(Setting("cpu", True, tmp_path), record)
    rows = read_rows(tmp_path / "rows.jsonl")
    assert [row.status for row in rows] == ["passed"] * 5, rows


@pytest.mark.slow
@pytest.mark.parametrize("part", ["sft", "qlora", "generation", "encoders"])
def test_a_part_measures_on_a_cpu_in_a_small_form(part, tmp_path):
    import importlib

    record = Recorder(part, tmp_path / "rows.jsonl", limit=600)
    importlib.import_module(f"gpu.{part}").run(Setting("cpu", True, tmp_path), record)
    rows = read_rows(tmp_path / "rows.jsonl")
    assert rows
    assert {row.status for row in rows} <= {"measured", "passed"}, rows


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="takes minutes on a GPU")
def test_the_command_ends_with_one_table_and_writes_json(tmp_path):
    out = tmp_path / "gpu.json"
    done = run_python(ROOT / "benchmarks" / "gpu", "--parts", "fp16", "--output", out)
    assert done.returncode == 0, done.stderr
    assert "fp16 training needs a GPU" in done.stdout
    [row] = json.loads(out.read_text())["rows"]
    assert (row["part"], row["status"]) == ("fp16", "skipped")
