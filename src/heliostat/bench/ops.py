"""The ops suite: every case of `data/op_cases.json` as a graph, and the same work in NumPy and in PyTorch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ops
from ..compiler.flops import flops
from ..ir.graph import Graph, Value, parameter
from ..ir.types import evaluate, f32, i64, numel, tensor
from ..session import compile_graph
from .compare import Call, Seconds, time_in_turn
from .peer import PeerError

Array = npt.NDArray[Any]
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One line of the suite. `inputs`: shapes by name (an integer upper bound after the shape makes token ids)."""

    op: str
    label: str
    suites: tuple[str, ...]
    params: Params


@dataclass(frozen=True)
class Row:
    """One measured case. Seconds of a call; `error`: largest difference to the peer over its largest value."""

    case: Case
    own: Seconds
    peer: Seconds | None
    error: float | None
    gflops: float
    gb_s: float

    @property
    def ratio(self) -> float | None:
        """The peer's best time over ours."""
        return None if self.peer is None else self.peer.best / self.own.best


def cases(only: str = "", device: str = "cpu") -> list[Case]:
    """All cases for "cpu" or "cuda" whose op, label or suite contains `only`."""
    name = "op_cases.json" if device == "cpu" else "op_cases_cuda.json"
    with resources.files("heliostat").joinpath("data", name).open("r", encoding="utf-8") as file:
        rows = json.load(file)
    found = [Case(r["op"], _label(r["op"], r["params"]), tuple(r["suites"]), r["params"]) for r in rows]
    return [c for c in found if only in c.label or any(only in s for s in c.suites)]


def _label(op: str, params: Params) -> str:
    def show(values: Params) -> str:
        return ",".join(
            f"{k}=({show(v)})" if isinstance(v, dict) else f"{k}={'x'.join(map(str, v)) if isinstance(v, list) else v}"
            for k, v in values.items()
        )

    return f"{op} {show(params)}"


def bench_ops(chosen: list[Case], threads: int, peer: str | None, rounds: int) -> Iterator[Row]:
    """Measure cases one by one. `peer`: "numpy", "torch" or None. Raises PeerError."""
    library = None if peer is None else library_of(peer, threads)
    for case in chosen:
        inputs, build, work = WORK[case.op](case.params)
        rng = np.random.default_rng(0)
        arrays = {n: _array(rng, shape) for n, shape in inputs.items()}
        values = {n: parameter(n, tensor(i64 if a.dtype == np.int64 else f32, *a.shape)) for n, a in arrays.items()}
        graph = Graph("case", list(values.values()), _results(build(Symbolic(), values)))
        session = compile_graph(graph, threads=threads)
        result = session.run(arrays)[0]
        assert session.executable is not None
        sides: list[Call] = [session.executable.run]
        error = None
        if library is not None:
            given = {n: library.given(a) for n, a in arrays.items()}
            sides.append(lambda given=given, work=work: work(library, given))  # type: ignore[misc]
        with library.set_up() if library is not None else nullcontext():
            if library is not None:
                expected = library.array(_first(work(library, given)))
                error = float(np.abs(result - expected).max() / max(1e-30, float(np.abs(expected).max())))
            times = time_in_turn(sides, rounds)
        nbytes = sum(a.nbytes for a in arrays.values()) + 4 * sum(
            evaluate(numel(v.type.shape), {}) for v in graph.outputs
        )
        best = times[0].best
        yield Row(
            case,
            times[0],
            times[1] if len(times) > 1 else None,
            error,
            flops(graph, {}) / best / 1e9,
            nbytes / best / 1e9,
        )


def _results(found: Any) -> list[Value]:
    return list(found) if isinstance(found, tuple) else [found]


def _first(found: Any) -> Any:
    return found[0] if isinstance(found, tuple) else found


def _array(rng: np.random.Generator, shape: tuple[Any, ...]) -> Array:
    if shape and isinstance(shape[-1], str):  # "<8192": token ids
        return rng.integers(0, int(shape[-1][1:]), shape[:-1])
    return rng.uniform(0.5, 1.5, shape).astype(np.float32) - np.float32(0.9)


# --- the three libraries, under the names that the cases use ----------------------------------------------------------
class Symbolic:
    """Builds graphs."""

    def __getattr__(self, name: str) -> Any:
        return getattr(ops, name)

    def conv(self, x: Value, w: Value, stride: int, pad: int) -> Value:
        return ops.conv2d(x, w, stride=stride, padding=pad)

    def layer_norm(self, x: Value) -> Value:
        mean = ops.mean(x, -1, keepdim=True)
        spread = ops.mean((x - mean) * (x - mean), -1, keepdim=True)
        return (x - mean) * ops.rsqrt(spread + 1e-5)

    def t(self, x: Value) -> Value:
        return ops.transpose(x)

    def repeat(self, x: Value, count: int) -> Value:
        """The elements in order, again and again, up to `count`."""
        flat = ops.flatten(x)
        size = int(flat.type.shape[0])  # type: ignore[arg-type]
        many = ops.concat(*[flat] * -(-count // size), axis=0) if count > size else flat
        return ops.slice(many, 0, 0, count)

    def part(self, x: Value, start: int, shape: tuple[int, ...]) -> Value:
        return ops.reshape(ops.slice(x, 0, start, start + math.prod(shape)), shape)


class NumPy:
    """The plain way in NumPy."""

    def set_up(self) -> AbstractContextManager[None]:
        return nullcontext()

    @staticmethod
    def given(a: Array) -> Any:
        return a

    @staticmethod
    def array(x: Any) -> Array:
        return np.asarray(x)

    @staticmethod
    def matmul(a: Array, b: Array) -> Array:
        return a @ b

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        e = np.exp(x - x.max(axis, keepdims=True))
        return np.asarray(e / e.sum(axis, keepdims=True))

    @staticmethod
    def relu(x: Array) -> Array:
        return np.maximum(x, 0)

    @staticmethod
    def tanh(x: Array) -> Array:
        return np.tanh(x)

    @staticmethod
    def gelu_tanh(x: Array) -> Array:
        return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))

    @staticmethod
    def layer_norm(x: Array) -> Array:
        mean = x.mean(-1, keepdims=True)
        return np.asarray((x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5))

    @staticmethod
    def conv(x: Array, w: Array, stride: int, pad: int) -> Array:
        padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], (2, 3))[:, :, ::stride, ::stride]
        n, _, h, v = windows.shape[:4]
        rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * v, -1)
        return np.asarray((rows @ w.reshape(len(w), -1).T).reshape(n, h, v, len(w)).transpose(0, 3, 1, 2))

    @staticmethod
    def embedding(w: Array, ids: Array) -> Array:
        return np.asarray(w[ids])

    @staticmethod
    def reshape(x: Array, shape: tuple[int, ...]) -> Array:
        return x.reshape(shape)

    @staticmethod
    def t(x: Array) -> Array:
        return x.T

    @staticmethod
    def repeat(x: Array, count: int) -> Array:
        return np.resize(x.reshape(-1), count)

    @staticmethod
    def part(x: Array, start: int, shape: tuple[int, ...]) -> Array:
        return x[start : start + math.prod(shape)].reshape(shape)


class Torch:
    """PyTorch, with its own fused functions where it has them."""

    def __init__(self, threads: int) -> None:
        import torch

        self.torch, self.functional, self.threads = torch, torch.nn.functional, threads

    @contextmanager
    def set_up(self) -> Iterator[None]:
        """So many threads, and no gradients, for as long as it is measured."""
        before = self.torch.get_num_threads()
        self.torch.set_num_threads(self.threads)
        try:
            with self.torch.no_grad():
                yield
        finally:
            self.torch.set_num_threads(before)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.torch, name)

    def given(self, a: Array) -> Any:
        return self.torch.from_numpy(a)

    def array(self, x: Any) -> Array:
        return np.asarray(x.numpy())

    def softmax(self, x: Any, axis: int) -> Any:
        return self.functional.softmax(x, axis)

    def attention(self, q: Any, k: Any, v: Any) -> Any:
        return self.functional.scaled_dot_product_attention(q[None, None], k[None, None], v[None, None])[0, 0]

    def gelu_tanh(self, x: Any) -> Any:
        return self.functional.gelu(x, approximate="tanh")

    def layer_norm(self, x: Any) -> Any:
        return self.functional.layer_norm(x, x.shape[-1:])

    def conv(self, x: Any, w: Any, stride: int, pad: int) -> Any:
        return self.functional.conv2d(x, w, stride=stride, padding=pad)

    def embedding(self, w: Any, ids: Any) -> Any:
        return self.functional.embedding(ids, w)

    def t(self, x: Any) -> Any:
        return x.t()

    def repeat(self, x: Any, count: int) -> Any:
        flat = x.reshape(-1)
        return flat.repeat(-(-count // flat.numel()))[:count]

    def part(self, x: Any, start: int, shape: tuple[int, ...]) -> Any:
        return x[start : start + math.prod(shape)].reshape(shape)


def library_of(name: str, threads: int) -> Any:
    """The functions of a peer, "numpy" or "torch". Raises PeerError."""
    if name == "numpy":
        return NumPy()
    try:
        return Torch(threads)
    except ImportError:
        raise PeerError("PyTorch is not installed", help="pip install torch, or --vs numpy") from None


# --- the cases --------------------------------------------------------------------------------------------------------
Work = tuple[dict[str, tuple[Any, ...]], Callable[[Any, Any], Any], Callable[[Any, Any], Any]]


def _work(inputs: dict[str, tuple[Any, ...]], body: Callable[[Any, Any], Any]) -> Work:
    return inputs, body, body


def _attend(lib: Any, q: Any, k: Any, v: Any, size: int) -> Any:
    if isinstance(lib, Torch):
        return lib.attention(q, k, v)
    return lib.matmul(lib.softmax(lib.matmul(q, lib.t(k)) * size**-0.5, -1), v)


def _attention(p: Params) -> Work:
    s, d = p["seq"], p["head_dim"]
    return _work({"q": (s, d), "k": (s, d), "v": (s, d)}, lambda lib, x: _attend(lib, x["q"], x["k"], x["v"], d))


def _conv_inputs(p: Params) -> dict[str, tuple[Any, ...]]:
    return {
        "x": (p["batch"], p["in_ch"], p["h"], p["w"]),
        "w": (p["out_ch"], p["in_ch"], p["kernel"], p["kernel"]),
        "b": (p["out_ch"], 1, 1),
    }


def _conv(p: Params) -> Work:
    return _work(_conv_inputs(p), lambda lib, x: lib.conv(x["x"], x["w"], p["stride"], p["pad"]) + x["b"])


def _conv_relu(p: Params) -> Work:
    return _work(_conv_inputs(p), lambda lib, x: lib.relu(lib.conv(x["x"], x["w"], p["stride"], p["pad"]) + x["b"]))


def _conv_attention(p: Params) -> Work:
    c, (s, d) = p["conv"], (p["attention"]["seq"], p["attention"]["head_dim"])

    def body(lib: Any, x: Any) -> Any:
        y = lib.relu(lib.conv(x["x"], x["w"], c["stride"], c["pad"]) + x["b"])
        packed = lib.repeat(y, 3 * s * d)
        q, k, v = (lib.part(packed, n * s * d, (s, d)) for n in range(3))
        return _attend(lib, q, k, v, d)

    return _work(_conv_inputs(c), body)


def _matmul(p: Params) -> Work:
    return _work({"a": (p["m"], p["k"]), "b": (p["k"], p["n"])}, lambda lib, x: lib.matmul(x["a"], x["b"]))


def _matmul_sub(p: Params) -> Work:
    m, k, n = p["m"], p["k"], p["n"]
    return _work({"a": (m, k), "b": (k, n), "c": (m, n)}, lambda lib, x: lib.matmul(x["a"], x["b"]) - x["c"])


def _matmul_bias_relu(p: Params) -> Work:
    inputs = {"a": (p["m"], p["k"]), "b": (p["k"], p["n"]), "c": tuple(p["bias_shape"])}
    return _work(inputs, lambda lib, x: lib.relu(lib.matmul(x["a"], x["b"]) + x["c"]))


def _elementwise(op: str) -> Callable[[Params], Work]:
    def work(p: Params) -> Work:
        shape = tuple(p["shape"])
        body = {"add": lambda lib, x: x["a"] + x["b"], "sub": lambda lib, x: x["a"] - x["b"]}
        body["div"] = lambda lib, x: x["a"] / x["b"]
        return _work({"a": shape, "b": shape}, body[op])

    return work


def _mlp(lib: Any, x: Any, first: Any, second: Any, name: str) -> Any:
    return lib.matmul(getattr(lib, name)(lib.matmul(x, first)), second)


def _ffn(p: Params) -> Work:
    b, d, f = p["batch"], p["d_model"], p["d_ff"]
    inputs = {"x": (b, d), "u": (d, f), "v": (f, d)}
    return _work(inputs, lambda lib, x: _mlp(lib, x["x"], x["u"], x["v"], "gelu_tanh"))


def _mlp_relu(p: Params) -> Work:
    b, i, h, o = p["batch"], p["in_features"], p["hidden"], p["out_features"]
    inputs = {"x": (b, i), "u": (i, h), "v": (h, o)}
    return _work(inputs, lambda lib, x: _mlp(lib, x["x"], x["u"], x["v"], "relu"))


def _layer_norm_linear(p: Params) -> Work:
    b, d, o = p["batch"], p["d_model"], p["out"]
    return _work({"x": (b, d), "w": (d, o)}, lambda lib, x: lib.matmul(lib.layer_norm(x["x"]), x["w"]))


def _linear_and_gradient(p: Params) -> Work:
    b, i, o = p["batch"], p["in_features"], p["out_features"]
    return _work(
        {"x": (b, i), "w": (i, o), "g": (b, o)},
        lambda lib, x: (lib.matmul(x["x"], x["w"]), lib.matmul(lib.t(x["x"]), x["g"])),
    )


def _embedding_mlp(p: Params) -> Work:
    b, s, vocabulary, d, f = p["batch"], p["seq"], p["vocab"], p["d_model"], p["d_ff"]
    inputs: dict[str, tuple[Any, ...]] = {
        "ids": (b * s, f"<{vocabulary}"),
        "e": (vocabulary, d),
        "u": (d, f),
        "v": (f, d),
    }
    return _work(inputs, lambda lib, x: _mlp(lib, lib.embedding(x["e"], x["ids"]), x["u"], x["v"], "relu"))


def _recurrent(p: Params) -> Work:
    """All steps of a plain recurrent layer: h = tanh(x_t W + h U)."""
    b, i, h, steps = p["batch"], p["input"], p["hidden"], p["steps"]
    inputs: dict[str, tuple[Any, ...]] = {"x": (steps * b * i,), "h": (b, h), "w": (i, h), "u": (h, h)}

    def body(lib: Any, x: Any) -> Any:
        state = x["h"]
        for t in range(steps):
            now = lib.part(x["x"], t * b * i, (b, i))
            state = lib.tanh((lib.matmul(now, x["w"]) + lib.matmul(state, x["u"])) * 0.01)
        return state

    return _work(inputs, body)


def _linear_sub_div(p: Params) -> Work:
    b, i, o = p["batch"], p["in_features"], p["out_features"]
    inputs: dict[str, tuple[Any, ...]] = {"x": (b, i), "w": (i, o), "r": (b, o), "c": (1, o)}
    return _work(inputs, lambda lib, x: (lib.matmul(x["x"], x["w"]) - x["r"]) / (x["c"] + 2.0))


def _vlm_fusion(p: Params) -> Work:
    """Patches and text projected to one width, then text attends to the image."""
    image, text, d = p["image_tokens"], p["text_tokens"], p["fused_dim"]
    patch = p["image_channels"] * p["patch_size"] ** 2
    inputs: dict[str, tuple[Any, ...]] = {
        "i": (image, patch),
        "t": (text, p["text_dim"]),
        "u": (patch, d),
        "v": (p["text_dim"], d),
    }

    def body(lib: Any, x: Any) -> Any:
        picture, words = lib.matmul(x["i"], x["u"]) * 0.01, lib.matmul(x["t"], x["v"]) * 0.01
        return _attend(lib, words, picture, picture, d)

    return _work(inputs, body)


WORK: dict[str, Callable[[Params], Work]] = {
    "attention": _attention, "conv2d": _conv, "conv2d_relu": _conv_relu, "conv2d_relu_attention": _conv_attention,
    "matmul": _matmul, "matmul_sub": _matmul_sub, "matmul_bias_relu": _matmul_bias_relu, "add": _elementwise("add"),
    "sub": _elementwise("sub"), "div": _elementwise("div"), "ffn_gelu": _ffn, "mlp_relu": _mlp_relu,
    "layer_norm_linear": _layer_norm_linear, "linear_forward_and_weight_grad": _linear_and_gradient,
    "embedding_mlp_relu": _embedding_mlp, "recurrent_step": _recurrent, "linear_sub_div": _linear_sub_div,
    "vlm_fusion": _vlm_fusion,
}  # fmt: skip
