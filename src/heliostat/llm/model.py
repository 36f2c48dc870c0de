"""A loaded language model: weights packed for this machine, two programs (one token, a block of tokens) and a cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..diagnostics import ContextLengthError, FileFormatError, TokenizerError, UnsupportedError
from ..kernel.program import Compiled
from ..runtime import fork
from ..runtime.trace import LaunchTime
from ..session.executable import Executable
from ..session.host import host_target
from ..session.place import CpuPlace, open_place
from ..session.stored import load_programs, save_programs
from .answer import Answer, Piece
from .batch import Batch, PagedBatch, generate_batch, states_of
from .checkpoint import Checkpoint
from .config import MOST_LOGITS, DecoderConfig, rope_frequencies
from .gguf import GGUFFile, TensorKind
from .paged_cache import BoundTable, PagedCache
from .pages import LEAST_PAGE, ContiguousSequence, PagedSequence, alike, pages_of
from .reserve import Reserve, packed_nbytes
from .sample import Sample, Sampler
from .stepper import Last, Stepper, steps_together
from .steps import StepOptions, cache_element, capacity_of, choices_of, compile_all_rows, compile_steps, steps_key
from .tokenizer import Tokenizer
from .weights import DecoderWeights

DEFAULT_CONTEXT = 4096
CACHE_DTYPES = ("f16", "bf16", "f32", "q8_0")
"""Of keys and values; q8_0 quantizes blocks of 32 when they are put into the cache."""
MOST_SEQUENCES = 256
MOST_PAGE = 4096
SMALL = 64 << 10
"""Bytes of a weight below which it is copied rather than read where the file is mapped."""
PART = 8 << 20
"""Bytes of a file that are packed before their pages are given back: what a large matrix adds to the peak of memory."""

Progress = Callable[[str, int, int], None]

if TYPE_CHECKING:
    from ..compiler.pipeline import KernelLibrary


@dataclass
class Timing:
    """What the last prompt and generation took, in tokens and seconds."""

    prompt_tokens: int = 0
    prompt_seconds: float = 0.0
    generated_tokens: int = 0
    generated_seconds: float = 0.0

    @property
    def prompt_rate(self) -> float:
        return self.prompt_tokens / self.prompt_seconds if self.prompt_seconds else 0.0

    @property
    def generation_rate(self) -> float:
        return self.generated_tokens / self.generated_seconds if self.generated_seconds else 0.0


@dataclass
class LoadReport:
    """How long loading took, in seconds, how many kernels were compiled rather than found in the cache, and the bytes
    of weights and of all caches of keys and values."""

    open_seconds: float = 0.0
    compile_seconds: float = 0.0
    pack_seconds: float = 0.0
    kernels: int = 0
    compiled: int = 0
    weight_bytes: int = 0
    cache_bytes: int = 0
    notes: list[str] = field(default_factory=list)


class LanguageModel:
    """A decoder that runs here. Use `heliostat.llm.load`. One cache: calls from several threads take turns.

    `tokenizer` is None where the file has none that is known; then prompts are token ids.
    """

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        context: int | None = None,
        activations: str = "int8",
        cache_dtype: str = "f16",
        progress: Progress | None = None,
        device: str = "cpu",
        batch: Sequence[int] = (),
        cache: str = "contiguous",
        page_size: int | None = None,
        cache_tokens: int | None = None,
    ) -> None:
        if activations not in ("int8", "float"):
            raise ValueError(f'activations must be "int8" or "float", got {activations!r}')
        if cache_dtype not in CACHE_DTYPES:
            raise ValueError(f"cache_dtype must be one of {', '.join(CACHE_DTYPES)}, got {cache_dtype!r}")
        page_size = _page_size(cache, page_size, cache_tokens)
        if context is not None:
            context = index(context)
        if isinstance(batch, int) or not all(2 <= index(count) <= MOST_SEQUENCES for count in batch):
            raise ValueError(f"batch must be numbers from 2 to {MOST_SEQUENCES} in a list, got {batch!r}")
        started = time.perf_counter()
        self.report = LoadReport()
        self._reserve = Reserve(path) if device == "cpu" else None
        self.file = open_model_file(path)
        weights = DecoderWeights(self.file)
        self.config: DecoderConfig = weights.config
        block = cache_element(cache_dtype).block
        if self.config.head_dim % block:
            raise UnsupportedError(
                f"{self.file.path}: heads of {self.config.head_dim} elements are no whole blocks of {cache_dtype}",
                help=f"use another cache_dtype; {cache_dtype} needs a multiple of {block}",
            )
        self.context = self._capacity(context)
        if self._reserve is not None:
            self._reserve.prepare(packed_nbytes(self.file, host_target().lanes))
        self.tokenizer = _tokenizer(self.file)
        self.timing = Timing()
        self.place = open_place(device, threads)
        self._lock = fork.made_new()  # what a child finds half done is as after an interrupt
        self._epoch = 0
        self.report.open_seconds = time.perf_counter() - started
        self._frequencies, magnitude = rope_frequencies(self.config.rope, weights.divisors(self.context))
        batches, most = tuple(sorted(set(batch))), self.place.prompt_block
        held = self._cache_tokens(cache_tokens, batches, page_size) if page_size else 0
        self.options = StepOptions(
            self.context, activations, cache_dtype, float(magnitude), batches, most, page_size, held, self.place.one_row
        )
        self._compile(weights, progress)
        self.weights: dict[str, Any] = {}
        self._pack(self.programs.values(), progress)
        self._bind(weights)

    def _capacity(self, wanted: int | None) -> int:
        most = self.config.context
        if wanted is not None and not 1 <= wanted <= most:
            raise ContextLengthError(
                f"{self.file.path}: a context of {wanted} tokens was asked for; the model has {most}"
            )
        return min(most, DEFAULT_CONTEXT) if wanted is None else wanted

    def _cache_tokens(self, wanted: int | None, batches: Sequence[int], page_size: int) -> int:
        """Tokens that the pages hold: a whole context, and a quarter of one for each row if it is not said. No more
        than all sequences together have room for: nobody could take those pages."""
        if wanted is None:
            return max(self.context, -(-self.context * max(batches, default=1) // 4))
        if index(wanted) < self.context:
            raise ContextLengthError(
                f"a cache of {wanted} tokens does not hold one context of {self.context}",
                help="give more cache_tokens, or a smaller context",
            )
        return min(index(wanted), (1 + sum(batches)) * pages_of(capacity_of(self.context), page_size) * page_size)

    # --- loading ------------------------------------------------------------------------------------------------
    def _compile(self, weights: DecoderWeights, progress: Progress | None) -> None:
        started = time.perf_counter()
        place = self.place
        self.block = self.options.block
        key = steps_key(weights, self.options, place.target) if isinstance(place, CpuPlace) else None
        found = load_programs(key)
        self._library: KernelLibrary | None = None
        if found is not None and isinstance(place, CpuPlace):
            every, objects = found
            place.code.load_objects(objects)
        else:
            if self._reserve is not None:  # not beside LLVM: the peak of memory would have both
                self._reserve.give_back()
            every, library = compile_steps(weights, self.options, place.target)
            self._library = library if self.options.one_row else None
            kernels = [k for c in every for k in c.kernels()]
            show = (lambda n, total, _: progress("compile", n, total)) if progress else None
            save_programs(key, every, place.load(kernels, "model", show))
        if self._reserve is not None:
            self._reserve.expect(packed_nbytes(self.file, place.target.lanes))
        self.programs = {c.program.name: c for c in every}
        self.decode, self.prefill = self.programs["decode"], self.programs["prefill"]
        self.report.kernels = len({k.name for c in every for k in c.kernels()})
        self.report.compiled = place.compiled
        self.report.compile_seconds = time.perf_counter() - started

    def compile_again(self) -> tuple[list[Compiled], KernelLibrary]:
        """The programs with all that the compiler knows of them, for reports and for the tuner."""
        return compile_steps(DecoderWeights(self.file), self.options, self.place.target)

    def _pack(self, programs: Iterable[Compiled], progress: Progress | None = None) -> None:
        """The weights of programs that are not there yet: those that are read as they are stay mapped, small ones
        in memory of their own; the others are packed, in parts of PART bytes, and their pages given back."""
        started = time.perf_counter()
        every = list(programs)
        loads = {n: load for c in every for n, load in c.loads.items() if n not in self.weights}
        names = {b.name for c in every for b in c.program.buffers if b.kind == "weight"} - self.weights.keys()
        mapped: set[str] = set()
        for name in sorted(n for n in names if n in self.file.tensors):
            data = self.file.data(name)
            if data.nbytes < SMALL:  # a system that maps 2 MiB for a norm of 4 KiB would keep most of the file
                data = data.copy()
                self.file.release_all()
            else:
                mapped.add(name)
            self.weights[name] = self.place.weight(data)
        for n, (name, program) in enumerate(loads.items()):
            if progress:
                progress("load", n, len(loads))
            sources = [b.name for b in program.buffers if b.kind == "weight"]
            given = {s: self.place.weight(self.file.data(s)) for s in sources}
            out = program.buffers[program.outputs[0]]
            if self._reserve is not None:
                given[out.name] = self._reserve.take(out.nbytes)
            run = self.place.executable(program, given)
            done = [s for s in sources if s not in mapped]
            parts = -(-sum(given[s].nbytes for s in done) // PART)
            if isinstance(run, Executable) and len(program.launches) == 1 and parts > 1:
                run.run_in_parts(parts, lambda done=done: self._release(done))  # type: ignore[misc]
            else:
                run.run()
                self._release(done)
            self.weights[name] = run.buffers[program.outputs[0]]
        if progress:
            progress("load", len(loads), len(loads))
        self.report.weight_bytes += sum(self.weights[n].nbytes for n in names)
        self.report.pack_seconds += time.perf_counter() - started

    def _release(self, names: Iterable[str]) -> None:
        for name in names:
            self.file.release(name)

    def _bind(self, weights: DecoderWeights) -> None:
        given = dict(self.weights)
        self._inputs = self.place.inputs({"start": 1, "tokens": self.block, "positions": self.block})
        self._tokens, self._positions, self._start = (self._inputs.arrays[n] for n in ("tokens", "positions", "start"))
        given.update(self._inputs.buffers)
        given["frequencies"] = self.place.weight(self._frequencies)
        self._pages: PagedCache | None = None
        self._sequence: ContiguousSequence | PagedSequence = ContiguousSequence()
        self._table: BoundTable | None = None
        if self.options.pages:
            o = self.options
            self._pages = PagedCache(self.place, o.pages, o.page_size, o.capacity)
            self._sequence, self._table = self._pages.sequence(), self._pages.table(1)
            given["table"] = self._table.buffer
        self._decode = self.place.executable(self.decode.program, given)
        states = states_of(self._decode)
        given.update({plan.name: buffer for plan, buffer in states})
        self._prefill = self.place.executable(self.prefill.program, given)
        self._given = given
        vocabulary = self.config.vocabulary
        choices, together = choices_of(self.programs, 1), steps_together(self.decode.program)
        self._steps = Stepper(self.place, 1, self._inputs, self._decode, choices, vocabulary, together)
        fixed = {**self.weights, "frequencies": given["frequencies"]}
        if self._pages is not None:
            fixed.update(self._pages.bind(states))
        self.batches: dict[int, Batch] = {}
        for n in self.options.batches:
            several = self.programs[f"decode_{n}"], choices_of(self.programs, n), vocabulary
            if self._pages is not None:
                self.batches[n] = PagedBatch(self.place, n, *several, fixed, self._pages)
            else:
                self.batches[n] = Batch(self.place, n, *several, fixed)
                states = [*states, *self.batches[n].states]
        self.report.cache_bytes = sum(plan.nbytes for plan, _ in states)

    # --- running ------------------------------------------------------------------------------------------------
    def _check(self, ids: Sequence[int], more: int = 0) -> list[int]:
        ids = [index(i) for i in ids]
        if not ids:
            raise ContextLengthError("the prompt is empty", help="give at least one token")
        if len(ids) + more > self.context:
            raise ContextLengthError(
                f"{len(ids)} prompt tokens{f' and {more} new ones' if more else ''} "
                f"do not fit the context of {self.context} tokens",
                help=f"shorten the prompt, or load with a larger context (the model has {self.config.context})",
            )
        bad = next((i for i in ids if not 0 <= i < self.config.vocabulary), None)
        if bad is not None:
            raise TokenizerError(f"token {bad} is outside the vocabulary of {self.config.vocabulary}")
        return ids

    def _block(self, ids: Sequence[int], start: int, rows: int) -> npt.NDArray[np.float32]:
        """Run up to a block of prompt tokens at position `start`; logits of the last `rows`, valid until the next run.

        A row's result does not depend, bit for bit, on how a prompt is cut into blocks.
        """
        prefill = self._prefill if rows == 1 else self._prefill_rows
        symbols = self._send_block(prefill, ids, start, rows)
        prefill.run()
        logits: npt.NDArray[np.float32] = prefill.output(0, symbols)
        return logits

    @cached_property
    def _prefill_rows(self) -> Any:
        """A block's program for any number of rows; where `_prefill` is for one, made when it is asked for."""
        if not self.options.one_row:
            return self._prefill
        assert self._library is not None  # where programs are kept on disk, `_prefill` has all rows
        compiled = compile_all_rows(DecoderWeights(self.file), self.options, self.place.target, self._library)
        self.place.load(compiled.kernels(), "model")
        self._pack([compiled])
        return self.place.executable(compiled.program, {**self._given, **self.weights})

    def _fill(self, ids: Sequence[int], start: int) -> None:
        """Bring the cache on by up to a block of prompt tokens at position `start`, where nobody wants logits."""
        self._send_block(self._prefill, ids, start, 1)
        self._inputs.wait()  # behind the block before; the next one is prepared while this one runs
        self._prefill.run_for_states()

    def _send_block(self, prefill: Any, ids: Sequence[int], start: int, rows: int) -> dict[str, int]:
        """Set what a block's run reads; the values of its dimensions."""
        n = len(ids)
        self._reserve_pages(start, start + n)
        self._tokens[:n] = ids
        self._positions[:n] = np.arange(start, start + n)
        self._start[0] = start
        symbols = {"n": n, "rows": rows}
        prefill.set_symbols(symbols)
        self._inputs.send()
        return symbols

    def _advance(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Bring the cache to `ids`, reusing what it shares with them; logits (V,) of the last one."""
        self._steps.forget()
        sequence = self._sequence
        sequence.cut(alike(sequence.tokens, ids[:-1]))
        *before, last = range(len(sequence.tokens), len(ids), self.block)
        for at in before:
            self._fill(ids[at : at + self.block], at)
            sequence.tokens += ids[at : at + self.block]
        logits = self._block(ids[last:], last, 1)
        sequence.tokens += ids[last:]
        self._epoch += 1
        return logits[-1]

    def _reserve_pages(self, start: int, stop: int) -> None:
        """Make room for the keys and values of positions start .. stop - 1. Raises CacheFullError."""
        if isinstance(self._sequence, PagedSequence) and self._table is not None:
            self._sequence.reserve(start, stop)
            self._table.name(0, self._sequence.pages)
            self._table.send()

    def _has_pages(self, start: int, stop: int) -> bool:
        """Whether `_reserve_pages` would find what it needs."""
        sequence = self._sequence
        return not isinstance(sequence, PagedSequence) or sequence.needs(start, stop) <= sequence.pool.free

    def turn(self) -> AbstractContextManager[Any]:
        """What a thread holds while it changes caches or runs steps, so that calls from several take turns."""
        return self._lock

    def check_room(self, tokens: int) -> None:
        """Raise ContextLengthError unless that many tokens fit."""
        if tokens > self.context:
            raise ContextLengthError(
                f"{tokens} tokens do not fit the context of {self.context}",
                help=f"load with a larger context (the model has {self.config.context}), or ask for fewer tokens",
            )

    def _check_position(self, position: int, count: int) -> None:
        """Raise ContextLengthError unless `count` tokens can be run from a position on."""
        known = len(self._sequence.tokens)
        if not 0 <= position <= known:
            raise ContextLengthError(
                f"the cache holds {known} tokens: none can be run at position {position}",
                help="run those before it first",
            )
        self.check_room(position + count)

    def restart(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Fill an empty cache with `ids`; logits (V,) of the last one, valid until the next run."""
        with self._lock:
            self._sequence.cut(0)
            return self._advance(self._check(ids))

    def extend(self, token: int, position: int) -> npt.NDArray[np.float32]:
        """Run one token at the cache's end, `position`, or before it; logits (V,), valid until the next run.

        Raises ContextLengthError for a position that is behind the cache's end or the context.
        """
        with self._lock:
            self._check_position(position, 1)
            self._epoch += 1
            self._reserve_pages(position, position + 1)
            self._sequence.tokens = [*self._sequence.tokens[:position], token]
            self._steps.run([(token, position)])
            return self._steps.logits()[0]

    @property
    def chooses_there(self) -> bool:
        """Whether the greedy token can be found where the logits are, so that `follow` reads no logits."""
        return self._steps.way([None]) is not None

    def follow(self, token: int, position: int, count: int) -> Iterator[int]:
        """Run `count` tokens from the cache's end, `position`, on: `token`, then the greedy ones; each greedy next one.

        Nothing else may be run with the model meanwhile. Raises SamplingError for NaN logits, and what `extend` does.
        """
        sampler = Sampler(0.0)
        with self._lock:
            self._check_position(position, count)
            self._epoch += 1
            tokens = self._sequence.tokens = self._sequence.tokens[:position]
            for n in range(count):
                tokens.append(token)
                token = self._next(token, position + n, sampler, tokens, count - n - 1).token
                yield token

    def _next(self, token: int, position: int, sampler: Sampler, history: Sequence[int], more: int) -> Sample:
        """Run one token; the next one. `more`: so many steps will follow."""
        ahead = min(more, self.context - position - 1, self._steps.furthest)
        if self._table is not None:
            if not self._has_pages(position, position + ahead + 1):
                ahead = int(ahead > 0 and self._has_pages(position, position + 2))
            self._reserve_pages(position, position + ahead + 1)
        (found,) = self._steps.choose([(token, position)], [sampler], ahead)
        if found is not None:
            return found
        return sampler.sample(self._steps.logits()[0], history)

    def explain_cache(self) -> str:
        """What the caches of keys and values take, in a line."""
        o = self.options
        size = f"{o.cache_dtype}, {self.report.cache_bytes / 1e6:.1f} MB"
        if not o.pages:
            rows = 1 + sum(o.batches)
            return f"cache: {rows} x {o.capacity} tokens, contiguous, {size}"
        held = f"{o.pages - 1} pages of {o.page_size} tokens"
        return f"cache: {held} for sequences of up to {o.context}, {size}"

    def profile_decode(self) -> list[LaunchTime]:
        """Times and bytes of the launches of one more decode step, at the position of the last one."""
        o = self.options
        room = o.pages * o.page_size if o.pages else o.capacity
        with self._lock:
            self._steps.forget()
            return self._decode.profile(filled=min(1.0, len(self._sequence.tokens) / room))

    def logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits of every position, (len(ids), vocabulary) f32, computed anew from an empty cache.

        Raises ContextLengthError if they do not fit, TokenizerError for ids outside the vocabulary.
        """
        ids = self._check(ids)
        out = np.empty((len(ids), self.config.vocabulary), np.float32)
        with self._lock:
            self._sequence.cut(0)
            self._epoch += 1
            step = min(self.block, MOST_LOGITS)
            for at in range(0, len(ids), step):
                part = ids[at : at + step]
                out[at : at + len(part)] = self._block(part, at, len(part))
            self._sequence.tokens = list(ids)
        return out

    def encode(self, prompt: str) -> list[int]:
        """A prompt's tokens, with the marks that the model wants at its start."""
        if self.tokenizer is None:
            raise UnsupportedError(
                f"{self.file.path}: the file has no known tokenizer", help="give the prompt as token ids"
            )
        return self.tokenizer.encode(prompt, add_special=True)

    def generate(
        self,
        prompt: str | Sequence[int],
        max_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        ignore_eos: bool = False,
        **sampling: Any,
    ) -> Iterator[Piece]:
        """Continue a prompt, a piece per token, until an end token, a stop string, `max_tokens`, or the context's end.

        `sampling`: top_k, top_p, min_p, repetition_penalty, repetition_window of `Sampler`. Raises ContextLengthError
        for a prompt that does not fit, SamplingError for logits that hold NaN, TokenizerError for an empty stop string.
        """
        ids = self._check(self.encode(prompt) if isinstance(prompt, str) else prompt)
        sampler = Sampler(temperature, seed=seed, **sampling)
        room = self.context - len(ids) + 1
        limit = room if max_tokens is None else min(max_tokens, room)
        return self._generate(ids, limit, sampler, Answer(self.tokenizer, limit, stop, ignore_eos))

    def _generate(self, ids: list[int], limit: int, sampler: Sampler, answer: Answer) -> Iterator[Piece]:
        if limit <= 0:
            return
        history = list(ids)
        timing = self.timing = Timing(prompt_tokens=len(ids))
        started = time.perf_counter()
        with self._lock:
            logits = self._advance(history)
            epoch = self._epoch
            chosen = sampler.sample(logits, history)
        timing.prompt_seconds = time.perf_counter() - started
        while True:
            piece = answer.push(chosen)
            if piece is not None:
                yield piece
            if answer.done:
                return
            started = time.perf_counter()
            token = chosen.token
            history.append(token)
            with self._lock:
                if epoch != self._epoch:
                    logits = self._advance(history)
                    epoch = self._epoch
                    chosen = sampler.sample(logits, history)
                else:
                    chosen = self._next(token, len(history) - 1, sampler, history, answer.left - 1)
                    self._sequence.tokens.append(token)
            timing.generated_seconds += time.perf_counter() - started
            timing.generated_tokens += 1

    def generate_batch(
        self,
        prompts: Sequence[str | Sequence[int]],
        max_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        ignore_eos: bool = False,
        **sampling: Any,
    ) -> Iterator[tuple[int, Piece]]:
        """Continue prompts together: pieces as they come, each with the number of its prompt. Each prompt is continued
        as `generate` would with these arguments, up to the rounding of products of several rows. Runs that are read in
        turn or by several threads take turns, and compute their sequences again where another run has had the rows.

        Raises UnsupportedError for a model that was not loaded with `batch`, and what `generate` raises.
        """
        if not self.batches:
            raise UnsupportedError(
                f"{self.file.path}: the model was loaded for one sequence at a time", help="load(..., batch=[8])"
            )
        ids = [self._check(self.encode(p) if isinstance(p, str) else p) for p in prompts]
        rooms = [self.context - len(i) + 1 for i in ids]
        limits = [room if max_tokens is None else min(max_tokens, room) for room in rooms]
        answers = [Answer(self.tokenizer, limit, stop, ignore_eos) for limit in limits]
        samplers = [Sampler(temperature, seed=seed, **sampling) for _ in ids]
        rows = min((n for n in self.batches if n >= len(ids)), default=max(self.batches))
        self.timing = Timing()
        return generate_batch(self, self.batches[rows], ids, answers, samplers)

    def fill(self, batch: Batch, row: int, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Make a prompt the sequence of a row of a batch; logits (V,) of its last token, valid until the next run."""
        ids = self._check(ids)
        with self._lock:
            if self._pages is None or not isinstance(batch, PagedBatch):
                logits = self._advance(ids)
                batch.fill(row, self._decode)
                return logits
            batch.release(row)
            own, known = self._sequence, self._known()
            sequence = self._pages.begun(ids, known)
            if sequence.needs(len(sequence.tokens), len(ids) + 1) > self._pages.pool.free:
                self._drop()
            self._sequence = sequence
            try:
                logits = self._advance(ids)
            except BaseException:
                sequence.cut(0)
                raise
            finally:
                self._sequence = own
            batch.put(row, sequence)
            return logits

    def _known(self) -> list[PagedSequence]:
        """All sequences that have pages."""
        rows = (s for b in self.batches.values() if isinstance(b, PagedBatch) for s in b.sequences)
        return [s for s in (self._sequence, *rows) if isinstance(s, PagedSequence)]

    def _drop(self) -> None:
        """Give the pages of the sequence that `generate` left behind to others. Where it is still going on it will be
        computed again."""
        self._sequence.cut(0)
        self._epoch += 1

    def has_room(self, batch: Batch, ids: Sequence[int]) -> bool:
        """Whether there are pages for a prompt beside the sequences of a batch, with one for each of them to go on."""
        if self._pages is None or not isinstance(batch, PagedBatch):
            return True
        with self._lock:
            live = sum(s is not None for s in batch.sequences)
            if self._pages.needed(list(ids), self._known()) + live > self._pages.pool.free:
                self._drop()
            return self._pages.needed(list(ids), self._known()) + live <= self._pages.pool.free

    def hold(self, batch: Batch, row: int, last: Last, ahead: bool = False) -> bool:
        """Make room for a row's next token, and `ahead` for the one behind it; whether there is room."""
        with self._lock:
            if batch.hold(row, last, ahead):
                return True
            if ahead:
                return False
            self._drop()
            return batch.hold(row, last)

    def release(self, batch: Batch, row: int) -> None:
        """A row's sequence has ended: its pages are for others."""
        with self._lock:
            batch.release(row)

    def close(self) -> None:
        """Stop the workers and let the file go."""
        self.place.close()
        self.file.close()


def _page_size(cache: str, wanted: int | None, tokens: int | None) -> int:
    """Tokens of a page, 0 for contiguous caches. Raises ValueError for options that do not go together."""
    if cache not in ("contiguous", "paged"):
        raise ValueError(f'cache must be "contiguous" or "paged", got {cache!r}')
    if cache == "contiguous":
        if wanted is not None or tokens is not None:
            raise ValueError('page_size and cache_tokens are for cache="paged"')
        return 0
    size = LEAST_PAGE if wanted is None else index(wanted)
    if size <= 0 or size % LEAST_PAGE or size > MOST_PAGE:
        raise ValueError(f"page_size must be a multiple of {LEAST_PAGE} up to {MOST_PAGE}, got {wanted}")
    return size


def open_model_file(path: str | Path) -> GGUFFile | Checkpoint:
    """A GGUF file, or the folder, index or file of a safetensors model. Raises FileFormatError, UnsupportedError."""
    place = Path(path)
    if place.is_dir() or place.name.endswith((".safetensors", ".safetensors.index.json")):
        return Checkpoint(place)
    return GGUFFile.open(path, _resolve_format)


def _resolve_format(text: str) -> TensorKind:
    from .formats import resolve_format  # the language's checker: only for files that declare a format

    return resolve_format(text)


def _tokenizer(file: GGUFFile | Checkpoint) -> Tokenizer | None:
    """The tokenizer that belongs to the file, None where it has none. Raises TokenizerError that names the file."""
    if isinstance(file, Checkpoint):
        return None if file.tokenizer_path is None else Tokenizer.from_json(file.tokenizer_path)
    if "tokenizer.ggml.model" not in file.metadata:
        return None
    try:
        return Tokenizer.from_gguf(file.metadata)
    except TokenizerError as error:
        raise TokenizerError(f"{file.path}: {error.message}", help=error.help) from None


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of a GGUF file (vocabulary-only files too), or of a tokenizer.json or its folder."""
    place = Path(path)
    if place.is_dir() or place.suffix == ".json":
        return Tokenizer.from_json(place)
    with GGUFFile.open(path) as file:
        tokenizer = _tokenizer(file)
    if tokenizer is None:
        raise FileFormatError(f"{path}: the file has no tokenizer")
    return tokenizer
