"""The preallocated cache holds what the library's does, whatever grows, leaves or joins."""

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, MistralConfig

from pipelines.networks.key_value_cache import (
    SPARE,
    PreallocatedLayer,
    keep_rows,
    preallocated_cache,
)

CONFIG = LlamaConfig(
    num_hidden_layers=2, hidden_size=8, num_attention_heads=2, num_key_value_heads=2
)


def states(rows, columns, *, seed=0):
    """Keys and values (B, G, T, D)."""
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, 2, columns, 4, generator=random) for _ in "kv"]


def filled(cache, rows, columns, *, seed=0):
    for layer in range(2):
        cache.update(*states(rows, columns, seed=seed + layer), layer)
    return cache


def assert_equal(mine, theirs):
    assert mine.get_seq_length() == theirs.get_seq_length()
    for a, b in zip(mine.layers, theirs.layers, strict=True):
        assert torch.equal(a.keys, b.keys)
        assert torch.equal(a.values, b.values)


@pytest.mark.parametrize("steps", [1, SPARE, 2 * SPARE + 3])
def test_it_grows_as_the_librarys(steps):
    mine, theirs = preallocated_cache(CONFIG), DynamicCache(config=CONFIG)
    for cache in (mine, theirs):
        filled(cache, 3, 5)
        for step in range(steps):
            filled(cache, 3, 1, seed=step)
    assert_equal(mine, theirs)


def test_a_step_copies_nothing_while_there_is_room():
    cache = filled(preallocated_cache(CONFIG), 3, 5)
    before = cache.layers[0].keys.data_ptr()
    filled(cache, 3, 1)
    assert cache.layers[0].keys.data_ptr() == before


@pytest.mark.parametrize("kept", [[0, 1], [1, 3], [0, 2, 4], [4], [1, 2, 3, 4]])
def test_rows_that_stay_keep_their_states_and_go_on(kept):
    mine, theirs = (
        filled(cache, 5, 6) for cache in (preallocated_cache(CONFIG), DynamicCache(config=CONFIG))
    )
    order = keep_rows(mine, kept, torch.device("cpu"))
    assert sorted(order) == kept
    theirs.batch_select_indices(torch.tensor(order))
    assert_equal(mine, theirs)
    for cache in (mine, theirs):
        filled(cache, len(kept), 1, seed=9)
    assert_equal(mine, theirs)


def test_windows_are_the_librarys_and_rows_leave_them_too():
    config = MistralConfig(
        num_hidden_layers=2,
        hidden_size=8,
        num_attention_heads=2,
        num_key_value_heads=2,
        sliding_window=4,
    )
    mine, theirs = (
        filled(cache, 3, 6) for cache in (preallocated_cache(config), DynamicCache(config=config))
    )
    assert not any(isinstance(layer, PreallocatedLayer) for layer in mine.layers)
    assert keep_rows(mine, [1, 2], torch.device("cpu")) == [2, 1]
    theirs.batch_select_indices(torch.tensor([2, 1]))
    assert_equal(mine, theirs)


def test_batches_are_put_below_each_other_in_their_last_columns():
    upper, lower = (
        filled(preallocated_cache(CONFIG), 2, 6).layers[0],
        filled(preallocated_cache(CONFIG), 1, 3, seed=5).layers[0],
    )
    whole, short = upper.keys.clone(), lower.keys.clone()
    upper.stack([upper, lower], columns=4)
    assert upper.keys.shape == upper.values.shape == (3, 2, 4, 4)
    assert torch.equal(upper.keys[:2], whole[:, :, 2:])
    assert torch.equal(upper.keys[2:, :, 1:], short)
    assert not upper.keys[2, :, 0].any()  # what is not read has to be finite
