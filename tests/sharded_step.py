"""A step of `AnswerTrainer` on FSDP2-sharded weights in two processes: `sharded_step.py FOLDER`.

Accelerate shards only on accelerators, so the layers are sharded here as its plugin does: each
decoder layer and the root by `fully_shard`, the base in bf16 and the adapters in float32.
"""

import json
import sys
from pathlib import Path

from processes import fork

if __name__ == "__main__":
    import torch
    import trl  # noqa: F401 - before the forks
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor


def gradients(model) -> dict:
    found = {}
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            grad = weight.grad
            found[name] = (grad.full_tensor() if isinstance(grad, DTensor) else grad).clone()
    return found


def step(trainer, model, inputs, count) -> float:
    # By the wrapped model, as a training step does.
    loss = trainer.compute_loss(model, dict(inputs), num_items_in_batch=torch.tensor(count))
    loss.backward()
    return float(loss.detach())


def work(rank: int, folder: Path) -> None:
    from test_sft import trainer_for
    from tiny_llama import write
    from torch.distributed.device_mesh import init_device_mesh

    from pipelines.families.causal_lm import load_network, load_tokenizer

    at = write(folder / f"model-{rank}")
    tokenizer = load_tokenizer(str(at))
    network = load_network(str(at), dtype=torch.bfloat16)
    torch.manual_seed(0)
    trainer = trainer_for(network, tokenizer, folder / f"run-{rank}", batch_tokens=1000)
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    trainer.args.average_tokens_across_devices = False
    whole = trainer.model.train()
    trainer.masks_padding = False
    batch = next(iter(trainer.get_train_dataloader()))
    loss = step(trainer, whole, batch, 10)
    expected = gradients(whole)
    whole.zero_grad()
    sharded = whole  # a copy would call the forward of the original, to which TRL's is bound

    mesh = init_device_mesh("cpu", (2,))
    layers = sharded.get_base_model().model.layers
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    fully_shard(sharded, mesh=mesh)
    found_loss = step(trainer, sharded, batch, 10)
    found = gradients(sharded)
    assert found.keys() == expected.keys()
    # The gradient of a shard is the mean over processes.
    worst = 0.0
    for name, gradient in expected.items():
        mean = gradient.clone()
        torch.distributed.all_reduce(mean)
        mean /= 2
        worst = max(worst, float((found[name] - mean).abs().max() / mean.abs().max().clamp(1e-6)))
    weight = layers[0].mlp.down_proj.base_layer.weight
    content = {
        "whole": loss,
        "sharded": found_loss,
        "worst_gradient": worst,
        "local_rows": weight.to_local().shape[0],
        "rows": weight.shape[0],
    }
    (folder / f"{rank}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    sys.exit(max(map(abs, fork(2, lambda rank: work(rank, target)))))
