"""Fine-tuning a token tagger: rows, what is trained and how fast, the loss, and the trainer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModel, EarlyStoppingCallback, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.cpu.attention import attend_plainly
from pipelines.cpu.dropout import cheap_dropout
from pipelines.cpu.trained_rows import only_rows
from pipelines.errors import UserError
from pipelines.evaluation.span_scores import score_spans
from pipelines.examples import Example, Span
from pipelines.families.batching import LengthBatchSampler
from pipelines.families.token_tagger import Loaded, collate, extra_inputs, labels_of, load_network, predict
from pipelines.families.token_tagger.units import Settings, encode, gold_tags, unreachable
from pipelines.families.training.averaging import AveragingTrainer
from pipelines.networks import precision, weights
from pipelines.networks.encoder_config import OnEncoderConfig, config_labels, follow_labels
from pipelines.networks.encoder_tagger import EncoderTagger, EncoderTaggerConfig

IGNORED = -100
TUNED = ("full", "lora", "head", "last_n")
METRICS = ("strict_f1", "strict_precision", "strict_recall")


class Rows(NamedTuple):
    """Windows as token ids and labels, and what of the gold they cannot say.

    Attributes:
        rows: `input_ids`, `labels` (-100 but at the first sub-word of each unit) and what else the model takes.
        lost: mentions that perfect tags would not give back, with their example's id.
        empty: ids of examples without a unit, which train nothing.
        long: ids of examples longer than a window, cut into several.
    """

    rows: list[dict[str, Any]]
    lost: list[tuple[str, Span]]
    empty: list[str]
    long: list[str]


def training_rows(examples: Sequence[Example], model: Any, tokenizer: PreTrainedTokenizerBase,
                  settings: Settings) -> Rows:
    """Cuts, aligns and labels examples; types that the model does not have cannot be said, and count as lost."""
    numbers = {label: number for number, label in enumerate(labels_of(model))}
    found = Rows([], [], [], [])
    for example, encoded in zip(examples, encode(examples, tokenizer, settings), strict=True):
        tags = [tag if tag in numbers else "O" for tag in gold_tags(example, encoded.offsets)]
        found.lost.extend((example.id, span) for span in unreachable(example, tags, encoded.offsets))
        if not encoded.windows:
            found.empty.append(example.id)
        if len(encoded.windows) > 1:
            found.long.append(example.id)
        for window in encoded.windows:
            labels = [IGNORED] * len(window.input_ids)
            for position, unit in zip(window.positions, window.units, strict=True):
                labels[position] = numbers[tags[unit]]
            found.rows.append({"input_ids": window.input_ids, "labels": labels, **extra_inputs(model, window.words)})
    return found


class NewModel(NamedTuple):
    """A model to train; `new` are the weights that its checkpoint lacks, or has for other tags."""

    model: PreTrainedModel
    new: list[str]


def new_model(name: str, tags: Sequence[str], *, case_feature: bool = False, crf: bool = False,
              dropout: float | None = None, **options: Any) -> NewModel:
    """Puts a tagging head on a checkpoint: the library's own, or ours where a case feature or a CRF is asked for.

    Args:
        dropout: in place of the checkpoint's own, throughout.
        options: for `from_pretrained`.

    Raises:
        UserError: when the checkpoint cannot be had, is no encoder, or has no place for a case feature.
    """
    names: dict[str, Any] = {"id2label": dict(enumerate(tags)),
                             "label2id": {tag: number for number, tag in enumerate(tags)}}
    changed = {} if dropout is None else dict.fromkeys(
        ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"), dropout)
    try:
        config = AutoConfig.from_pretrained(weights.resolve(name))
        changed = {key: value for key, value in changed.items() if hasattr(config, key)}
        ours = config.model_type == EncoderTaggerConfig.model_type
        if ours:  # the parts asked for now, whatever it was trained with; but what sees case goes on seeing it
            changed |= {"crf": crf, "case_feature": case_feature or config.case_feature}
        if ours or not (case_feature or crf):
            model, new = load_network(name, ignore_mismatched_sizes=True, **names, **changed, **options)
            _check_case(model, name)
            return NewModel(model, follow_labels(model, config_labels(config), new=new))
        encoder = AutoModel.from_pretrained(weights.resolve(name), dtype=torch.float32, **changed, **options)
    except (OSError, ValueError) as error:
        raise weights.unavailable(name, error) from error
    head = EncoderTaggerConfig(encoder=encoder.config, case_feature=case_feature, crf=crf,
                               dropout=0.1 if dropout is None else dropout,
                               pad_token_id=encoder.config.pad_token_id, **names)
    model = EncoderTagger(head, encoder)
    _check_case(model, name)
    return NewModel(model, [key for key, _ in model.named_parameters() if not key.startswith("encoder.")])


def _check_case(model: Any, name: str) -> None:
    """Refuses a case feature where one vector does not fit both places that it is added to (ELECTRA, ALBERT)."""
    if getattr(model, "case_embeddings", None) is not None:
        width, hidden = model.encoder.get_input_embeddings().embedding_dim, model.config.hidden_size
        if width != hidden:
            raise UserError(f"got --case_feature true, which is added to embeddings and states alike; {name} has "
                            f"embeddings of {width} numbers and states of {hidden}; leave it out")


def choose_trained(model: PreTrainedModel, tune: str, *, last_n: int = 2, lora: LoraConfig | None = None) -> None:
    """Freezes what is not trained: nothing (`full`), the encoder (`head`), its lower part (`last_n`), or the encoder
    but for adapters (`lora`).

    Raises:
        UserError: for an unknown mode, or more layers than there are.
    """
    if tune not in TUNED:
        raise UserError(f"got --tune {tune}; wanted one of {', '.join(TUNED)}")
    encoder = model.base_model
    if encoder is model:
        raise UserError("the model has no encoder apart from its head; take --tune full")
    if tune == "lora":
        setattr(model, model.base_model_prefix, get_peft_model(encoder, lora or LoraConfig()))
    elif tune != "full":
        layers = 1 + max((_layer(name) for name, _ in encoder.named_parameters()), default=-1)
        if tune == "last_n" and not 0 < last_n <= layers:
            raise UserError(f"got --last_n {last_n}; the encoder has {layers} layers")
        first = layers if tune == "head" else layers - last_n
        for name, parameter in model.named_parameters():
            if not _above(model, name):
                parameter.requires_grad = tune != "head" and _layer(name) >= first


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    """Modules with weights of which none is trained: in eval mode, for dropout there would only be noise."""
    return [module for module in model.modules()
            if (parameters := list(module.parameters())) and not any(weight.requires_grad for weight in parameters)]


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """The model with its adapters, if it has any, merged into the encoder."""
    encoder = model.base_model
    if hasattr(encoder, "merge_and_unload"):
        setattr(model, model.base_model_prefix, encoder.merge_and_unload())  # type: ignore[operator]
    return model


def _layer(name: str) -> int:
    """Number of the layer that a parameter of an encoder belongs to; -1 for what lies below or beside."""
    found = re.search(r"\blayers?\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _above(model: PreTrainedModel, name: str) -> bool:
    """Whether a parameter reads what the encoder's last layer gives: the head, and BERT's pooler below it.

    Our own networks read the states of tokens; the pooler of their encoder is idle.
    """
    pools = ".pooler." in name and not isinstance(model.config, OnEncoderConfig)
    return pools or not name.startswith(f"{model.base_model_prefix}.")


def parameter_groups(model: PreTrainedModel, *, learning_rate: float, weight_decay: float, layer_decay: float = 1.0,
                     head_rate: float = 1.0) -> list[dict[str, Any]]:
    """Groups for the optimizer, each with its rate.

    The top layer of the encoder has the learning rate, each layer below that of the next times `layer_decay`
    (discriminative fine-tuning, Howard and Ruder 2018, section 3.2), embeddings one layer below the first; the head,
    its pooler counted, `head_rate` times the learning rate. Biases and norms are not decayed.
    """
    layers = 1 + max((_layer(name) for name, _ in model.named_parameters()), default=-1)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = head_rate if _above(model, name) else layer_decay ** (layers - 1 - _layer(name))
            decay = 0.0 if parameter.ndim < 2 else weight_decay
            groups.setdefault((learning_rate * scale, decay), []).append(parameter)
    return [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()]


def tag_weights(rows: Sequence[Mapping[str, Any]], num_tags: int, *, power: float) -> Tensor:
    """(C,) weights frequency ** -power, scaled so that the mean over the tags of the rows is 1."""
    counts = Counter(label for row in rows for label in row["labels"] if label != IGNORED)
    frequency = torch.tensor([max(1, counts[tag]) for tag in range(num_tags)], dtype=torch.float64)
    weights_ = frequency ** -power
    return (weights_ * frequency.sum() / (weights_ * frequency).sum()).float()


def tag_loss(logits: Tensor, labels: Tensor, *, weight: Tensor | None = None, focal_gamma: float = 0.0,
             label_smoothing: float = 0.0) -> Tensor:
    """Summed loss of tags: cross-entropy, times (1 - p) ** gamma for a focal one (Lin et al. 2017, equation 4).

    Args:
        logits: (N, C).
        labels: (N,).
        weight: (C,).
    """
    losses = cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)              # (N,)
    if focal_gamma:
        likelihood = logits.softmax(-1).gather(1, labels[:, None])[:, 0]
        losses = losses * (1 - likelihood) ** focal_gamma
    return ((weight.to(labels.device)[labels] * losses) if weight is not None else losses).sum()


def half_copies(asked: bool | None, training: Any) -> bool:
    """Whether a step computes in bf16 copies of the weights: as asked, else on a CPU that has bf16, where it can.

    Raises:
        UserError: where it is asked for and cannot be.
    """
    # Gradient checkpointing computes the states anew, and DDP gathers gradients, by the weights that are not copies.
    against = "gradient_checkpointing" if training.gradient_checkpointing else \
        f"{training.world_size} processes" if training.world_size > 1 else None
    if asked and against:
        raise UserError(f"got --half_copies true with {against}, which do not go together; leave one of them out")
    if asked is not None:
        return asked
    return bool(training.bf16 and precision.choose().device == "cpu" and not against)


class EarlyStopping(EarlyStoppingCallback):
    """Transformers', which goes on counting where the checkpoint that is resumed from stood."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        super().on_train_begin(args, state, control, **keywords)
        counted = state.stateful_callbacks.get(type(self).__name__, {}).get("attributes", {})
        self.early_stopping_patience_counter = counted.get("early_stopping_patience_counter", 0)


def choose_on_dev(training: Any, dev: Sequence[Example], patience: int | None) -> list[EarlyStopping]:
    """Gives the callback that stops early; without dev, or where dev is not scored, turns scoring off.

    Raises:
        UserError: for `--early_stopping_patience` where dev is not scored.
    """
    if dev and training.eval_strategy != "no":
        return [EarlyStopping(patience)] if patience else []
    if patience:
        raise UserError(f"got --early_stopping_patience {patience}, but "
                        f"{'--eval_strategy no: dev is not scored' if dev else 'no --dev_file to score'}; leave it out")
    training.eval_strategy, training.load_best_model_at_end = "no", False
    return []


class TaggerTrainer(AveragingTrainer):
    """Batches of one length, a rate for each layer, and best checkpoint by strict F1 against all gold mentions.

    Only the tagged positions enter the loss, and no logits are gathered: dev is predicted as `predict` does. On a CPU
    attention, dropout and word embeddings are those of `pipelines.networks` that are fast there.

    Args:
        dev: examples that checkpoints are compared on.
        batch_tokens: sub-words of a batch, padding counted; without it, batches of rows in random order.
        half_copies: compute in a bf16 copy of the weights, made anew in each step, instead of under autocast: norms and
            activations are bf16 too. What is trained and saved stays float32. For a single process.
    """

    def __init__(self, *arguments: Any, dev: Sequence[Example] = (), settings: Settings,
                 batch_tokens: int | None = None, layer_decay: float = 1.0, head_rate: float = 1.0,
                 weight: Tensor | None = None, focal_gamma: float = 0.0, half_copies: bool = False, **keywords: Any):
        pad = keywords["processing_class"].pad_token_id or 0
        super().__init__(*arguments, **keywords | {"data_collator": partial(collate, pad=pad)})
        self.dev, self.settings, self.batch_tokens = dev, settings, batch_tokens
        self.layer_decay, self.head_rate = layer_decay, head_rate
        self.weight, self.focal_gamma, self.half_copies = weight, focal_gamma, half_copies
        self._frozen: list[nn.Module] | None = None
        self.model_accepts_loss_kwargs = True  # so that `num_items_in_batch` counts the tags of a whole step

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.batch_tokens is None:
            return super()._get_train_sampler(train_dataset)
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        return LengthBatchSampler([len(row["input_ids"]) for row in rows], batch_tokens=self.batch_tokens,
                                  processes=self.args.world_size, rank=self.args.process_index, seed=self.args.seed)

    def train(self, *arguments: Any, **keywords: Any) -> Any:
        network: Any = self.accelerator.unwrap_model(self.model)
        with ExitStack() as stack:
            if self.accelerator.device.type == "cpu":
                attend_plainly(network)
                stack.enter_context(cheap_dropout(network))
                if self.args.weight_decay == 0 and "adamw" in self.args.optim:
                    stack.enter_context(only_rows(network, self._ids_read()))
            return super().train(*arguments, **keywords)

    def _ids_read(self) -> Tensor:
        rows: Any = self.train_dataset
        tokenizer: Any = self.processing_class
        padding = tokenizer.pad_token_id or 0
        return torch.cat([torch.tensor([padding]), *(torch.as_tensor(row["input_ids"]) for row in rows)]).unique()

    def create_optimizer(self, *arguments: Any, **keywords: Any) -> torch.optim.Optimizer:
        if self.optimizer is None:
            network: Any = self.model
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, network)
            rate = options.pop("lr")
            self.optimizer = kind(parameter_groups(
                network, learning_rate=rate, weight_decay=self.args.weight_decay, layer_decay=self.layer_decay,
                head_rate=self.head_rate), lr=rate, **options)
        return self.optimizer

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False,
                     num_items_in_batch: Any = None) -> Any:
        plain = self.accelerator.unwrap_model(model)
        self.keep_frozen_steady(plain)
        labels = inputs.pop("labels")
        tagged = labels != IGNORED
        count = num_items_in_batch if num_items_in_batch is not None else tagged.sum()
        if getattr(plain, "crf", None) is not None:
            # In its own forward: DDP does not know of weights that are used outside.
            outputs = self._outputs(model, {**inputs, "labels": labels, "num_items_in_batch": count})
            loss = outputs.loss
        else:
            outputs = self._outputs(model, inputs)
            loss = tag_loss(outputs.logits[tagged].float(), labels[tagged], weight=self.weight,
                            focal_gamma=self.focal_gamma, label_smoothing=self.args.label_smoothing_factor) / count
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def keep_frozen_steady(self, model: nn.Module) -> None:
        """The trainer puts everything in training mode before each step."""
        if self._frozen is None:
            self._frozen = frozen_modules(model)
        for module in self._frozen:
            module.training = False

    def _outputs(self, model: Any, inputs: dict[str, Any]) -> Any:
        if not self.half_copies:
            return model(**inputs)
        halves = {name: parameter.to(torch.bfloat16) for name, parameter in model.named_parameters()
                  if not name.startswith("crf.")}  # its sums are of whole texts
        return functional_call(model, halves, kwargs=inputs)

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Predicts the dev examples and scores them."""
        model = self.accelerator.unwrap_model(self.model)
        tokenizer: Any = self.processing_class
        with self.averaged():
            predictions = predict(Loaded(model, tokenizer, self.settings), self.dev, progress=False)
        strict = score_spans([example.spans or () for example in self.dev],
                             [prediction.spans or () for prediction in predictions])["strict"]
        metrics = {f"{metric_key_prefix}_strict_{name}": strict[name] for name in ("precision", "recall", "f1")}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
