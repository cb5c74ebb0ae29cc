"""A tiny BERT with random weights and an uncased WordPiece tokenizer of some words and single letters."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForTokenClassification, BertModel, PreTrainedTokenizerFast

from pipelines.examples import Example, Span
from pipelines.networks.span_tagger import SpanTagger, SpanTaggerConfig

TAGS = ["O", "B-D", "I-D"]
NAMES = {
    "id2label": dict(enumerate(TAGS)),
    "label2id": {tag: number for number, tag in enumerate(TAGS)},
}
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def word_pieces() -> PreTrainedTokenizerFast:
    """An uncased WordPiece tokenizer: some words, and single letters for the rest."""
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "colon",
        "cancer",
        "the",
        "of",
        "no",
        "flu",
        *LETTERS,
        *(f"##{letter}" for letter in LETTERS),
        *".,-()",
    ]
    model = Tokenizer(
        models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    )
    model.normalizer, model.pre_tokenizer = (
        normalizers.BertNormalizer(),
        pre_tokenizers.BertPreTokenizer(),
    )
    model.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )


def bert_config(**options):
    return BertConfig(
        vocab_size=90,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        **options,
    )


def tagger() -> BertForTokenClassification:
    torch.manual_seed(0)
    return BertForTokenClassification(bert_config(initializer_range=0.5, **NAMES)).eval()


def write(folder: Path) -> Path:
    """Writes it without a tagging head."""
    torch.manual_seed(0)
    BertModel(bert_config()).save_pretrained(folder)
    word_pieces().save_pretrained(folder)
    return folder


def example(text, *spans, **options):
    return Example("0", text, spans=tuple(Span(start, end, "D") for start, end in spans), **options)


def span_tagger(types, **options):
    """A network with random weights that scores spans of up to three units."""
    torch.manual_seed(0)
    config = SpanTaggerConfig(
        encoder=bert_config(initializer_range=0.5),
        span_size=8,
        id2label=dict(enumerate(types)),
        label2id={label: number for number, label in enumerate(types)},
        **{"max_width": 3} | options,
    )
    return SpanTagger(config).eval()
