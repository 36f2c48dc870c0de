"""Modules in files: what comes back, and what is refused."""

from __future__ import annotations

import dataclasses
import enum
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.diagnostics import FileFormatError, UnsupportedError


@dataclasses.dataclass(frozen=True)
class Config:
    width: int = 4
    activation: Any = hs.relu


class Kind(enum.Enum):
    FIRST = 1


class Net(nn.Module):
    """A module with what modules have: shared parts, buffers, settings, functions."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.kind, self.made_of = config, Kind.FIRST, Config
        self.first, self.last = nn.Linear(config.width, config.width), nn.Linear(config.width, 2)
        self.again = self.first
        self.tied = nn.Linear(config.width, 2)
        self.tied.weight = self.last.weight
        self.first.weight.decays = False  # type: ignore[attr-defined]
        self.register_buffer("ones", hs.ones(3), persistent=False)
        self.plain = [1, "a", None, (2.5, hs.float32), hs.arange(2)]
        self.place = hs.device("cpu")
        self.rest = nn.ModuleList([nn.LSTM(2, 3, bidirectional=True), nn.BatchNorm1d(3), nn.Dropout(0.5)])

    def forward(self, x: hs.Tensor) -> Any:
        return self.last(self.config.activation(self.first(x))) + self.tied(x)


def stored(x: Any) -> io.BytesIO:
    file = io.BytesIO()
    hs.save(x, file)
    file.seek(0)
    return file


def test_a_module_comes_back() -> None:
    net = Net(Config()).eval()
    made = hs.load(stored({"net": net, "epoch": 3}), weights_only=False)["net"]
    x = hs.randn(5, 4)
    np.testing.assert_array_equal(made(x).detach().numpy(), net(x).detach().numpy())
    assert type(made) is Net
    assert not made.training
    assert repr(made) == repr(net)
    assert list(made.state_dict()) == list(net.state_dict())
    assert made.again is made.first
    assert made.tied.weight is made.last.weight
    assert isinstance(made.last.weight, nn.Parameter)
    assert made.first.weight.decays is False
    assert (made.config, made.kind, made.made_of) == (net.config, Kind.FIRST, Config)
    assert made.ones.tolist() == [1, 1, 1]
    assert made.plain[4].tolist() == [0, 1]
    made(x).sum().backward()
    assert made.first.weight.grad is not None
    assert made.rest[0](hs.ones(2, 1, 2))[0].shape == (2, 1, 6)


def test_parameters_of_all_kinds() -> None:
    holder = nn.Module()
    holder.complex = nn.Parameter(hs.tensor([1 + 2j]))
    holder.fixed = nn.Parameter(hs.ones(2, dtype=hs.bfloat16), requires_grad=False)
    holder.buffer = nn.Buffer(hs.ones(2), persistent=False)
    made = hs.load(stored(holder), weights_only=False)
    assert [type(p) for p in made.parameters()] == [type(p) for p in holder.parameters()]
    assert made.complex.tolist() == [1 + 2j]
    assert not made.fixed.requires_grad
    assert made.fixed.dtype == hs.bfloat16
    assert not made.buffer.persistent
    assert not made.state_dict().keys() & {"buffer"}


@pytest.mark.parametrize(
    "module",
    [nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, batch_first=True), 2), nn.Sequential(nn.Conv2d(1, 2, 3),
     nn.GELU("tanh")), nn.utils.parametrizations.weight_norm, nn.MultiheadAttention(8, 2), nn.GRU(2, 3, 2)],
    ids=lambda m: type(m).__name__,
)  # fmt: skip
def test_modules_of_the_framework(module: Any) -> None:
    if not isinstance(module, nn.Module):
        with pytest.raises(UnsupportedError, match="cannot be found by that name"):
            stored(module(nn.Linear(2, 2)))  # its class is made as it is parametrized
        return
    made = hs.load(stored(module), weights_only=False)
    assert repr(made) == repr(module)
    assert vars(made).keys() == vars(module).keys()
    for a, b in zip(made.parameters(), module.parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_names_are_those_of_a_state_dict(tmp_path: Path) -> None:
    hs.save(nn.Sequential(nn.Linear(2, 1)), tmp_path / "m")
    assert hs.load_safetensors(tmp_path / "m").keys() == {"0.weight", "0.bias"}


def test_modules_are_made_where_that_is_asked_for() -> None:
    for weights_only in (None, True):
        with pytest.raises(UnsupportedError, match="weights_only=False"):
            hs.load(stored(nn.Linear(1, 1)), weights_only=weights_only)


def test_what_is_not_stored() -> None:
    hooked = nn.Linear(1, 1)
    hooked.register_forward_hook(lambda *args: None)
    inner = nn.Linear(1, 1)
    inner.f = lambda x: x
    around = nn.Linear(1, 1)
    around.list = [around]
    for module, said in (
        (hooked, "hooks"), (nn.Sequential(inner), "'0.f' is .*lambda"), (nn.LazyLinear(1), "without a shape"),
        (around, "nested in itself"),
    ):  # fmt: skip
        with pytest.raises(UnsupportedError, match=said):
            stored(module)


class Counted(nn.Module):
    """Whose state is no dict."""

    def __getstate__(self) -> Any:
        return self.__dict__, 3


def test_a_state_that_is_no_dict_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="__getstate__ of a Counted gives a tuple"):
        stored(Counted())


@dataclasses.dataclass
class Derived:
    width: int
    later: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.half = self.width // 2


def test_attributes_of_a_dataclass_beside_its_fields_come_back() -> None:
    module = nn.Identity()
    module.config = Derived(8)
    made = hs.load(stored(module), weights_only=False).config
    assert vars(made) == {"width": 8, "half": 4}


def test_a_file_gives_no_class_to_an_instance_of_another() -> None:
    other = {"$": "name", "is": [__name__, "Derived"]}
    changes = {"$": "dataclass", "class": [__name__, "Config"], "is": [["width", 1], ["__class__", other]]}
    assert type(hs.load(forged(**changes), weights_only=False)) is Config


def forged(**changes: Any) -> io.BytesIO:
    """A file of a module whose structure says something else."""
    from heliostat.serialization import container

    structure = {"$": "whole", "class": ["heliostat.nn.linear", "Identity"], "is": [], **changes}
    text = json.dumps(structure)
    file = io.BytesIO()
    digest = container._digest(text, {}, [])
    file.writelines(container.pack({}, {"format": "heliostat", "version": "1", "structure": text, "sha256": digest}))
    file.seek(0)
    return file


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"class": ["subprocess", "Popen"]}, UnsupportedError, "subprocess.Popen is no nn.Module"),
        ({"class": ["os", "system"]}, UnsupportedError, "os.system is no nn.Module"),
        ({"class": ["nowhere.at.all", "Net"]}, UnsupportedError, "nowhere.at.all.Net.*No module named 'nowhere'"),
        ({"class": [".os", "x"]}, UnsupportedError, "importing '.os' fails"),
        ({"class": ["heliostat.nn.linear", "None_"]}, UnsupportedError, "not there"),
        ({"class": ["", "x"]}, FileFormatError, "named by"),
        ({"class": [1, 2]}, FileFormatError, "named by"),
        ({"class": ["os"]}, FileFormatError, "not valid"),
        ({"class": ["sys", "path"]}, FileFormatError, "no class and no function"),
        ({"$": "again", "is": 3}, FileFormatError, "not valid"),
        ({"$": "again", "is": -1}, FileFormatError, "not valid"),
        ({"$": "dataclass", "class": ["decimal", "Decimal"]}, UnsupportedError, "is no dataclass"),
        ({"$": "enum", "class": ["decimal", "Decimal"], "is": "x"}, UnsupportedError, "is no enum"),
        ({"$": "enum", "class": ["enum", "Enum"], "is": "x"}, FileFormatError, "not valid"),
        ({"is": [[[], 1]]}, FileFormatError, "not valid"),
        ({"$": "generator", "is": [300]}, FileFormatError, "not valid"),
        ({"$": "complex", "is": []}, FileFormatError, "not valid"),
        ({"class": ["heliostat.nn", "Parameter"]}, FileFormatError, "no heliostat.nn.Parameter can be made"),
    ],
)
def test_files_that_say_something_else(changes: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        hs.load(forged(**changes), weights_only=False)
