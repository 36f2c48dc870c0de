"""The training loop: forward, backward, clipping and AdamW as one compiled step, a warm-up and a cosine for the
learning rate, checks on validation rows, and checkpoints from which a run goes on with the same losses, bit for bit.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from .. import nn, optim
from ..amp import autocast
from ..diagnostics import FileFormatError
from ..ir.types import bf16
from ..nn.utils import clip_grad_norm_
from ..tensor import Tensor, default_generator, no_grad
from ..tensor.compile import compile
from ..tensor.conversion import from_array
from ..tensor.devices import Device
from .checkpoint import NAME, Progress, read_checkpoint, write_checkpoint
from .curve import write_curve
from .decoder import loss_of
from .options import RESUMABLE, OptionError, RunOptions, TrainingError
from .text import Batches, Blocks

SMALLER = "try a smaller lr"
READ_TOGETHER = 10
"""Steps on a GPU whose losses are read together: a reader waits for the device, which then waits for the host."""

Report = Callable[[Progress, float], None]
"""Called when losses were read, on the cpu after every step, with the progress and the tokens per second since the call
before."""


class Run:
    """A model being trained on blocks of ids. Only parameters that want gradients are trained and kept."""

    def __init__(
        self, model: nn.Module, blocks: Blocks, held: Blocks, options: RunOptions, identity: dict[str, Any]
    ) -> None:
        """`held`: rows for checks, none if empty. `identity`: what else must be the same when the run is resumed."""
        self.model, self.options, self.held = model, options, held
        self.device = Device(options.device)
        model.to(self.device)
        self.batches = Batches(blocks, options.batch, options.seed)
        self.folder = Path(options.out)
        named = {f.name: getattr(options, f.name) for f in dataclasses.fields(options) if f.name not in RESUMABLE}
        self.identity = {**named, "training rows": blocks.digest, **identity}
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        matrices = [p for p in self.trained.values() if p.ndim > 1]
        vectors = [p for p in self.trained.values() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": options.weight_decay}]
        groups += [{"params": vectors, "weight_decay": 0.0}] if vectors else []
        self.optimizer = optim.AdamW(groups, lr=options.lr, betas=(0.9, options.beta2))
        self.optimizer.make_state()
        self.progress = Progress()
        self.saved: int | None = None
        """The step that the checkpoint in the folder holds."""
        self.best: dict[str, Tensor] = {}
        """Parameters of the check with the lowest loss, on the cpu, where the best are kept."""
        self.step = compile(self._step)
        self.check = compile(self._check)

    # --- one step -------------------------------------------------------------------------------------------------
    def _step(self, ids: Tensor, labels: Tensor) -> Tensor:
        loss = self._loss(ids, labels)
        self.optimizer.zero_grad()
        loss.backward()
        if self.options.clip:
            clip_grad_norm_(self.trained.values(), self.options.clip)
        self.optimizer.step()
        return loss.detach()

    def _check(self, ids: Tensor, labels: Tensor) -> Tensor:
        with no_grad():
            return self._loss(ids, labels)

    def _loss(self, ids: Tensor, labels: Tensor) -> Tensor:
        with autocast(self.device.type, bf16, enabled=self.options.autocast != "none"):
            return loss_of(self.model, ids, labels)

    def _sent(self, array: Any) -> Tensor:
        return from_array(array).to(self.device)

    def learning_rate(self, step: int) -> float:
        """Of a step counted from 0: a line up to `lr` in `warmup` steps, then half a cosine down to `min_lr`."""
        o = self.options
        if step < o.warmup:
            return o.lr * (step + 1) / o.warmup
        done = (step - o.warmup) / max(1, o.steps - 1 - o.warmup)
        return o.min_lr + (o.lr - o.min_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def train(self, report: Report | None = None) -> Progress:
        """Take the steps that are left. Ctrl-C lets the step end, writes a checkpoint and raises KeyboardInterrupt.

        With `keep` "best" the model has the parameters of its best check at the end; the checkpoint has the last ones.
        Raises TrainingError if the loss is no number: the checkpoint before stays."""
        o, p = self.options, self.progress
        self.folder.mkdir(parents=True, exist_ok=True)
        together = 1 if self.device.type == "cpu" else READ_TOGETHER
        waiting: list[Tensor] = []
        before = time.perf_counter()
        with _stopping() as stopped:
            while p.step < o.steps:
                rate = self.learning_rate(p.step)
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                ids, labels = (self._sent(a) for a in self.batches.at(p.step))
                self.model.train()
                waiting.append(self.step(ids, labels))
                p.step += 1
                interrupted, last = stopped(), p.step == o.steps
                checks = len(self.held) > 0 and (p.step % o.eval_every == 0 or last)
                saves = interrupted or p.step % o.checkpoint_every == 0 or last
                if not (checks or saves or len(waiting) >= together):
                    continue
                self._read(waiting)
                if checks:
                    checked = self.validation_loss()
                    if not math.isfinite(checked):
                        raise TrainingError(f"the validation loss after step {p.step} is {checked}", help=SMALLER)
                    if o.keep == "best" and checked < min((v for _, v in p.checks), default=math.inf):
                        self.best = {name: copied(t) for name, t in self.trained.items()}
                    p.checks.append((p.step, checked))
                if saves:
                    self.save()
                if report is not None:
                    now = time.perf_counter()
                    report(p, len(waiting) * o.batch * o.block / max(now - before, 1e-9))
                    before = now
                waiting.clear()
                if interrupted and not last:
                    raise KeyboardInterrupt
        with no_grad():
            for name, t in self.best.items():
                self.trained[name].copy_(t)
        return p

    def _read(self, losses: Sequence[Tensor]) -> None:
        """Note the losses of the last steps. Raises TrainingError for the first that is no number."""
        p = self.progress
        for n, loss in enumerate(losses, p.step - len(losses) + 1):
            value = float(loss)
            if not math.isfinite(value):
                raise TrainingError(f"the loss of step {n} is {value}", help=SMALLER)
            p.losses.append(value)

    def validation_loss(self) -> float:
        """The mean loss of the first `eval_batches` batches of the rows held back, without dropout."""
        size = min(self.options.batch, len(self.held))
        self.model.eval()
        losses = []
        for n in range(min(self.options.eval_batches, len(self.held) // size)):
            rows = slice(n * size, (n + 1) * size)
            ids, labels = self._sent(self.held.inputs[rows]), self._sent(self.held.labels[rows].astype(np.int64))
            losses.append(float(self.check(ids, labels)))
        return sum(losses) / len(losses)

    # --- checkpoints ----------------------------------------------------------------------------------------------
    def save(self) -> None:
        """Write the checkpoint and the loss curve."""
        state = {
            "parameters": dict(self.trained), "optimizer": self.optimizer.state_dict(),
            "generator": default_generator.get_state(), "best": self.best,
        }  # fmt: skip
        write_checkpoint(self.folder, self.identity, self.progress, state)
        self.saved = self.progress.step
        write_curve(self.folder / "loss.svg", self.progress, f"loss of {self.folder.name}")

    def begin(self) -> None:
        """Raise OptionError if the folder holds a run that this one would overwrite."""
        if (self.folder / NAME).exists():
            raise OptionError(
                f"{self.folder / NAME} is there already", help="--resume goes on with it; or choose another --out"
            )

    def resume(self) -> None:
        """Go on with the run in the folder. Raises as `read_checkpoint`."""
        progress, state = read_checkpoint(self.folder, self.identity)
        kept = state["parameters"]
        shapes = {name: tuple(t.shape) for name, t in kept.items()}
        if shapes != {name: tuple(p.shape) for name, p in self.trained.items()}:
            raise FileFormatError(f"{self.folder / NAME}: holds parameters of another model")
        with no_grad():
            for name, p in self.trained.items():
                p.copy_(kept[name])
        self.optimizer.load_state_dict(state["optimizer"])
        default_generator.set_state(state["generator"])
        self.best = state["best"]
        self.progress = progress
        self.saved = progress.step


def copied(t: Tensor) -> Tensor:
    """A tensor's values now, on the cpu."""
    return from_array(np.array(t.detach().cpu().numpy()))


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, instead of an exception in the middle of a step. Pressed again, it is one."""
    pressed = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    if threading.current_thread() is not threading.main_thread():  # signals come to the main thread alone
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
