"""Rows to pretrain on: cutting, holding out, weights, and what is masked."""

from itertools import groupby

import numpy as np
import pytest
import tiny_encoder
import torch
from datasets import Dataset
from transformers import AutoTokenizer

from pipelines.corpora.text_files import survey
from pipelines.families.language_model import text_rows
from pipelines.families.language_model.masking import MaskingCollator
from pipelines.families.language_model.scoring import end_of_text
from pipelines.families.language_model.text_rows import CausalCut, MaskedCut, WeightedRows

PIECES = [(0, "flu"), (0, "a cat"), (1, "abcdefgh"), (2, "b"), (2, "[SEP]"), (2, "c, d")]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tiny_encoder.write(tmp_path_factory.mktemp("models") / "bert")
    return AutoTokenizer.from_pretrained(folder, mask_token="[UNK]")


def test_no_row_crosses_documents_and_nothing_is_lost(tokenizer):
    rows = list(MaskedCut(tokenizer, 7).rows(PIECES))
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert all(row["input_ids"][0] == start and row["input_ids"][-1] == end for row in rows)
    assert max(len(row["input_ids"]) for row in rows) == 7
    inside = [row["input_ids"][1:-1] for row in rows]
    wanted = []
    for _, group in groupby(PIECES, key=lambda piece: piece[0]):
        ids = []
        for _, text in group:
            ids += tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        wanted += [ids[first : first + 5] for first in range(0, len(ids), 5)]
    assert inside == wanted
    assert end not in [one for ids in inside for one in ids]  # `[SEP]` in a text is text


def test_rows_know_where_words_start(tokenizer):
    [row] = MaskedCut(tokenizer, 32).rows([(0, "flu, a")])
    tokens = tokenizer.convert_ids_to_tokens(row["input_ids"])
    assert tokens == ["[CLS]", "f", "##l", "##u", ",", "a", "[SEP]"]
    assert row["starts"] == [False, True, False, False, True, True, False]
    first, second = MaskedCut(tokenizer, 4).rows([(0, "flu")])
    assert first["starts"] == [False, True, False, False]
    assert second["starts"] == [False, True, False]  # the rest of a word begins one here


def test_held_out_documents_are_whole_and_copies_stay_together():
    pieces = [(number, f"{number % 50} {part}") for number in range(100) for part in "ab"]
    parts = [
        list(text_rows.held_out(pieces, share=0.3, seed=1, wanted=wanted))
        for wanted in (True, False)
    ]
    assert sorted(parts[0] + parts[1]) == sorted(pieces)
    held, kept = [{number for number, _ in part} for part in parts]
    assert not held & kept
    assert 15 <= len(held) <= 45
    assert held == {number for number in range(100) if number % 50 in {one % 50 for one in held}}
    other = {number for number, _ in text_rows.held_out(pieces, share=0.3, seed=2, wanted=True)}
    assert other != held
    assert not list(text_rows.held_out(pieces, share=0.0, seed=1, wanted=True))


def test_rows_on_disk_are_those_of_the_text_and_are_kept(tokenizer, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("\n".join(f"cat {number}" for number in range(60)), encoding="utf-8")
    files, cut = survey([str(file)]), MaskedCut(tokenizer, 16)
    train, held_out = text_rows.rows_of_files(
        tmp_path / "rows", files, cut, share=0.2, seed=3, show=False
    )
    together = [*train, *held_out]
    assert 0 < len(held_out) < 30
    wanted = list(cut.rows([(number, f"cat {number}") for number in range(60)]))
    key = repr
    assert sorted(together, key=key) == sorted(map(dict, wanted), key=key)
    file.unlink()
    again, _ = text_rows.rows_of_files(tmp_path / "rows", files, cut, share=0.2, seed=3, show=False)
    assert list(again) == list(train)
    assert not [path for path in (tmp_path / "rows").iterdir() if path.suffix != ".arrow"]


def rows_of(*texts):
    return [{"input_ids": ids, "starts": [True] * len(ids)} for ids in texts]


def test_weights_repeat_the_tasks_rows():
    own, other = rows_of([5, 6], [7]), rows_of([5, 8, 9])
    rows = WeightedRows(own, Dataset.from_list(other), weight=3)
    read = [rows[index]["input_ids"] for index in range(len(rows))]
    assert read == [[5, 6], [7]] * 3 + [[5, 8, 9]]
    assert rows.lengths == [2, 1, 2, 1, 2, 1, 3]
    assert rows.n_tokens == 12
    assert rows.token_counts(10).tolist() == [0, 0, 0, 0, 0, 4, 3, 3, 1, 1]
    draws = [rows[index]["draw"] for index in range(len(rows))]
    rows.set_epoch(1)
    assert len({*draws, *(rows[index]["draw"] for index in range(len(rows)))}) == 14
    assert WeightedRows([], Dataset.from_list(other)).lengths == [3]
    assert WeightedRows(own).token_counts(8).tolist() == [0, 0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("words", [False, True])
def test_masking_follows_the_draws_and_spares_special_tokens(tokenizer, words):
    cut = MaskedCut(tokenizer, 48)
    rows = [dict(row) for row in cut.rows([(n, f"cancer of cat {n}") for n in range(64)])]
    items = [row | {"draw": number} for number, row in enumerate(rows)]
    collate = MaskingCollator(tokenizer, mlm_probability=0.3, words=words, draw_seed=1)
    torch.manual_seed(0)
    batch = collate(items)
    again = collate(items)
    assert torch.equal(batch["labels"], again["labels"])
    assert torch.equal(batch["input_ids"], again["input_ids"])
    assert not torch.equal(
        collate([item | {"draw": 99 + item["draw"]} for item in items])["labels"], batch["labels"]
    )
    masked, counted = batch["labels"] != -100, 0
    for row, mask, label, ids in zip(
        rows, masked, batch["labels"], batch["input_ids"], strict=True
    ):
        size = len(row["input_ids"])
        assert not mask[0]
        assert not mask[size - 1 :].any()
        assert label[mask].tolist() == torch.tensor(row["input_ids"])[mask[:size]].tolist()
        assert ids[:size][~mask[:size]].tolist() == [
            one for one, hidden in zip(row["input_ids"], mask, strict=False) if not hidden
        ]
        counted += size - 2
        if words:
            inside = mask[1 : size - 1].tolist()
            numbers = np.cumsum(row["starts"])[1:-1].tolist()
            assert len(set(zip(numbers, inside, strict=True))) == len(set(numbers))
    assert 0.2 < int(masked.sum()) / counted < 0.4
    hidden = (batch["input_ids"] == tokenizer.mask_token_id) & masked
    assert 0.7 < int(hidden.sum()) / int(masked.sum()) < 0.9


# Rows for causal language models

DOCUMENTS = [(0, "one line"), (0, "and another"), (1, "a"), (2, "</s> is text here")]


@pytest.mark.parametrize("window", [2, 5, 12, 64])
def test_each_token_of_a_document_is_predicted_once_and_in_it(tiny_llama, window):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    rows = [row["input_ids"] for row in CausalCut(tokenizer, window).rows(DOCUMENTS)]
    assert max(map(len, rows)) == min(window, 22)
    assert min(map(len, rows)) >= 2
    documents = []
    for row in rows:
        if row[0] == begin:
            documents.append([begin])
        assert documents[-1][-1] == row[0]  # only read: what the row before predicted last
        documents[-1] += row[1:]
    wanted = ["one line\nand another", "a", "</s> is text here"]
    assert [ids[0] for ids in documents] == [begin] * 3
    assert [ids[-1] for ids in documents] == [end] * 3
    assert [tokenizer.decode(ids[1:-1]) for ids in documents] == wanted
    assert all(end not in ids[1:-1] for ids in documents)


def test_a_long_document_is_read_in_parts_and_loses_nothing(tiny_llama, monkeypatch):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    cut = CausalCut(tokenizer, 16)
    pieces = [(number, f"line {line}") for number in (0, 1) for line in range(20)]
    whole = list(cut.rows(pieces))
    monkeypatch.setattr(text_rows, "CHARACTERS_AT_ONCE", 30)
    assert len(list(text_rows.joined_lines(pieces))) == 8
    assert list(cut.rows(pieces)) == whole


def test_a_text_ends_as_in_pretraining_not_as_a_turn_does(tiny_llama):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    assert end_of_text(tokenizer) == tokenizer.eos_token_id
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|endoftext|>"]})
    assert end_of_text(tokenizer) == tokenizer.convert_tokens_to_ids("<|endoftext|>")


def test_rows_for_causal_models_lie_on_disk_alike(tiny_llama, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("\n".join(f"cat {number}" for number in range(60)), encoding="utf-8")
    cut = CausalCut(AutoTokenizer.from_pretrained(tiny_llama), 8)
    train, held_out = text_rows.rows_of_files(
        tmp_path / "rows", survey([str(file)]), cut, share=0.2, seed=3, show=False
    )
    wanted = list(cut.rows([(number, f"cat {number}") for number in range(60)]))
    assert sorted([*train, *held_out], key=repr) == sorted(map(dict, wanted), key=repr)
    assert 0 < len(held_out) < len(wanted) / 2
