"""The shape of everything inside one transformer layer: run without data, and by formula.

The layer is the library's own (DistilBERT, BERT, Llama with grouped-query attention, …), run on
torch's meta device, which computes shapes and no numbers. Each shape is predicted from the sizes
and compared with what ran; so are the parameters and the multiply-adds.

B texts, T tokens, H width, A heads, K key-value heads, d width of a head, F width of the
feed-forward network (Vaswani et al. 2017, section 3; Ainslie et al. 2023 for K < A).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, PreTrainedConfig

from pipelines.errors import UserError
from pipelines.studies.layer_sizes import ENCODER_KINDS, KINDS, Sizes, has_bias, room_for, sizes_of
from pipelines.studies.layer_trace import Shape, Trace


class Step(NamedTuple):
    """What a layer computes at some point, and the formula of its shape.

    Attributes:
        name: for a reader.
        where: the module in the layer, or `module/function` for what attention itself computes.
        shape: a formula for each dimension.
        parameters: the formula of the module's own parameters; empty for none.
    """

    name: str
    where: str
    shape: tuple[str, ...]
    parameters: str = ""


@dataclass(frozen=True, slots=True)
class StepShape:
    """A step and what it was when the layer ran.

    Attributes:
        formula: the shape by formula.
        shape: the shape that was seen.
        formula_parameters, parameters: the same of the number of parameters.
        dropout: the probability, of a dropout.
    """

    step: Step
    formula: Shape
    shape: Shape
    formula_parameters: int
    parameters: int
    dropout: float | None = None

    @property
    def agrees(self) -> bool:
        return self.formula == self.shape and self.formula_parameters == self.parameters


@dataclass(frozen=True, slots=True)
class Count:
    """A number that was counted, and its closed form."""

    formula: str
    value: int
    counted: int

    @property
    def agrees(self) -> bool:
        return self.value == self.counted


@dataclass(frozen=True, slots=True)
class LayerShapes:
    """One layer that ran: its steps in order, its parameters and multiply-adds of a forward pass.

    Attributes:
        kind: the model type.
        layers: of the whole model.
    """

    kind: str
    sizes: Sizes
    layers: int
    steps: list[StepShape]
    parameters: Count
    multiply_adds: Count

    @property
    def agrees(self) -> bool:
        counts = self.parameters.agrees and self.multiply_adds.agrees
        return counts and all(step.agrees for step in self.steps)


STATES, HEADS = ("B", "T", "H"), ("B", "A", "T", "d")
MAP, WIDE = ("B", "A", "T", "T"), ("B", "T", "F")
INPUT = Step("layer input", "input", STATES)


def encoder_steps(kind: str) -> list[Step]:
    """The steps of a layer of DistilBERT, or of BERT and what is built like it."""
    if kind == "distilbert":
        attention, query, key, value = "attention", "q_lin", "k_lin", "v_lin"
        out = "attention.out_lin"
        after: list[Step] = []
        names = ["sa_layer_norm", "ffn.lin1", "ffn.activation", "ffn.lin2", "ffn.dropout"]
        last = "output_layer_norm"
    else:
        attention, query, key, value = "attention.self", "query", "key", "value"
        out = "attention.output.dense"
        after = [Step("dropout after attention", "attention.output.dropout", STATES)]
        names = ["attention.output.LayerNorm", "intermediate.dense"]
        names += ["intermediate.intermediate_act_fn", "output.dense", "output.dropout"]
        last = "output.LayerNorm"
    norm, widen, activation, narrow, dropout = names
    square = "H·H + H"
    projections: list[Step] = []
    for name, module in (("Q", query), ("K", key), ("V", value)):
        projections.append(Step(name, f"{attention}.{module}", STATES, square))
        projections.append(Step(f"{name} per head", f"{attention}/transpose", HEADS))
    return [
        INPUT,
        *projections,
        *attention_steps(attention),
        Step("output projection", out, STATES, square),
        *after,
        Step("add and normalise", norm, STATES, "2·H"),
        Step("feed-forward, wide", widen, WIDE, "H·F + F"),
        Step("activation", activation, WIDE),
        Step("feed-forward, narrow", narrow, STATES, "F·H + H"),
        Step("dropout after feed-forward", dropout, STATES),
        Step("add and normalise: layer output", last, STATES, "2·H"),
    ]


def attention_steps(attention: str) -> list[Step]:
    """What attention computes from the heads of Q, K and V."""
    return [
        Step("K transposed", f"{attention}/transpose", ("B", "A", "d", "T")),
        Step("scores Q K^T / √d", f"{attention}/matmul", MAP),
        Step("attention map (softmax)", f"{attention}/softmax", MAP),
        Step("dropout of the attention map", f"{attention}/dropout", MAP),
        Step("weighted sum of V", f"{attention}/matmul", HEADS),
        Step("heads beside each other", f"{attention}/transpose", ("B", "T", "A", "d")),
        Step("heads joined", f"{attention}/reshape", ("B", "T", "A·d")),
    ]


def llama_steps(config: PreTrainedConfig, sizes: Sizes) -> list[Step]:
    """The steps of a layer of Llama or Mistral."""
    bias, mlp_bias = has_bias(config, "attention_bias"), has_bias(config, "mlp_bias")
    few = ("B", "K", "T", "d")
    projections: list[Step] = []
    for name, heads, shape in (("Q", "A", HEADS), ("K", "K", few), ("V", "K", few)):
        size = f"H·{heads}·d" + (f" + {heads}·d" if bias else "")
        module = f"self_attn.{name.lower()}_proj"
        projections.append(Step(name, module, ("B", "T", f"{heads}·d"), size))
        projections.append(Step(f"{name} per head", "self_attn/transpose", shape))
    repeated: list[Step] = []
    if sizes.K < sizes.A:
        for name in ("K", "V"):
            repeated.append(Step(f"{name} for all heads", "self_attn/reshape", HEADS))
    wide = "H·F + F" if mlp_bias else "H·F"
    return [
        INPUT,
        Step("normalise", "input_layernorm", STATES, "H"),
        *projections,
        *repeated,
        *attention_steps("self_attn"),
        Step("output projection", "self_attn.o_proj", STATES, "A·d·H" + (" + H" if bias else "")),
        Step("add and normalise", "post_attention_layernorm", STATES, "H"),
        Step("feed-forward, gate", "mlp.gate_proj", WIDE, wide),
        Step("activation of the gate", "mlp.act_fn", WIDE),
        Step("feed-forward, wide", "mlp.up_proj", WIDE, wide),
        Step("feed-forward, narrow", "mlp.down_proj", STATES, "F·H" + (" + H" if mlp_bias else "")),
        Step("add: layer output", "output", STATES),
    ]


def parameter_formula(kind: str, config: PreTrainedConfig) -> str:
    """The closed form of a layer's parameters."""
    if kind in ENCODER_KINDS:
        return "4·H·H + 2·H·F + 9·H + F"
    formula = "2·H·A·d + 2·H·K·d + 3·H·F + 2·H"
    if has_bias(config, "attention_bias"):
        formula += " + A·d + 2·K·d + H"
    return formula + (" + 2·F + H" if has_bias(config, "mlp_bias") else "")


def multiply_add_formula(kind: str) -> str:
    """The closed form of a layer's multiply-adds: projections, the two sums of attention."""
    feed_forward = "2·B·T·H·F" if kind in ENCODER_KINDS else "3·B·T·H·F"
    return f"2·B·T·H·A·d + 2·B·T·H·K·d + {feed_forward} + 2·B·A·T·T·d"


def layer_shapes(config: PreTrainedConfig, *, batch: int, tokens: int) -> LayerShapes:
    """Runs one layer of a model in training mode, on the meta device, and compares.

    Args:
        config: of a model of one of `KINDS`.

    Raises:
        UserError: for a model of another kind, or sizes that it cannot have.
    """
    kind = config.model_type
    if kind not in KINDS:
        raise UserError(f"the layers of a {kind} are not known; wanted one of {', '.join(KINDS)}")
    sizes = sizes_of(config, batch=batch, tokens=tokens)
    layers = int(config.num_hidden_layers)
    config = type(config).from_dict(config.to_dict())  # the caller's stays as it is
    config.num_hidden_layers = 1
    room_for(config, tokens)
    with torch.device("meta"):
        model = AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float32)
        input_ids = torch.zeros(batch, tokens, dtype=torch.long)  # (B, T)
    layer = _first_layer(model)
    trace = Trace(layer)
    counter = FlopCounterMode(display=False)
    with trace.recording(), counter:
        model.train()(input_ids=input_ids)
    steps = encoder_steps(kind) if kind in ENCODER_KINDS else llama_steps(config, sizes)
    shapes = [_compared(step, sizes, trace) for step in steps]
    counted = sum(parameter.numel() for parameter in layer.parameters())
    formula = parameter_formula(kind, config)
    products = multiply_add_formula(kind)
    return LayerShapes(
        kind,
        sizes,
        layers,
        shapes,
        Count(formula, sizes.value(formula), counted),
        Count(products, sizes.value(products), _multiply_adds(counter, model, layer)),
    )


def _first_layer(model: Any) -> nn.Module:
    if hasattr(model, "transformer"):
        return model.transformer.layer[0]
    return model.encoder.layer[0] if hasattr(model, "encoder") else model.layers[0]


def _multiply_adds(counter: FlopCounterMode, model: nn.Module, layer: nn.Module) -> int:
    """Multiply-adds of the layer; an operation of the counter is half of one."""
    [path] = [name for name, module in model.named_modules() if module is layer]
    counts = counter.get_flop_counts()[f"{type(model).__name__}.{path}"]
    return sum(counts.values()) // 2


def _compared(step: Step, sizes: Sizes, trace: Trace) -> StepShape:
    formula = tuple(map(sizes.value, step.shape))
    parameters = sizes.value(step.parameters) if step.parameters else 0
    shape, counted = trace.take(step.where), trace.parameters(step.where)
    return StepShape(step, formula, shape, parameters, counted, trace.dropouts.get(step.where))
