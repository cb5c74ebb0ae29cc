"""Training batches of one length: every row once, within the budget, in a seeded order."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipelines.families.training.batches import LengthBatchSampler


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    budget=st.integers(1, 200),
    processes=st.integers(1, 4),
    seed=st.integers(0, 3),
    epoch=st.integers(0, 3),
)
def test_batches_hold_every_row_once_within_the_budget(lengths, budget, processes, seed, epoch):
    samplers = [
        LengthBatchSampler(lengths, batch_tokens=budget, processes=processes, rank=rank, seed=seed)
        for rank in range(processes)
    ]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    ranks = [list(sampler) for sampler in samplers]
    # The same number of batches on each rank and in each epoch, as announced.
    assert {len(batches) for batches in ranks} == {len(samplers[0])}
    samplers[0].set_epoch(epoch + 1)
    assert len(list(samplers[0])) == len(samplers[0])
    batches = [batch for batches in ranks for batch in batches]
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget
    # Every row once, but for the last group, which may be filled up with its own batches.
    distinct = {tuple(batch) for batch in batches}
    assert sorted(row for batch in distinct for row in batch) == list(range(len(lengths)))
    assert len(batches) - len(distinct) < processes
    steps = [{tuple(batches[step]) for batches in ranks} for step in range(len(samplers[0]))]
    assert sum(len(step) < processes for step in steps) <= 1


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60), budget=st.integers(1, 200))
def test_a_row_of_the_next_batch_would_have_passed_the_budget(lengths, budget):
    batches = sorted(
        (
            sorted(lengths[row] for row in batch)
            for batch in LengthBatchSampler(lengths, batch_tokens=budget)
        ),
        key=lambda batch: batch[0],
    )
    for batch, following in pairwise(batches):
        assert batch[-1] <= following[0]
        assert (len(batch) + 1) * following[0] > budget


def order(seed, epoch):
    sampler = LengthBatchSampler([7] * 40 + [3] * 40, batch_tokens=28, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_the_order_follows_from_seed_and_epoch():
    assert order(0, 1) == order(0, 1)
    assert len({str(order(seed, epoch)) for seed in (0, 10) for epoch in (0, 1)}) == 4
    # Not only the order of the batches changes but who is with whom.
    assert {frozenset(batch) for batch in order(0, 0)} != {
        frozenset(batch) for batch in order(0, 1)
    }
