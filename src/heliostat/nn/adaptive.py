"""A softmax over many classes in clusters: frequent ones first, rare ones in smaller spaces (arXiv 1609.04309)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..diagnostics import ShapeError
from ..tensor import FUNCTIONS, Tensor
from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module


class AdaptiveLogSoftmaxOutput(NamedTuple):
    """The log probability of each target, (N,), and minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log probabilities of n_classes in clusters that begin at `cutoffs`. input: (N, in_features) or (in_features,),
    target: (N,) or ()."""

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = False,
    ) -> None:
        super().__init__()
        found = list(cutoffs)
        if not found:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if found != sorted(set(found)) or found[0] <= 0 or found[-1] > n_classes - 1:
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each "
                "value is between 1 and n_classes-1"
            )
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*found, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size = found[0]
        self.n_clusters = len(found)
        self.head_size = self.shortlist_size + self.n_clusters
        kept = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, head_bias, **kept)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(in_features // (div_value ** (i + 1)))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(Sequential(Linear(in_features, hidden, bias, **kept), Linear(hidden, size, bias, **kept)))

    def reset_parameters(self) -> None:
        """First values of all layers."""
        self.head.reset_parameters()
        pairs: Any = list(self.tail)
        for first, second in pairs:
            first.reset_parameters()
            second.reset_parameters()

    def log_prob(self, input: Tensor) -> Tensor:
        """Log probabilities of all classes, (N, n_classes)."""
        head = self.head(input).log_softmax(-1)
        parts = [head[..., : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            parts.append(cluster(input).log_softmax(-1) + head[..., self.shortlist_size + i].unsqueeze(-1))
        made: Tensor = FUNCTIONS["cat"](parts, -1)
        return made

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each row, (N,)."""
        return self.log_prob(input).argmax(-1)

    def forward(self, input_: Tensor, target_: Tensor) -> AdaptiveLogSoftmaxOutput:
        if target_.ndim + 1 != input_.ndim or target_.ndim > 1:
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss needs (N, D) and (N,), or (D,) and (), found {list(input_.shape)} and "
                f"{list(target_.shape)}"
            )
        if target_.ndim and input_.shape[0] != target_.shape[0]:
            raise ShapeError("Input and target should have the same size in the batch dimension.")
        rows = input_.reshape(-1, input_.shape[-1])
        output = self.log_prob(rows).gather(1, target_.reshape(-1, 1)).squeeze(1)
        loss = -output.mean()
        return AdaptiveLogSoftmaxOutput(output if target_.ndim else output.squeeze(0), loss)
