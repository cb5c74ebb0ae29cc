"""Tiny encoders with random weights and a tokenizer of single letters, so that any text has tokens."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

WINDOW = 48
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
ENCODERS = {
    "bert": lambda size: BertModel(
        BertConfig(vocab_size=size, max_position_embeddings=WINDOW, **SIZES)
    ),
    "distilbert": lambda size: DistilBertModel(
        DistilBertConfig(
            vocab_size=size,
            max_position_embeddings=WINDOW,
            dim=16,
            n_layers=2,
            n_heads=2,
            hidden_dim=24,
        )
    ),
    "roberta": lambda size: RobertaModel(
        RobertaConfig(vocab_size=size, max_position_embeddings=WINDOW + 1, pad_token_id=0, **SIZES)
    ),
    "deberta-v2": lambda size: DebertaV2Model(
        DebertaV2Config(
            vocab_size=size, max_position_embeddings=WINDOW, pooler_hidden_size=16, **SIZES
        )
    ),
}


def write(folder: Path, kind: str = "bert") -> Path:
    """Writes an encoder without a head, and its tokenizer."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'-!?"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    letter_pieces = Tokenizer(
        models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    letter_pieces.normalizer = normalizers.Lowercase()
    letter_pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letter_pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if kind == "bert" else [])
    PreTrainedTokenizerFast(
        tokenizer_object=letter_pieces,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=WINDOW,
        model_input_names=names,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    model = ENCODERS[kind](len(pieces))
    with torch.no_grad():
        for parameter in model.parameters():  # so that texts differ more than by rounding
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    return folder
