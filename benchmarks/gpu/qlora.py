"""LoRA on a base in 4 bits (NF4): memory, speed, and answers from the base it was trained on."""

from __future__ import annotations

from typing import Any

import torch
from transformers import BitsAndBytesConfig

from gpu.inputs import Setting, examples, llama, rows_of_tokens, tokenizer
from gpu.rows import Recorder, peak_memory
from gpu.training import Plan, id_rows, losses, train_ours
from pipelines.examples import JsonObject
from pipelines.families import causal_lm
from pipelines.networks import precision


def run(setting: Setting, record: Recorder) -> None:
    """Trains, saves, loads again, and compares logits."""
    import bitsandbytes  # noqa: F401 - skips the part by name

    words = tokenizer()
    base = setting.folder / "base"
    llama(setting.llama, setting.device, torch.bfloat16).save_pretrained(base)
    words.save_pretrained(base)
    kept: dict[str, Any] = {}
    tokens = 256 if setting.small else 4_096
    record.case(
        f"trained with gradient checkpointing, {tokens:,} tokens a step",
        lambda: train(setting, words, str(base), tokens, kept),
        goal="<= 4 GiB",
    )
    if kept:
        record.case("loaded with its own base", lambda: compare(setting, words, str(base), kept))


def train(setting: Setting, words: Any, base: str, tokens: int, kept: dict[str, Any]) -> JsonObject:
    """Peak memory from the loading of the base to the last step, and tokens a second."""
    values: JsonObject = {}
    with peak_memory(values):
        network = four_bit(base, setting.device)
        plan = Plan(tokens, tokens, *((1, 1) if setting.small else (2, 5)))
        rows = rows_of_tokens(id_rows(words, examples("train")), plan.needed_tokens())
        trainer, clock = train_ours(
            setting,
            network,
            words,
            rows,
            plan,
            gradient_checkpointing=not setting.small,
            **(precision.choose().training if setting.device == "cuda" else {}),
        )
    kept["trainer"] = trainer
    assert all(torch.isfinite(torch.tensor(losses(trainer)))), losses(trainer)
    return {"tokens/s": clock.tokens_a_second(), **values}


def four_bit(base: str, device: str) -> Any:
    dtype = precision.choose().weights
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return causal_lm.load_network(
        base, dtype=dtype, quantization_config=quantization, device_map={"": device}
    )


@torch.no_grad()
def compare(setting: Setting, words: Any, base: str, kept: dict[str, Any]) -> JsonObject:
    """The largest difference of logits between the trained model and the loaded one."""
    trained = kept["trainer"].accelerator.unwrap_model(kept["trainer"].model).eval()
    prompt = kept["trainer"].prompt
    folder = setting.folder / "model"
    causal_lm.save(folder, model=trained, tokenizer=words, prompt=prompt, base_model=base)
    text = examples("dev", 1)[0].text
    ids = torch.tensor([causal_lm.prompt_ids(words, text, prompt)], device=setting.device)
    expected = trained(input_ids=ids).logits.float()
    loaded = causal_lm.load(folder).model
    assert loaded.is_quantized, "the loaded base is not quantised"
    found = loaded(input_ids=ids).logits.float()
    difference = float((found - expected).abs().max() / expected.abs().max())
    assert difference < 0.05, f"logits differ by {difference:.2g} of the largest"
    return {"difference": difference, "checked": True}
