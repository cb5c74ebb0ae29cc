"""Parts that trainers are composed of, each a small mixin of `transformers.Trainer`.

A trainer of a family names the parts it needs, then the library's class, and adds what only it
knows, such as its loss:

    class TokenTaggerTrainer(CpuTraining, WeightAveraging, TagScores, LengthBatches, Trainer): ...

A mixin takes its own options as keywords and passes the others on, so the order of the parts
matters only where two of them extend the same method: the first one named is the outermost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# A type checker sees that a mixin extends the trainer's methods; at run time it is a plain class,
# which goes with any subclass of `Trainer`, TRL's included.
if TYPE_CHECKING:
    from transformers import Trainer as TrainerMixin
else:
    TrainerMixin = object

__all__ = ["TrainerMixin"]
