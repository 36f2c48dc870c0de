"""Hugging Face's transformers as a peer of `bench llm`: the same model from the same file, its weights dequantized to
bf16, with a static cache, one-token steps compiled where torch.compile works. Runs in this process, in turn with us.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt

from ..diagnostics import UnsupportedError
from ..llm.checkpoint import gguf_name
from ..llm.config import DecoderConfig, rope_frequencies
from ..llm.model import LanguageModel
from ..llm.weights import DecoderWeights
from ..quant.codec import dequantize
from .models import random_tokens
from .peer import PeerError

CLASSES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}
WARM_UP = 4  # steps before the clock: compiled ones record a CUDA graph at the second or third


class TransformersPeer:
    """A model's weights in the class of transformers that belongs to its architecture, on the same device."""

    def __init__(self, model: LanguageModel, capacity: int, dtype: str = "bfloat16", compiled: bool = True) -> None:
        """`capacity`: tokens of the cache. Raises PeerError where something is missing, UnsupportedError for a model
        that transformers' class does not say the same about.
        """
        try:
            import torch
            import transformers
        except ImportError as error:
            raise PeerError(f"{error.name} is not installed", help="pip install torch transformers") from None
        self.torch = torch
        self.device = model.place.name
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise PeerError(f"PyTorch {torch.__version__} finds no CUDA device", help="install a PyTorch with CUDA")
        self.name = f"transformers {version('transformers')}"
        self.vocabulary = model.config.vocabulary
        self.net = _build(model, transformers, torch, self.device, getattr(torch, dtype))
        bytes_of = {n: p.numel() * p.element_size() for n, p in self.net.named_parameters()}
        tied = "lm_head.weight" not in bytes_of
        self.weight_bytes = sum(n for name, n in bytes_of.items() if tied or "embed_tokens" not in name)
        """That a step of one token reads."""
        given = {"max_cache_len": capacity, "max_batch_size": 1, "device": self.device, "dtype": getattr(torch, dtype)}
        known = signature(transformers.StaticCache.__init__).parameters
        self.cache: Any = transformers.StaticCache(
            config=self.net.config, **{n: v for n, v in given.items() if n in known}
        )
        self._positions = "cache_position" in signature(self.net.forward).parameters  # gone in version 5
        self.step, self.how = self._compile(compiled)

    def _compile(self, wanted: bool) -> tuple[Callable[..., Any], str]:
        """The forward of one token, and how it runs: "compiled", or "eager" with the reason."""
        if not wanted:
            return self.net.forward, "eager"
        step = self.torch.compile(self.net.forward, mode="reduce-overhead")
        try:
            self._clear()
            self._run(self.net.forward, [0], 0)
            for at in range(1, 1 + WARM_UP):
                self._run(step, [0], at)
        except Exception as error:  # its compilers fail in many ways: a missing C compiler, Triton, a graph break
            self.torch.compiler.reset()
            return self.net.forward, f"eager: torch.compile failed ({type(error).__name__})"
        return step, "compiled"

    def _clear(self) -> None:
        self.cache.reset()

    def _run(self, forward: Callable[..., Any], ids: list[int] | Any, start: int) -> Any:
        """Logits (1, 1, V) of the last of some tokens from position `start` on."""
        torch = self.torch
        given = ids if isinstance(ids, torch.Tensor) else torch.tensor([ids], device=self.device)
        places = torch.arange(start, start + given.shape[1], device=self.device)
        more = {"cache_position": places} if self._positions else {}
        if self.device.startswith("cuda"):
            torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad():
            return forward(
                input_ids=given, position_ids=places[None], past_key_values=self.cache, use_cache=True,
                logits_to_keep=1, **more,
            ).logits  # fmt: skip

    def _wait(self) -> None:
        if self.device.startswith("cuda"):
            self.torch.cuda.synchronize(self.device)

    def logits(self, ids: list[int], steps: int = 0) -> npt.NDArray[np.float32]:
        """Logits (V,) of the last token; the last `steps` tokens go one by one."""
        self._clear()
        head = len(ids) - steps
        found = self._run(self.net.forward, ids[:head], 0)
        for at in range(head, len(ids)):
            found = self._run(self.step, ids[at : at + 1], at)
        return np.asarray(found[0, -1].float().cpu().numpy())

    def round(self, prompt: int, generate: int, depth: int) -> dict[str, float]:
        """Tokens per second of one prompt, and of `generate` tokens behind `depth`, chosen on the device: the host
        waits for the last one only."""
        torch = self.torch
        tokens = torch.tensor([random_tokens(self.vocabulary, max(prompt, depth))], device=self.device)
        self._clear()
        self._wait()
        started = time.perf_counter()
        self._run(self.net.forward, tokens[:, :prompt], 0)
        self._wait()
        prompt_rate = prompt / (time.perf_counter() - started)
        self._clear()
        token = tokens[:, :1]
        if depth:
            token = self._run(self.net.forward, tokens[:, :depth], 0)[:, -1].argmax(-1, keepdim=True)
        self._wait()
        started = time.perf_counter()
        for i in range(generate):
            token = self._run(self.step, token, depth + i)[:, -1].argmax(-1, keepdim=True)
        self._wait()
        rate = generate / (time.perf_counter() - started)
        return {f"pp{prompt}_tok_s": round(prompt_rate, 1), f"tg{generate}@{depth}_tok_s": round(rate, 2)}


def _build(model: LanguageModel, transformers: Any, torch: Any, device: str, dtype: Any) -> Any:
    """The module with all weights of the file. Raises UnsupportedError for what its class has not."""
    c, file = model.config, model.file
    if c.architecture not in CLASSES:
        raise UnsupportedError(f"{file.path}: there is no peer for architecture {c.architecture}")
    if c.rope.dim != c.head_dim or c.sliding_window:
        what = "a sliding window" if c.sliding_window else "heads that rotate in part"
        raise UnsupportedError(f"{file.path}: {what} is not rebuilt for transformers")
    name = CLASSES[c.architecture]
    config = getattr(transformers, f"{name}Config")(
        vocab_size=c.vocabulary, hidden_size=c.hidden, intermediate_size=c.feed_forward, num_hidden_layers=c.layers,
        num_attention_heads=c.heads, num_key_value_heads=c.kv_heads, head_dim=c.head_dim, rms_norm_eps=c.eps,
        max_position_embeddings=c.context, tie_word_embeddings="output.weight" not in file.tensors,
        attention_bias="blk.0.attn_q.bias" in file.tensors, attn_implementation="sdpa",
    )  # fmt: skip
    with torch.device("meta"):
        net = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    taken = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}
    state: dict[str, Any] = {}
    for key, empty in net.named_parameters():
        source = gguf_name(key)
        if source is None or (source not in file.tensors and not key.endswith(".bias")):
            raise UnsupportedError(f"{file.path}: transformers' {name} wants {key}, which the file has not")
        taken.add(source)
        state[key] = torch.zeros(empty.shape, dtype=dtype, device=device)
        if source in file.tensors:
            info = file.tensors[source]
            values = dequantize(file.data(source), info.type_name, info.shape)
            values = half_split(values, c) if c.rope.interleaved and _rotates(source) else values
            state[key].copy_(torch.from_numpy(np.require(values, requirements=["C", "W"])).reshape(empty.shape))
    left = sorted(set(file.tensors) - taken)
    if left:
        raise UnsupportedError(f"{file.path}: transformers' {name} has no place for {left[0]}")
    net.load_state_dict(state, strict=False, assign=True)
    net.tie_weights()
    divisors = DecoderWeights(file).divisors(model.context)
    frequencies, magnitude = rope_frequencies(c.rope, divisors)
    rotary = net.model.rotary_emb
    for buffer in [n for n, _ in rotary.named_buffers()]:
        setattr(rotary, buffer, torch.from_numpy(frequencies).to(device))
    rotary.attention_scaling = float(magnitude)
    return net


def _rotates(name: str) -> bool:
    return ".attn_q." in name or ".attn_k." in name


def half_split(values: npt.NDArray[Any], c: DecoderConfig) -> npt.NDArray[Any]:
    """Rows of a projection whose heads rotate in pairs (2i, 2i + 1), in the order that rotates (i, i + D / 2)."""
    size = c.head_dim
    pairs = values.reshape(-1, size // 2, 2, *values.shape[1:])
    return pairs.swapaxes(1, 2).reshape(values.shape)
