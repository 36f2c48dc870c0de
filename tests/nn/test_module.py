"""Modules: registration, the tree, state dicts, hooks, text, training."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn

from .sweep import torch


def net(m: Any) -> Any:
    class Net(m.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = m.Linear(3, 4)
            self.register_buffer("scale", None)
            self.blocks = m.ModuleList([m.Sequential(m.Linear(4, 4), m.ReLU()) for _ in range(3)])
            self.norm = m.BatchNorm1d(4)
            self.heads = m.ModuleDict({"a": m.Linear(4, 2), "b": m.Linear(4, 1, bias=False)})
            self.shared = self.first
            self.act = m.GELU()

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            for block in self.blocks:
                x = block(x)
            return self.heads["a"](self.act(self.norm(x)))

    return Net()


def test_names_and_text_are_those_of_torch() -> None:
    a, b = net(nn), net(torch.nn)
    assert repr(a) == repr(b)
    assert list(a.state_dict()) == list(b.state_dict())
    for f in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [n for n, _ in getattr(a, f)()] == [n for n, _ in getattr(b, f)()], f
    assert [n for n, _ in a.named_parameters(prefix="p", recurse=False)] == []
    duplicates = [n for n, _ in a.named_parameters(remove_duplicate=False)]
    assert duplicates == [n for n, _ in b.named_parameters(remove_duplicate=False)]


def test_state_dicts_between_modules() -> None:
    a, b = net(nn), net(nn)
    assert repr(b.load_state_dict(a.state_dict())) == "<All keys matched successfully>"
    x = hs.randn(5, 3)
    np.testing.assert_array_equal(a.eval()(x).detach().numpy(), b.eval()(x).detach().numpy())
    snapshot = a.state_dict()["first.weight"]
    with hs.no_grad():
        a.first.weight.zero_()
    assert (snapshot.numpy() == 0).all(), "as in PyTorch the values of a state dict are the module's own"
    assert not snapshot.requires_grad
    assert a.state_dict(keep_vars=True)["first.weight"] is a.first.weight


def test_state_dicts_that_do_not_fit() -> None:
    def message(m: Any, make: Any) -> str:
        module = m.Sequential(m.Linear(3, 4), m.Linear(4, 2))
        state = dict(module.state_dict())
        state["2.weight"] = state.pop("1.bias")
        state["0.weight"] = make(5, 3)
        with pytest.raises(RuntimeError) as found:
            module.load_state_dict(state)
        result = module.load_state_dict({k: v for k, v in state.items() if k != "0.weight"}, strict=False)
        assert sorted(result.missing_keys) == ["0.weight", "1.bias"]
        assert result.unexpected_keys == ["2.weight"]
        return str(found.value)

    found, expected = message(nn, hs.zeros), message(torch.nn, torch.zeros)
    assert found == expected.replace("torch.Size", "Size")


def test_registration_refuses_what_does_not_fit() -> None:
    module = nn.Linear(3, 4)
    with pytest.raises(TypeError, match=r"cannot assign 'int' as parameter 'weight'"):
        module.weight = 3
    with pytest.raises(KeyError, match="already exists"):
        module.register_buffer("weight", hs.zeros(2))
    with pytest.raises(KeyError, match=r"name can.*t contain"):
        module.register_parameter("a.b", None)
    with pytest.raises(ValueError, match="non-leaf"):
        module.register_parameter("c", _non_leaf())
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'wight'"):
        _ = module.wight

    class Early(nn.Module):
        def __init__(self) -> None:
            self.a = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match="before Module"):
        Early()
    with pytest.raises(NotImplementedError, match='missing the required "forward"'):
        nn.Module()(1)


def _non_leaf() -> Any:
    made = nn.Parameter(hs.zeros(2))
    made._leaf = False
    return made


def test_assignments_move_names_between_tables() -> None:
    module = nn.Module()
    module.a = nn.Parameter(hs.zeros(2))
    module.b = nn.Buffer(hs.ones(3), persistent=False)
    module.c = hs.zeros(1)
    assert [n for n, _ in module.named_parameters()] == ["a"]
    assert [n for n, _ in module.named_buffers()] == ["b"]
    assert list(module.state_dict()) == ["a"]
    module.b = hs.zeros(3)
    assert (module.b.numpy() == 0).all()
    module.a = None
    assert module.a is None
    assert list(module.parameters()) == []
    module.c = nn.Parameter(hs.zeros(1))
    assert "c" in dict(module.named_parameters())
    del module.c
    assert not hasattr(module, "c")


def test_walks_over_the_tree() -> None:
    module = net(nn)
    assert module.get_submodule("blocks.1.0") is module.blocks[1][0]
    assert module.get_parameter("blocks.1.0.weight") is module.blocks[1][0].weight
    assert module.get_buffer("norm.running_mean") is module.norm.running_mean
    with pytest.raises(AttributeError, match="has no attribute `9`"):
        module.get_submodule("blocks.9")
    with pytest.raises(AttributeError, match="is not an nn"):
        module.get_parameter("norm.running_mean")
    module.set_submodule("act", nn.ReLU())
    assert isinstance(module.act, nn.ReLU)
    seen: list[str] = []
    module.apply(lambda m: seen.append(type(m).__name__))
    assert seen[-1] == "Net"
    assert not any(m.training for m in module.eval().modules())
    assert all(m.training for m in module.train().modules())
    module.requires_grad_(False)
    assert not any(p.requires_grad for p in module.parameters())


def test_conversions() -> None:
    module = net(nn).double()
    assert {p.dtype for p in module.parameters()} == {hs.float64}
    assert module.norm.num_batches_tracked.dtype == hs.int64
    assert module(hs.randn(4, 3, dtype=hs.float64)).dtype == hs.float64
    assert module.half().first.weight.dtype == hs.float16
    assert module.to("cpu").bfloat16().first.weight.dtype == hs.bfloat16
    assert module.to(dtype=hs.float32).first.weight.requires_grad
    with pytest.raises(TypeError, match="floating point"):
        module.to(hs.int64)
    with pytest.raises(NotImplementedError, match="metal"):
        module.to("metal")


def test_copies_and_pickles() -> None:
    module = net(nn)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))))):
        assert all(p.requires_grad for p in other.parameters())
    other = copy.deepcopy(module)
    assert other.shared is other.first
    with hs.no_grad():
        other.first.weight.zero_()
    assert np.abs(module.first.weight.detach().numpy()).max() > 0


def test_forward_hooks() -> None:
    module, calls = nn.Linear(2, 2), []
    pre = module.register_forward_pre_hook(lambda m, a: (a[0] * 2,))
    post = module.register_forward_hook(lambda m, a, y: y + 100)
    x = hs.randn(3, 2)
    expected = nn.functional.linear(x * 2, module.weight, module.bias) + 100
    np.testing.assert_allclose(module(x).detach().numpy(), expected.detach().numpy(), rtol=1e-6)
    pre.remove()
    post.remove()
    with module.register_forward_hook(lambda m, a, k, y: calls.append((len(a), list(k))), with_kwargs=True):
        module(input=x)
    module(x)
    assert calls == [(0, ["input"])]
    module.register_forward_pre_hook(lambda m, a, k: (a, {"input": k["input"] * 0}), with_kwargs=True)
    np.testing.assert_allclose(module(input=x).detach().numpy()[0], module.bias.detach().numpy(), rtol=1e-6)
    order: list[str] = []
    other = nn.Identity()
    other.register_forward_hook(lambda m, a, y: order.append("second"))
    other.register_forward_hook(lambda m, a, y: order.append("first"), prepend=True)
    other(x)
    assert order == ["first", "second"]


def test_hooks_of_all_modules() -> None:
    names: list[str] = []
    net_ = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    handles = [
        nn.hooks.register_module_forward_pre_hook(lambda m, a: names.append("before " + type(m).__name__)),
        nn.hooks.register_module_forward_hook(lambda m, a, y: names.append("after " + type(m).__name__)),
        nn.hooks.register_module_full_backward_hook(lambda m, gi, go: names.append("back " + type(m).__name__)),
    ]
    net_(hs.randn(1, 2).requires_grad_(True)).sum().backward()
    for handle in handles:
        handle.remove()
    net_(hs.ones(1, 2))
    linear, relu = ["before Linear", "after Linear"], ["before ReLU", "after ReLU"]
    assert names[:6] == ["before Sequential", *linear, *relu, "after Sequential"]
    assert sorted(names[6:]) == ["back Linear", "back ReLU", "back Sequential"]
    assert nn.LazyLinear(2).has_uninitialized_parameters()


def test_hooks_that_are_always_called() -> None:
    module, calls = nn.Linear(2, 2), []
    module.register_forward_hook(lambda m, a, y: calls.append(y), always_call=True)
    with pytest.raises(ValueError, match="linear"):
        module(hs.zeros(3, 3))
    assert calls == [None]


def test_backward_hooks() -> None:
    def run(m: Any, tensor: Any) -> list[Any]:
        seen: list[Any] = []
        module = m.Linear(2, 3)
        with (hs if m is nn else torch).no_grad():
            module.weight.copy_(tensor(np.arange(6, dtype=np.float32).reshape(3, 2)))
        module.register_full_backward_pre_hook(lambda _, g: (g[0] * 2,))
        module.register_full_backward_hook(lambda _, gi, go: seen.extend([gi[0], go[0]]))
        module.register_full_backward_hook(lambda _, gi, go: None if gi[0] is None else (gi[0] * 3,))
        x = tensor(np.array([[1.0, 2.0]], np.float32)).requires_grad_(True)
        (module(x) * tensor(np.array([1.0, -1.0, 2.0], np.float32))).sum().backward()
        without: list[Any] = []
        module.register_full_backward_hook(lambda _, gi, go: without.append(gi[0]))
        module(x.detach()).sum().backward()
        assert without == [None]
        return [*seen[:2], x.grad, module.weight.grad]

    for a, b in zip(run(nn, hs.tensor), run(torch.nn, torch.tensor), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_state_dicts_without_a_count_of_batches() -> None:
    """As they were saved before 0.4.1, and as tools write them."""
    for m in (hs, torch):
        norm, held = m.nn.BatchNorm1d(2), m.nn.BatchNorm1d(2).state_dict()
        norm(m.ones(3, 2))
        del held["num_batches_tracked"]
        assert norm.load_state_dict(dict(held)).missing_keys == []
        assert norm.num_batches_tracked.item() == 1
        assert norm.running_mean.tolist() == [0, 0]


def test_state_dict_hooks() -> None:
    module = nn.Linear(2, 2)
    module.register_state_dict_post_hook(lambda m, state, prefix, _: state.update({prefix + "extra": 1}))
    assert list(module.state_dict()) == ["weight", "bias", "extra"]
    module.register_load_state_dict_pre_hook(lambda m, state, prefix, *rest: state.pop(prefix + "extra", None))
    module.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    module.load_state_dict({"weight": hs.zeros(2, 2), "extra": 3})
    assert (module.weight.detach().numpy() == 0).all()


def test_extra_state() -> None:
    class Counter(nn.Module):
        count = 3

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

    a, b = Counter(), Counter()
    a.count = 7
    b.load_state_dict(a.state_dict())
    assert b.count == 7
    with pytest.raises(RuntimeError, match="_extra_state"):
        b.load_state_dict({})


def test_assigning_a_state_dict() -> None:
    module = nn.Linear(2, 2)
    module.load_state_dict({k: v.double() for k, v in module.state_dict().items()}, assign=True)
    assert module.weight.dtype == hs.float64
    assert isinstance(module.weight, nn.Parameter)
    assert module.weight.requires_grad


def test_gradients_are_forgotten() -> None:
    module = nn.Linear(2, 2)
    module(hs.ones(1, 2)).sum().backward()
    assert module.weight.grad is not None
    module.zero_grad(set_to_none=False)
    assert (module.weight.grad.numpy() == 0).all()
    module.zero_grad()
    assert module.weight.grad is None


def test_a_network_learns() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 2)).astype(np.float32)
    labels = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    hs.manual_seed(1)
    module = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
    loss_of, losses = nn.CrossEntropyLoss(), []
    a, b = hs.tensor(x), hs.tensor(labels)
    for _ in range(150):
        loss = loss_of(module(a), b)
        module.zero_grad()
        loss.backward()
        with hs.no_grad():
            for p in module.parameters():
                p.sub_(p.grad * 0.5)
        losses.append(loss.item())
    assert losses[-1] < 0.35 * losses[0]


def test_a_training_step_is_compiled_once() -> None:
    from heliostat.tensor import lazy

    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.2),
        nn.Flatten(), nn.Linear(36, 3),
    )  # fmt: skip
    x, labels = hs.randn(4, 1, 6, 6), hs.tensor(np.array([0, 1, 2, 0]))
    misses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(module(x), labels)
        module.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        with hs.no_grad():
            for p in module.parameters():
                p.sub_(p.grad * 0.1)
        loss.item()
        misses.append(lazy.programs.misses)
    assert misses[-1] == misses[1]
    assert module[1].num_batches_tracked.item() == 5


def test_a_module_compiles_its_own_calls() -> None:
    called = []

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            called.append(type(x))
            return self.layer(x).relu()

    model = Model()
    x = hs.ones(4, 3)
    expected = model(x).tolist()
    assert model.compile(dynamic=False) is None
    assert [model(x).tolist() for _ in range(3)] == [expected] * 3
    assert len(called) == 2  # once as it is, once to capture
    assert sorted(model.state_dict()) == ["layer.bias", "layer.weight"]
    model(x).sum().backward()
    assert model.layer.weight.grad is not None
    assert copy.deepcopy(model)(x).tolist() == expected
    with pytest.raises(TypeError, match="mode"):
        model.compile(mode="fast")


def test_modules_with_those_that_are_shared() -> None:
    shared = nn.ReLU()
    model = nn.Sequential(shared, shared)
    assert len(list(model.modules())) == 2
    assert len(list(model.modules(remove_duplicate=False))) == 3
    assert not nn.UninitializedBuffer(requires_grad=False).requires_grad
    assert nn.RMSNorm(2)(x=hs.ones(2)).shape == (2,)


@pytest.mark.parametrize("assign", [False, True])
def test_a_state_dict_that_does_not_fit_changes_nothing(assign: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    kept = [id(p) for p in model.parameters()]
    before = {k: v.tolist() for k, v in model.state_dict().items()}
    other = {k: v + 1 for k, v in model.state_dict().items()}
    for wrong in ({**other, "2.weight": hs.zeros(9)}, {**other, "3.weight": hs.zeros(1)}, {**other, "2.bias": 3},
                  {k: v for k, v in other.items() if k != "2.bias"}):  # fmt: skip
        with pytest.raises(RuntimeError, match="state_dict"):
            model.load_state_dict(wrong, assign=assign)
        assert {k: v.tolist() for k, v in model.state_dict().items()} == before
        assert [id(p) for p in model.parameters()] == kept

    def fails(module: nn.Module, keys: Any) -> None:
        raise KeyError("a hook")

    model[0].register_load_state_dict_post_hook(fails)
    with pytest.raises(KeyError):
        model.load_state_dict(other, assign=assign)
    assert {k: v.tolist() for k, v in model.state_dict().items()} == before
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    missing = {k: v for k, v in other.items() if k != "2.bias"}
    model[0]._load_post_hooks.clear()
    model.load_state_dict(missing, strict=False, assign=assign)
    assert model[0].bias.tolist() == other["0.bias"].tolist()
