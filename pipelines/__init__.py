"""Fine-tune and compare models for entities and classes, from a dictionary to an LLM."""

import logging

# On import bitsandbytes warns that a CPU kernel for 4-bit matmuls is missing; it computes without
# it.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
