"""Fine-tune and compare models for entity extraction and classification, from a dictionary to an LLM."""
