"""Teach a model to read mixtures: self-distillation of the posterior average into one pass, as a LoRA adapter."""
