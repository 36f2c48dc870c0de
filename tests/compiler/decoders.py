"""Step graphs of small decoders without a model file."""

from __future__ import annotations

from heliostat.ir.graph import Graph
from heliostat.ir.types import Element, TensorType, f32
from heliostat.llm.config import ARCHITECTURES, DecoderConfig, RopeConfig
from heliostat.llm.decoder import CacheConfig, Decoder, step_graph
from heliostat.llm.weights import expected_shapes
from heliostat.quant.formats import Q8_0


def step(architecture: str, tokens: int, layers: int = 1, element: Element = Q8_0) -> Graph:
    """One token, or up to `tokens`, through `layers` blocks of 8 heads of 32 (2 of keys), 256 and 512 wide."""
    family = ARCHITECTURES[architecture]
    rope = RopeConfig(32, 10000.0, family.interleaved_rope)
    config = DecoderConfig(
        architecture, 256, layers, 8, 2, 32, 512, 96, 128, 1e-5, rope, family.qk_norm
    )  # fmt: skip
    shapes = expected_shapes(config)

    def weight(name: str) -> TensorType | None:
        inner = name.split(".", 2)[2] if name.startswith("blk.") else name
        biased = architecture == "qwen2" and inner in ("attn_q.bias", "attn_k.bias", "attn_v.bias")
        if inner == "output.weight" or (inner.endswith(".bias") and not biased):
            return None
        shape = shapes[inner]
        return TensorType(element if len(shape) == 2 else f32, shape)

    name = "decode" if tokens == 1 else "prefill"
    return step_graph(Decoder(config, weight), CacheConfig(128), tokens, name=name, all_rows=tokens > 1)
