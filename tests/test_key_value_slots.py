"""Slots hold the keys and values that were written, whatever joins, grows or leaves."""

import copy
import random
from collections import Counter
from itertools import chain, pairwise

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pipelines.cpu import key_value_slots, one_pass
from pipelines.cpu.attention import use_grouped_attention
from pipelines.cpu.key_value_slots import SPARE, LastTokens, Prompts, Slots
from pipelines.families.causal_lm import generation

NOBODY = torch.zeros(0, dtype=torch.long)


def llama(**settings):
    torch.manual_seed(0)
    network = LlamaForCausalLM(
        LlamaConfig(
            **{
                "vocab_size": 20,
                "hidden_size": 32,
                "intermediate_size": 24,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "initializer_range": 0.3,
                "rms_norm_eps": 0.01,
                **settings,
            }
        )
    ).eval()
    for name, weight in network.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    return network


def grouped(network):
    network = copy.deepcopy(network)
    use_grouped_attention(network)
    return network


@pytest.mark.parametrize("shared", [0, 3])
def test_passes_over_rows_that_come_grow_and_leave_give_the_logits_of_each_row_alone(
    shared, monkeypatch
):
    monkeypatch.setattr(key_value_slots, "SPARE", 4)
    network, chance = llama(), random.Random(1)
    model, slots = (
        grouped(network),
        Slots(network.config, dtype=torch.float32, prefix_length=shared),
    )
    beginning = [7, 5, 7][:shared]
    rows, places, seen = [], NOBODY, Counter()
    with torch.inference_mode():
        for step in range(96):
            count = chance.randint(2, 6) if step % 16 < 4 else not rows  # in waves
            new = [
                beginning + [chance.randrange(20) for _ in range(length)]
                for length in sorted((chance.randint(1, 9) for _ in range(count)), reverse=True)
            ]
            for row in rows:
                row.append(chance.randrange(20))
            before, blocks = places, list(slots.blocks)
            places, taken, logits = one_pass.read(
                model, slots, new, [row[-1] for row in rows], places
            )
            seen["a row moves"] += not torch.equal(before, places)
            seen["all rows move"] += len(before) > 1 and not bool((before == places).any())
            seen["a free slot is taken"] += any(
                block in blocks for block, *_ in slots.locate(taken)
            )
            seen["a block is dropped"] += any(block not in slots.blocks for block in blocks)
            seen["several blocks"] += len(slots.blocks) > 1
            rows, places = [*new, *rows], torch.cat([taken, places])
            assert len(set(places.tolist())) == len(places)
            assert slots.lengths_of(places).tolist() == list(map(len, rows))
            assert sum(int((block.lengths > 0).sum()) for block in slots.blocks) == len(rows)
            expected = torch.stack(
                [network(input_ids=torch.tensor([row])).logits[0, -1] for row in rows]
            )
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
            stay = torch.tensor([chance.random() < 0.8 for _ in rows])
            slots.release(places[~stay])
            rows, places = (
                [row for row, stays in zip(rows, stay, strict=True) if stays],
                places[stay],
            )
    assert min(seen.values()) > 0, seen


def test_a_block_is_made_for_rows_that_fit_nowhere_and_dropped_when_it_is_empty():
    slots = Slots(llama().config, dtype=torch.float32)

    def sizes():
        return [(block.size, block.columns) for block in slots.blocks]

    _, first = slots.take(torch.tensor([5, 3, 2, 2]), NOBODY)
    assert sizes() == [(4, 5 + SPARE)]
    slots.release(first[2:])
    first, more = slots.take(torch.tensor([30, 4, 3, 1]), first[:2])
    assert sizes() == [(4, 5 + SPARE), (2, 30 + SPARE)]  # the long one, and one that finds no slot
    slots.release(more[1:])
    running, _ = slots.take(NOBODY, torch.cat([first, more[:1]]))
    assert sizes() == [(4, 5 + SPARE), (2, 30 + SPARE)]
    slots.release(running[:2])
    assert sizes() == [(2, 30 + SPARE)]
    running, _ = slots.take(NOBODY, running[2:])
    assert slots.lengths_of(running).tolist() == [32]


def test_few_rows_in_many_slots_move_into_one_block():
    slots = Slots(llama().config, dtype=torch.float32)
    _, first = slots.take(torch.tensor([5, 4, 3]), NOBODY)
    first, second = slots.take(torch.tensor([9, 8, 7]), first)
    places = torch.cat([first[:1], second[1:]])
    slots.release(torch.cat([first[1:], second[:1]]))
    assert len(slots.blocks) == 2  # three rows in six slots
    slots.release(places[2:])
    running, _ = slots.take(NOBODY, places[:2])
    assert [(block.size, block.columns) for block in slots.blocks] == [(2, 9 + SPARE)]
    assert slots.lengths_of(running).tolist() == [7, 9]


def test_a_row_that_outgrows_its_block_moves_and_the_others_stay():
    slots = Slots(llama().config, dtype=torch.float32)
    _, running = slots.take(torch.tensor([5, 2]), NOBODY)
    for _ in range(SPARE):
        running, _ = slots.take(NOBODY, running)
    written = torch.randn(2, 2, 5 + SPARE, 8)
    slots.blocks[0].layers[2][:, 0] = written
    moved, _ = slots.take(NOBODY, running)
    assert moved[1] == running[1]
    assert moved[0] != running[0]
    assert [(block.size, block.columns) for block in slots.blocks] == [
        (2, 5 + SPARE),
        (1, 6 + 2 * SPARE),
    ]
    assert torch.equal(slots.blocks[1].layers[2][:, 0, :, : 5 + SPARE], written)
    assert slots.lengths_of(moved).tolist() == [6 + SPARE, 3 + SPARE]


def test_what_a_row_left_behind_is_not_read_by_the_next():
    slots = Slots(llama().config, dtype=torch.float32)
    states = [torch.randn(heads, 6, 8) for heads in (4, 2, 2)]
    _, taken = slots.take(torch.tensor([6, 6]), NOBODY)
    Prompts(slots, taken, 6).attend(0, *(part.repeat(1, 2, 1) for part in states), 1.0)
    slots.release(taken[:1])
    _, new = slots.take(torch.tensor([2]), taken[1:])
    assert new == taken[0]
    Prompts(slots, new, 2).attend(0, *(part[:, :2] for part in states), 1.0)
    running, _ = slots.take(NOBODY, new)
    found = LastTokens(slots, running).attend(0, *(part[:, 2:3] for part in states), 1.0)
    _, alone = slots.take(torch.tensor([3]), NOBODY)
    expected = Prompts(slots, alone, 3).attend(0, *(part[:, :3] for part in states), 1.0)[2:]
    torch.testing.assert_close(found, expected)


def test_prompts_are_read_as_many_as_fit_and_no_more_rows_are_written_at_once_than_allowed(
    monkeypatch, tokenizer
):
    monkeypatch.setattr(one_pass, "MOST_ROWS", 6)
    network = llama(vocab_size=259)
    chance = random.Random(2)
    prompts = [[chance.randrange(3, 259) for _ in range(chance.randint(1, 12))] for _ in range(30)]
    limits = [chance.randint(1, 12) for _ in prompts]
    seen, model, take = [], grouped(network), Slots.take

    def taken(self, lengths, running):
        found = take(self, lengths, running)
        seen.append((lengths.tolist(), len(running)))
        # Who is done has left.
        assert sum(int((block.lengths > 0).sum()) for block in self.blocks) == len(lengths) + len(
            running
        )
        return found

    monkeypatch.setattr(Slots, "take", taken)
    answers = generation.generate(model, tokenizer, prompts, limits=limits, batch_tokens=20)
    read = [lengths for lengths, running in seen if running < 6 and lengths]
    assert [*chain.from_iterable(read)] == sorted(map(len, prompts), reverse=True)
    assert all(
        sum(lengths) <= 20 < sum(lengths) + following[0] for lengths, following in pairwise(read)
    )
    assert {bool(lengths) for lengths, running in seen if running >= 6} == {False}
    for prompt, limit, answer in zip(prompts, limits, answers, strict=True):
        [alone] = generation.generate(model, tokenizer, [prompt], limits=[limit])
        assert answer.ids == alone.ids


@pytest.mark.parametrize(
    ("prompts", "read"),
    [
        ([[5, 6, 7, 8, 9], [5, 6, 7, 3], [5, 6, 7, 8]], [3 + 2 + 1 + 1]),
        (
            [[5, 6, 7, 8, 9], [5, 6, 7, 3], [5, 6]],
            [1 + 4 + 3 + 1],
        ),  # of each prompt one token more is read
        ([[5, 6, 7, 8, 9], [3, 6, 7, 8]], [5 + 4]),
        ([[5, 6, 7]] * 4, [2 + 4]),
        ([[5, 6, 7]], [3]),
        (
            [[5, 6] + [7 + i] * 8 for i in range(3)],
            [2 + 8 + 8, 8],
        ),  # 16 tokens at once, what is shared not counted
        ([], []),
    ],
)
def test_what_all_prompts_begin_with_is_read_once(prompts, read, tokenizer):
    model, seen = grouped(llama(vocab_size=259)), []
    model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    answers = generation.generate(
        model, tokenizer, prompts, limits=[1] * len(prompts), batch_tokens=16
    )
    assert seen == read
    for prompt, answer in zip(prompts, answers, strict=True):
        [alone] = generation.generate(model, tokenizer, [prompt], limits=[1])
        assert answer.ids == alone.ids
