"""Activation checkpointing, with the names of `torch.utils.checkpoint`."""

from ..tensor.checkpoint import checkpoint, checkpoint_sequential, noop_context_fn

__all__ = ["checkpoint", "checkpoint_sequential", "noop_context_fn"]
