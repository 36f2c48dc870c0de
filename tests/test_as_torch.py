"""Programs that import torch, run by heliostat: in processes of their own, into which PyTorch has not come."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.as_torch import (
    cpp_extension,
    cuda,
    extensions,
    flex_attention,
    install,
    internals,
    names,
    overrides,
    testing,
    tree,
)
from heliostat.as_torch import profiler as as_profiler
from heliostat.as_torch.parallel import DataParallel
from heliostat.diagnostics import DTypeError, UnsupportedError
from heliostat.serialization import load
from targets.device import gpu

PROGRAM = """
import sys
from dataclasses import dataclass, fields
from unittest import mock

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.utils.data as data
import torch.backends.cudnn as cudnn
from torch import Tensor, optim
from torch.autograd import Function, Variable
from torch.distributions import constraints, transforms
from torch.distributions.multivariate_normal import MultivariateNormal
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.utils import _pair
from torch.nn.parallel import DistributedDataParallel
from torch._utils import _flatten_dense_tensors
from torch.nn.utils.rnn import pad_sequence
from torch.overrides import has_torch_function
from torch.profiler import ProfilerActivity, profile
from torch.utils.cpp_extension import BuildExtension, CUDAExtension
from torch.optim.lr_scheduler import StepLR, _LRScheduler
from torch.utils.benchmark import Timer
from torch.utils.checkpoint import checkpoint
from torch.utils.data.dataset import Dataset

import heliostat as hs

assert torch.nn is nn and nn.functional is F and nn.Linear is hs.nn.Linear and Tensor is hs.Tensor
assert sys.modules["torch.nn.functional"] is F
assert constraints.positive_definite.check(torch.eye(2)) and transforms.ExpTransform()(torch.zeros(1)) == 1
assert torch.distributions.constraints is constraints and MultivariateNormal is hs.distributions.MultivariateNormal
assert torch.utils.data.DataLoader is data.DataLoader and issubclass(data.TensorDataset, Dataset)
assert isinstance(nn.BatchNorm2d(2), _BatchNorm) and _pair(3) == (3, 3)
assert torch.tensor([1, 2]).tolist() == [1, 2] and torch.float32 is hs.float32
assert torch.__version__ >= "2" and torch.version.cuda is None
assert abs(torch.pi - 3.14159265) < 1e-8 and torch.inf > 1e300 and torch.zeros(2)[torch.newaxis].shape == (1, 2)
cudnn.benchmark = True
products = torch.backends.cuda.matmul
assert not products.allow_tf32 and products.fp32_precision == "ieee"
products.allow_tf32 = True
assert torch.get_float32_matmul_precision() == "high" and products.fp32_precision == "tf32"
products.fp32_precision = "ieee"
assert torch.get_float32_matmul_precision() == "highest" and not products.allow_tf32
products.allow_tf32 = True
assert cudnn.allow_tf32 and cudnn.fp32_precision == "tf32"
cudnn.allow_tf32 = False
assert products.allow_tf32 and not cudnn.allow_tf32
assert torch.backends.cudnn.benchmark and not torch.backends.mps.is_available()
assert not torch.distributed.is_available() and not torch.distributed.is_initialized()
assert torch.accelerator.current_accelerator() is None or torch.cuda.is_available()
assert torch.LongTensor([1, 2]).dtype == torch.int64 and torch.FloatTensor(2, 3).shape == (2, 3)
assert isinstance(torch.ones(1), torch.FloatTensor) and not isinstance(torch.ones(1), torch.LongTensor)
assert not torch.jit.is_scripting() and torch.jit.script(len) is len and torch.compiler.disable(len) is len
assert not torch.ones(1).is_xpu
assert isinstance(torch.ones(1), Variable) and Variable(torch.ones(1), requires_grad=True).requires_grad
assert torch.ones(1).type(torch.LongTensor).type() == 'torch.LongTensor'
assert issubclass(Function, torch.autograd.Function)
assert all((StepLR, checkpoint, pad_sequence, destroy_process_group, has_torch_function, profile, BuildExtension))
assert Timer('torch.ones(2)').timeit(3).median > 0 and torch.autograd.profiler.record_function and CUDAExtension


@torch.jit.ignore
def unchanged(x):
    return x


for use in (init_process_group, lambda: DistributedDataParallel(nn.Linear(1, 1)), lambda: torch.jit.trace(len, ())):
    try:
        use()
    except NotImplementedError as error:
        assert "not supported" in str(error)
    else:
        raise AssertionError(use)
for absent in ("torch.nowhere", "torch.nn.nowhere"):
    try:
        __import__(absent)
    except ModuleNotFoundError as error:
        assert absent in str(error) and error.name == absent
    else:
        raise AssertionError(absent)
try:
    torch.nowhere
except AttributeError as error:
    assert "'torch' has no attribute 'nowhere'" in str(error)

assert not [name for name in globals() if name in ("os", "main", "install", "PLACE")]
with mock.patch("torch.cuda.is_available", return_value="replaced"):
    assert torch.cuda.is_available() == "replaced"
assert torch.cuda.is_available() in (True, False)
torch.mine = 1
del torch.mine
assert not hasattr(torch, "mine")
everything = {}
exec("from torch import *", everything)
assert everything["zeros"] is torch.zeros and everything["tensor"]([1]).tolist() == [1]
assert issubclass(StepLR, _LRScheduler) and {"Tensor", "LongTensor", "no_grad"} < everything.keys()


@dataclass
class Arguments:
    epochs: int = 1


assert fields(Arguments)[0].type is int  # annotations are what the program says they are

model = nn.DataParallel(nn.Linear(2, 1))
sgd = optim.SGD(model.parameters(), lr=0.1)
for x, y in data.DataLoader(data.TensorDataset(torch.ones(8, 2), torch.zeros(8, 1)), batch_size=4):
    sgd.zero_grad()
    loss = F.mse_loss(unchanged(model(x)).cpu(), y)
    loss.backward()
    sgd.step()
place = model.module.weight.device
torch.testing.assert_close(model(x).detach(), model.module(x.to(place)).detach())
print("done", sys.argv[1:], __name__, sorted(model.state_dict()))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "heliostat.as_torch", *arguments], capture_output=True, text=True)


def test_a_program_runs(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 1\n")
    (tmp_path / "program.py").write_text("from beside import VALUE\n" + PROGRAM)
    done = run(str(tmp_path / "program.py"), "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done ['--epochs', '2'] __main__ ['module.bias', 'module.weight']"


WORKERS = """
import torch
from torch.utils.data import DataLoader, Dataset


class Squares(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return torch.tensor(float(i)) ** 2


if __name__ == "__main__":
    for batch in DataLoader(Squares(), batch_size=2, num_workers=1, multiprocessing_context="spawn"):
        print(type(batch).__module__, batch.tolist())
"""


def test_processes_that_a_program_starts(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(WORKERS)
    done = run(str(tmp_path / "program.py"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == [f"heliostat.tensor.core {row}" for row in ([0.0, 1.0], [4.0, 9.0])]


MODULE = """
import sys

import torch
from .beside import VALUE
from torch.utils.data import DataLoader, Dataset


class Twos(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, i):
        return torch.tensor(VALUE)


if __name__ == "__main__":
    workers = int(sys.argv[1])  # which import this module anew
    batch = next(iter(DataLoader(Twos(), 2, num_workers=workers))).tolist()
    print(sys.argv[1:], __package__, sys.argv[0] == __file__, batch)
    raise KeyError("mine")
"""


@pytest.mark.parametrize(("name", "workers"), [("package.inner.train", "1"), ("package.inner", "0")])
def test_a_module_runs(tmp_path: Path, name: str, workers: str) -> None:
    inner = tmp_path / "package" / "inner"
    inner.mkdir(parents=True)
    for path in (inner.parent / "__init__.py", inner / "__init__.py"):
        path.touch()
    (inner / "beside.py").write_text("VALUE = 2\n")
    (inner / ("train.py" if name.endswith("train") else "__main__.py")).write_text(MODULE)
    done = subprocess.run(
        [sys.executable, "-m", "heliostat.as_torch", "-m", name, workers], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.strip() == f"['{workers}'] package.inner True [2, 2]", done.stderr
    assert done.returncode == 1
    assert done.stderr.strip().endswith("KeyError: 'mine'")
    assert "as_torch" not in done.stderr


FAILS = """
import os
import torch

os.chdir("/")
sys = os = None


def fail():
    raise KeyError("mine")


assert open(__file__).read()
fail()
"""


@pytest.mark.parametrize(("text", "said"), [(FAILS, "KeyError: 'mine'"), ("x = = 1", "SyntaxError: invalid syntax")])
def test_a_program_that_fails(tmp_path: Path, text: str, said: str) -> None:
    """What is shown is where the program failed, as if Python had run it, and not what led to it."""
    (tmp_path / "program.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "heliostat.as_torch", "program.py"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert str(tmp_path / "program.py") in done.stderr
    assert "runpy" not in done.stderr
    assert "as_torch" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("nowhere.py",), ("-m",), ("-m", "nowhere.at.all"), ("-m", "json.none"), ("-m", ".json")]
)
def test_without_a_program(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr


PRETRAINED = """
import json
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

folder, dtypes = sys.argv[1], json.loads(sys.argv[2])
assert {n: str(getattr(torch, n)) for n in dtypes} == {n: repr(getattr(torch, n)) for n in dtypes} == dtypes
assert all(getattr(torch, text.split(".")[1]) is getattr(torch, n) for n, text in dtypes.items())


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.norm = nn.Embedding(9, 4), nn.LayerNorm(4)
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.wte.weight
        self.register_buffer("positions", torch.arange(9), persistent=False)
        assert self._non_persistent_buffers_set == {"positions"}

    def forward(self, x):
        return self.head(self.norm(self.wte(x)))


with torch.device("meta"):
    model = Tied()
assert all(p.is_meta and p.device.type == "meta" for p in model.parameters()) and model.positions.is_meta
with safe_open(f"{folder}/theirs", framework="pt", device="cpu") as file:
    assert file.get_slice("wte.weight")[1:3, 2:].shape == (2, 2)
    for name in file.keys():
        module, _, last = name.rpartition(".")
        setattr(model.get_submodule(module), last, nn.Parameter(file.get_tensor(name)))
model.head.weight = model.wte.weight
model.positions = torch.arange(9)
every = load_file(f"{folder}/every")
assert {n: str(t.dtype) for n, t in every.items()} == {n: d for n, d in dtypes.items() if n in every}
save_file(every, f"{folder}/every again")
tied = model.wte.weight.data_ptr()
state = {n: t for n, t in model.state_dict().items() if t.data_ptr() != tied or n == "wte.weight"}
assert state.keys() == {"wte.weight", "norm.weight", "norm.bias"}
save_file(state, f"{folder}/ours", metadata={"format": "pt"})
torch.save(model(model.positions).detach(), f"{folder}/logits")
assert torch.load(f"{folder}/theirs.bin", map_location="meta", weights_only=True, mmap=True)["wte.weight"].is_meta
"""


def test_folders_of_pretrained_models(tmp_path: Path) -> None:
    """What `from_pretrained` and `save_pretrained` of packages do: names of dtypes, models that begin on `meta`, files
    of safetensors and of PyTorch, both ways."""
    theirs = pytest.importorskip("safetensors.torch")
    torch = pytest.importorskip("torch")
    names = [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
        "complex64",
        "float8_e4m3fn",
    ]
    every = {n: torch.arange(6).reshape(2, 3).to(getattr(torch, n)) for n in names if n != "complex64"}
    state = {"wte.weight": torch.randn(9, 4), "norm.weight": torch.rand(4), "norm.bias": torch.rand(4)}
    theirs.save_file(every, tmp_path / "every")
    theirs.save_file(state, tmp_path / "theirs", metadata={"format": "pt"})
    torch.save(state, tmp_path / "theirs.bin")
    (tmp_path / "program.py").write_text(PRETRAINED)
    dtypes = json.dumps({n: str(getattr(torch, n)) for n in names})
    done = run(str(tmp_path / "program.py"), str(tmp_path), dtypes)
    assert done.returncode == 0, done.stderr
    for name, expected in ("ours", state), ("every again", every):
        found = theirs.load_file(tmp_path / name)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key].to(torch.float64), value.to(torch.float64))
    rows = torch.nn.functional.layer_norm(state["wte.weight"], (4,), state["norm.weight"], state["norm.bias"])
    logits = load(tmp_path / "logits").numpy()
    assert abs(logits - (rows @ state["wte.weight"].T).numpy()).max() < 1e-5


def test_it_does_not_come_after_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys)
    with pytest.raises(ImportError, match="too late"):
        install()


def test_types_by_name() -> None:
    names.set_default_tensor_type("torch.DoubleTensor")
    try:
        assert names.PUBLIC["zeros"](1).dtype == names.PUBLIC["float64"]
    finally:
        names.set_default_tensor_type(names.FloatTensor)
    with pytest.raises(DTypeError, match="no type"):
        names.set_default_tensor_type("torch.NoTensor")
    assert names.typename(names.PUBLIC["zeros"](1)) == "torch.FloatTensor"
    assert names.typename(1) == "int"


def test_tensors_laid_end_to_end() -> None:
    import heliostat as hs

    given = [hs.ones(2, 3), hs.zeros(4), hs.ones(2, dtype=hs.int64)]
    flat = internals._flatten_dense_tensors(given[:2])
    assert flat.tolist() == [1] * 6 + [0] * 4
    for found, t in zip(internals._unflatten_dense_tensors(flat, given[:2]), given, strict=False):
        assert found.tolist() == t.tolist()
    taken = internals._take_tensors([*given, given[0]], 40)
    assert [[tuple(t.shape) for t in part] for part in taken] == [[(2, 3), (4,)], [(2, 3)], [(2,)]]


def test_errors_of_other_threads() -> None:
    class Own(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(a, b)

    for error, kind in ((KeyError("mine"), KeyError), (ValueError("mine"), ValueError), (Own(1, 2), RuntimeError)):
        try:
            raise error
        except Exception:
            caught = internals.ExceptionWrapper(where="in a test")
        with pytest.raises(kind, match=r"in a test\.\nOriginal Traceback"):
            caught.reraise()


def test_numbers_of_devices() -> None:
    assert internals._get_device_index(3) == 3
    assert internals._get_device_index("cpu", allow_cpu=True) == -1
    assert internals._get_device_index(None, optional=True) == 0
    for device in ("cpu", None):
        with pytest.raises(ValueError, match="Expected a"):
            internals._get_device_index(device)


def test_profiles_of_programs() -> None:
    import heliostat as hs

    with pytest.warns(UserWarning, match="does not record profile_memory, with_stack"):
        profile = as_profiler.profile(profile_memory=True, with_stack=True, record_shapes=True)
    with profile:
        (hs.ones(3) + 1).tolist()
    rows = profile.key_averages()
    assert "Total us" in rows.table(sort_by="self_cuda_time_total")
    assert rows[0].key == rows[0].name
    assert rows[0].cpu_time_total > 0 == rows[0].cuda_time_total
    with as_profiler.older.profile(enabled=False) as none:
        assert none is None
    with as_profiler.older.profile(use_cuda=False) as some:
        (hs.ones(3) + 1).tolist()
    assert "map_add" in str(some)


def test_operators_of_python() -> None:
    import heliostat as hs

    @extensions.custom_op("testing::twice", mutates_args=())
    def twice(x: hs.Tensor) -> hs.Tensor:
        return x * 2

    x = hs.tensor([1.0], requires_grad=True)
    assert extensions.ops.testing.twice is twice
    extensions.ops.testing.twice.default(x).backward()
    assert x.grad is not None
    assert x.grad.item() == 2
    extensions.register_autograd(
        "testing::twice",
        lambda ctx, g: g * ctx.factor,
        setup_context=lambda ctx, inputs, output: setattr(ctx, "factor", 7),
    )
    assert extensions.register_fake("testing::twice", len) is len
    y = twice(x)
    y.backward()
    assert (y.item(), x.grad.item()) == (2, 9)
    scaled = extensions.custom_op("testing::scaled", lambda x, by=3.0, *, plus=0.0: x * by + plus)
    scaled.register_autograd(
        lambda ctx, g: (g * ctx.by, None), setup_context=lambda ctx, inputs, output: setattr(ctx, "by", inputs[1])
    )
    for call, expected in ((lambda: scaled(x), 3), (lambda: scaled(x, by=5.0), 5), (lambda: scaled(x=x, plus=1.0), 3)):
        x.grad = None
        call().sum().backward()
        assert x.grad.item() == expected
    for absent in (lambda: extensions.ops.nowhere, lambda: extensions.ops.testing.thrice):
        with pytest.raises(AttributeError, match="heliostat stands in its place"):
            absent()


def test_what_programs_ask_before_they_go_on() -> None:
    import heliostat as hs

    assert not overrides.has_torch_function((hs.ones(1),))
    assert overrides.is_tensor_like(hs.ones(1))
    assert not overrides.is_tensor_like([1])
    assert overrides.is_tensor_method_or_property(hs.Tensor.backward)
    assert names.uint64.itemsize == 8
    with pytest.raises(UnsupportedError, match="uint64"):
        hs.zeros(1, dtype=names.uint64)
    for refused in (
        cuda.Stream,
        cuda.CUDAGraph,
        flex_attention.create_block_mask,
        overrides.handle_torch_function,
        overrides.TorchFunctionMode,
        cpp_extension.load,
    ):
        with pytest.raises(UnsupportedError, match="not supported"):
            refused()
    assert cpp_extension.CUDA_HOME is None


def test_assert_close() -> None:
    import heliostat as hs

    a = hs.tensor([1.0, 2.0])
    testing.assert_close(a, a + 1e-6)
    testing.assert_close({"x": [a, 1]}, {"x": [a, 1]})
    for b, said in ((a + 1e-3, "not close"), (a.double(), "dtype"), (a[:1], "shape"), (a * float("nan"), "not close")):
        with pytest.raises(AssertionError, match=said):
            testing.assert_close(a, b)
    testing.assert_close(a * float("nan"), a * float("nan"), equal_nan=True)
    with pytest.raises(AssertionError, match="lengths"):
        testing.assert_close([a], [a, a])
    with pytest.raises(AssertionError, match="mine"):
        testing.assert_close(1, 2, msg="mine")


def test_trees() -> None:
    made = {"a": [1, (2, 3)], "b": 4}
    leaves, spec = tree.tree_flatten(made)
    assert leaves == [1, 2, 3, 4]
    assert spec.num_leaves == 4
    assert tree.tree_unflatten(leaves, spec) == made
    assert tree.tree_map(lambda x, y: x + y, made, made) == {"a": [2, (4, 6)], "b": 8}
    assert tree.tree_leaves(made, is_leaf=lambda x: isinstance(x, tuple)) == [1, (2, 3), 4]
    values, context = tree._dict_flatten_with_keys({"a": 1})
    assert (values, context) == ([(tree.MappingKey("a"), 1)], ["a"])
    assert tree._dict_unflatten([2], context) == {"a": 2}
    assert tree.tree_map_only(str, len, [1, "abc"]) == [1, 3]
    Pair = namedtuple("Pair", "a b")
    assert tree.tree_map(str, OrderedDict(x=Pair(1, 2))) == OrderedDict(x=Pair("1", "2"))

    class Box:
        def __init__(self, inside: object) -> None:
            self.inside = inside

    tree.register_pytree_node(Box, lambda box: ([box.inside], "kept"), lambda values, context: (context, *values))
    try:
        assert tree.tree_map(lambda x: -x, [Box((1, 2))]) == [("kept", (-1, -2))]
    finally:
        del tree.SUPPORTED_NODES[Box]
    with pytest.raises(ValueError, match="3 values for a structure of 4"):
        tree.tree_unflatten([1, 2, 3], spec)


@pytest.mark.cuda
def test_data_parallel_copies_its_arguments() -> None:
    """As PyTorch's: a module on the GPU, called with batches as they come from a loader."""
    place = gpu()
    if isinstance(place, str):
        pytest.skip(place)
    module = DataParallel(nn.LSTM(3, 2, batch_first=True), device_ids=[0])
    x, states = hs.ones(2, 4, 3), (hs.zeros(1, 2, 2), hs.zeros(1, 2, 2))
    found, (h, _) = module(x, states)
    assert {str(found.device), str(h.device), str(module.module.weight_ih_l0.device)} == {"cuda:0"}
    wanted, _ = module.module.cpu()(x, states)
    np.testing.assert_allclose(found.detach().cpu().numpy(), wanted.detach().numpy(), atol=1e-5)
