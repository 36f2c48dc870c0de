"""Options of optimizers as tensors, and the rule of an optimizer walked once for all steps: `Numbers`, `Walked`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.types import f64, tensor
from ..tensor import recorded
from ..tensor.conversion import convert, live_scalar
from ..tensor.core import Tensor, new

Group = dict[str, Any]
State = dict[str, Any]
Row = tuple[Tensor, Tensor, State]
"""A parameter, its gradient and its state."""
Rule = Callable[[Group, Any, Sequence[Row]], list[tuple[Tensor, State]]]
_PARAMETERS = ("params", "param_names")
_ABSENT = object()


class Numbers:
    """The options of a group as float64 tensors without axes: `n.lr`, `n.at("betas", 0)`.

    A compiled step asks the group for them anew at each run."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._made: dict[tuple[str, int | None], Tensor] = {}

    def __getattr__(self, name: str) -> Tensor:
        return self.at(name)

    def at(self, name: str, index: int | None = None) -> Tensor:
        """An option, or an element of one that is a tuple."""
        made = self._made.get((name, index))
        if made is None:
            made = self._made[name, index] = self._make(name, index)
        return made

    def _make(self, name: str, index: int | None) -> Tensor:
        group = self._group
        value = group[name] if index is None else group[name][index]
        if isinstance(value, Tensor):
            return convert(value.detach().reshape(()), f64)
        return live_scalar(lambda: float(group[name] if index is None else group[name][index]), f64)


class _Noted(Numbers):
    """Options as stand-ins. `taken`: which ones were asked for."""

    def __init__(self, group: Group, given: Sequence[Tensor]) -> None:
        super().__init__(group)
        self.taken: list[tuple[str, int | None]] = []
        self._given = given

    def _make(self, name: str, index: int | None) -> Tensor:
        self.taken.append((name, index))
        return self._given[len(self.taken) - 1]


class Walked:
    """The rule of an optimizer for parameters of some types, walked once under some options.

    Options that the rule takes as tensors may have other values later, but of the same sign: rules ask for that."""

    def __init__(self, rule: Rule, group: Group, rows: Sequence[Row], arguments: Sequence[Tensor]) -> None:
        self.options: dict[str, Any] = {}
        self.recorded: recorded.Recorded | None = None
        self.taken: list[tuple[str, int | None]] = []
        self.names: list[list[str]] = []
        place = {id(t): n for n, t in enumerate(arguments)}

        def walk(given: list[Tensor]) -> list[Tensor]:
            stands = [
                (given[place[id(p)]], given[place[id(g)]], {k: given[place[id(t)]] for k, t in s.items()})
                for p, g, s in rows
            ]
            noted = _Noted(group, given[len(arguments) :])
            made = rule(group, noted, stands)
            self.taken = noted.taken
            self.names = [list(state) for _, state in made]
            return [t for value, state in made for t in (value, *state.values())]

        spare = [tensor(f64)] * (4 * len(group))
        self.recorded = recorded.record(walk, [*(t._v.type for t in arguments), *spare])
        self.live = {name for name, _ in self.taken}
        self.options = {k: _sign(v) if k in self.live else v for k, v in _options(group)}
        if any(isinstance(v, Tensor) for v in self.options.values()):
            self.recorded = None  # its value, which may change, would be in the graph

    def fits(self, group: Group) -> bool:
        """Whether it was walked under such options."""
        options = self.options
        for k, v in group.items():
            if k in _PARAMETERS:
                continue
            if isinstance(v, Tensor) and k not in self.live:
                return self.recorded is None
            if (_sign(v) if k in self.live else v) != options.get(k, _ABSENT):
                return False
        return len(options) + sum(k in group for k in _PARAMETERS) == len(group)

    def __call__(self, group: Group, arguments: Sequence[Tensor]) -> list[tuple[Tensor, State]] | None:
        """What the rule gives for these tensors; None where it cannot be one node."""
        if self.recorded is None:
            return None
        n = Numbers(group)
        values = [t.value for t in arguments]
        values += [n.at(name, index).value for name, index in self.taken]
        made = iter([new(Tensor, v) for v in self.recorded(values)])
        return [(next(made), {k: next(made) for k in names}) for names in self.names]


def _options(group: Group) -> list[tuple[str, Any]]:
    return [(k, v) for k, v in group.items() if k not in _PARAMETERS]


def _sign(option: Any) -> Any:
    """What rules choose by, of an option that they take as a tensor."""
    if isinstance(option, Tensor):
        return Tensor
    if isinstance(option, tuple | list):
        return [_sign(o) for o in option]
    if type(option) is float or type(option) is int:
        return (option > 0) - (option < 0)
    return option
