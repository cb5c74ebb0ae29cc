"""Slots for keys and values: what is read from them is what was written, whoever comes, grows or leaves."""

import copy
import random

import pytest
import torch
from test_llama_layers import lean, llama

from pipelines.families import generation
from pipelines.networks.cpu_attention import attend_plainly
from pipelines.networks.key_value_slots import ROOM, LastTokens, Prompts, Slots


def plain(network):
    network = copy.deepcopy(network)
    attend_plainly(network)
    return network


@pytest.mark.parametrize("make", [lean, plain], ids=["lean", "library's"])
def test_passes_over_rows_that_come_grow_and_leave_give_the_logits_of_each_row_alone(make):
    network, chance = llama(), random.Random(1)
    model, slots = make(network), Slots(network.config, dtype=torch.float32)
    rows, places, moved, reused = [], torch.zeros(0, dtype=torch.long), 0, 0
    with torch.inference_mode():
        for step in range(40):
            new = [[chance.randrange(20) for _ in range(length)] for length in
                   sorted((chance.randint(1, 9) for _ in range(chance.randint(not rows, 4) if step < 25 else not rows)),
                          reverse=True)]
            for row in rows:
                row.append(chance.randrange(20))
            before, free = places, len(slots.lengths)
            places, taken, logits = generation.read(model, slots, new, [row[-1] for row in rows], places)
            moved += not torch.equal(before, places)
            reused += len(slots.lengths) == free and len(new)
            rows, places = [*new, *rows], torch.cat([taken, places])
            assert len(set(places.tolist())) == len(places)
            assert slots.lengths[places].tolist() == list(map(len, rows))
            assert int((slots.lengths > 0).sum()) == len(rows)
            expected = torch.stack([network(input_ids=torch.tensor([row])).logits[0, -1] for row in rows])
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
            stay = torch.tensor([chance.random() < 0.8 for _ in rows])
            slots.leave(places[~stay])
            rows, places = [row for row, stays in zip(rows, stay, strict=True) if stays], places[stay]
    assert moved > 3      # laid out anew
    assert reused > 5     # without that


def test_slots_are_laid_out_anew_for_more_rows_for_longer_ones_and_for_half_as_many():
    slots = Slots(llama().config, dtype=torch.float32)

    def size():
        return slots.layers[0][0].shape[0], slots.layers[0][0].shape[2]

    nobody, running = torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    _, running = slots.take(torch.tensor([5, 3, 2, 2]), running)
    assert size() == (5, 5 + ROOM)
    for _ in range(ROOM):
        running, _ = slots.take(nobody, running)
    assert size() == (5, 5 + ROOM)
    running, _ = slots.take(nobody, running)
    assert size() == (5, 6 + 2 * ROOM)
    running, new = slots.take(torch.tensor([30, 1]), running)
    assert size() == (7, 30 + ROOM)
    slots.leave(torch.cat([running[1:], new[:1]]))
    running, _ = slots.take(nobody, torch.cat([running[:1], new[1:]]))
    assert size() == (2, 24 + ROOM)
    assert slots.lengths[running].tolist() == [24, 2]


def test_what_a_row_left_behind_is_not_read_by_the_next():
    slots = Slots(llama().config, dtype=torch.float32)
    states = [torch.randn(heads, 6, 8) for heads in (4, 2, 2)]
    _, taken = slots.take(torch.tensor([6]), torch.zeros(0, dtype=torch.long))
    Prompts(slots, taken, 6).attend(0, *states, 1.0)
    slots.leave(taken)
    _, taken = slots.take(torch.tensor([2]), torch.zeros(0, dtype=torch.long))
    short = [part[:, :2] for part in states]
    Prompts(slots, taken, 2).attend(0, *short, 1.0)
    running, _ = slots.take(torch.zeros(0, dtype=torch.long), taken)
    last = LastTokens(slots, running)
    found = last.attend(0, *(part[:, 2:3] for part in states), 1.0)
    # The third token of a row of three.
    expected = Prompts(slots, running, 3).attend(0, *(part[:, :3] for part in states), 1.0)[2:]
    torch.testing.assert_close(found, expected)


def test_no_more_rows_than_allowed_are_written_at_once(monkeypatch, tokenizer):
    monkeypatch.setattr(generation, "ROWS_AT_ONCE", 6)
    network = llama(vocab_size=259)
    chance = random.Random(2)
    prompts = [[chance.randrange(3, 259) for _ in range(chance.randint(1, 12))] for _ in range(30)]
    limits = [chance.randint(1, 12) for _ in prompts]
    seen, model = [], lean(network)
    leave = Slots.take
    monkeypatch.setattr(Slots, "take", lambda self, lengths, running: (
        seen.append((len(lengths), len(running))), leave(self, lengths, running))[1])
    answers = generation.generate(model, tokenizer, prompts, limits=limits, batch_tokens=20)
    assert all(not new or running < 6 for new, running in seen)
    assert any(not new and running >= 6 for new, running in seen)
    for prompt, limit, answer in zip(prompts, limits, answers, strict=True):
        [alone] = generation.generate(model, tokenizer, [prompt], limits=[limit])
        assert answer.ids == alone.ids
