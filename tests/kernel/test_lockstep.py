"""Kernels as the threads of warps run them, against what they mean: vectors spread over threads, teams, barriers."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat.diagnostics import VerifyError
from heliostat.kernel.builder import KernelBuilder
from heliostat.kernel.interp import interpret
from heliostat.kernel.ir import BARRIER, ELEMENT_BYTES, Instruction, Kernel, Type
from heliostat.kernel.lockstep import POISON, LockstepError, run_lockstep
from heliostat.kernel.text import print_kernel
from heliostat.kernel.text_parser import parse_kernel
from heliostat.kernel.verify import verify
from heliostat.kernel.warp import for_threads

from .hard_kernels import hard_cases
from .random_kernels import assert_same, copies


def both(kernel: Kernel, arrays: list[np.ndarray]) -> list[np.ndarray]:
    verify(kernel)
    wanted, found = copies(arrays), copies(arrays)
    interpret(kernel, wanted, 3, "random")
    for shape in ((1, 1), (2, 2), (3, 4)):
        found = copies(arrays)
        run_lockstep(kernel, found, *shape)
        assert_same(found, wanted)
    return found


@pytest.mark.parametrize("lanes", [32, 64, 128, 256])
@pytest.mark.parametrize("elem", ["f32", "i32", "i8", "f64"])
def test_vectors_are_spread(elem: str, lanes: int) -> None:
    """Loads, arithmetic, reductions, elements and permutations of every kind of vector."""
    rng = np.random.default_rng(lanes)
    k = KernelBuilder("k")
    x, y, z = k.buffer("x"), k.buffer("y", "w"), k.buffer("z", "w")
    size = ELEMENT_BYTES[elem]
    for i in k.parallel(5):
        v = k.load(x, i * (lanes * size), elem, lanes)
        even = k.shuffle(v, v, range(0, 2 * lanes, 2))
        turned = k.shuffle(v, even, range(lanes // 2, lanes // 2 + lanes))
        k.store(y, i * (lanes * size), turned + k.splat(k.extract(v, lanes - 1), lanes))
        k.store(z, i * (3 * size), k.reduce_max(v))
        k.store(z, i * (3 * size) + size, k.reduce_add(even))
        k.store(z, i * (3 * size) + 2 * size, k.extract(k.lanes_of(v, 5, 4), 2))
    dtype = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i8": np.int8}[elem]
    values = rng.integers(-100, 100, 5 * lanes).astype(dtype)
    both(k.finish(), [values, np.zeros(5 * lanes, dtype), np.zeros(15, dtype)])


@pytest.mark.parametrize("lanes", [32, 128])
def test_extremes_and_sums_of_integers(lanes: int) -> None:
    """By one instruction of a warp; bits of floats that are not negative are in the floats' order, NaN on top."""
    rng = np.random.default_rng(lanes)
    values = rng.standard_normal((6, lanes)).astype(np.float32) * np.float32(10) ** rng.integers(-44, 38, (6, 1))
    values = values.astype(np.float32)
    values[1] = -0.0
    values[2, lanes - 1], values[3, 5], values[4, 7] = -np.inf, np.nan, -3e38
    k = KernelBuilder("k")
    x, y = k.buffer("x"), k.buffer("y", "w")
    for i in k.parallel(6):
        v = k.load(x, i * (4 * lanes), "f32", lanes)
        bits = k.bitcast(v, "i32")
        k.store(y, i * 12, k.bitcast(k.reduce_max(k.bitcast(k.fabs(v), "i32")), "f32"))
        k.store(y, i * 12 + 4, k.bitcast(k.reduce_min(bits), "f32"))
        k.store(y, i * 12 + 8, k.bitcast(k.reduce_add(bits), "f32"))
    (_, found) = both(k.finish(), [values.reshape(-1), np.zeros(18, np.float32)])
    np.testing.assert_array_equal(found[::3], np.abs(values).max(-1))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found[2::3].view(np.int32), values.view(np.int32).sum(-1, dtype=np.int32))


@pytest.mark.parametrize("lanes", [2, 8, 32, 64])
def test_masks_and_short_vectors(lanes: int) -> None:
    k = KernelBuilder("k")
    x, y = k.buffer("x"), k.buffer("y", "w")
    for i in k.parallel(3):
        at = i * (4 * lanes)
        mask = k.iota("i32", lanes) < k.splat(k.convert(i, "i32") + lanes // 2, lanes)
        k.store(y, at, k.load(x, at, "f32", lanes, mask) * 2.0, mask)
    values = np.arange(3 * lanes, dtype=np.float32)
    both(k.finish(), [values, np.full(3 * lanes, 7, np.float32)])


def summed(parts: int, forget: bool = False) -> Kernel:
    """Rows of 256 elements summed by a team, then scaled by it."""
    k = KernelBuilder("k")
    x, y = k.buffer("x"), k.buffer("y", "w")
    place = k.alloc(4 * parts)
    for row in k.parallel(3):
        for s in k.team(parts):
            total = k.var(k.zeros("f32", 32))
            for c in k.loop(s * (256 // parts), s * (256 // parts) + 256 // parts, 32):
                total.set(total.get() + k.load(x, (row * 256 + c) * 4, "f32", 32))
            if not forget:
                k.store(place, s * 4, k.reduce_add(total.get()))
        whole = k.reduce_add(k.load(place, 0, "f32", parts))
        for s in k.team(parts):
            for c in k.loop(s * (256 // parts), s * (256 // parts) + 256 // parts, 32):
                at = (row * 256 + c) * 4
                k.store(y, at, k.load(x, at, "f32", 32) * k.splat(whole, 32))
    return k.finish()


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_teams_share_rows(parts: int) -> None:
    values = np.random.default_rng(0).integers(-9, 9, 768).astype(np.float32)
    (_, y) = both(summed(parts), [values, np.zeros(768, np.float32)])
    rows = values.reshape(3, 256)
    np.testing.assert_array_equal(y.reshape(3, 256), rows * rows.sum(1, keepdims=True))


def read_between(read: bool) -> Kernel:
    """Two team loops that write the same memory, read between them by all warps or not, twice in turn."""
    k = KernelBuilder("k")
    y, place = k.buffer("y", "w"), k.alloc(4 * 4)
    for s in k.team(4):
        k.store(place, s * 4, k.convert(s, "i32"))
    for i in k.parallel(2):
        for s in k.team(4):
            k.store(place, s * 4, k.convert(s, "i32") + 1)
        first = k.reduce_add(k.load(place, 0, "i32", 4)) if read else k.convert(i, "i32") * 0 + 10
        for s in k.team(4):
            k.store(place, s * 4, k.const(7, "i32"))
            k.store(y, (i * 4 + s) * 4, first)
    return k.finish()


@pytest.mark.parametrize("read", [False, True])
def test_warps_wait_before_they_overwrite_what_others_may_still_read(read: bool) -> None:
    kernel = read_between(read)
    (found,) = both(kernel, [np.zeros(8, np.int32)])
    np.testing.assert_array_equal(found, 10)
    barriers = sum(i.op == "together" and bool(i.attrs.get("block")) for i in for_threads(kernel).walk())
    assert barriers == 4 + read  # before the first loop, behind each, and between a reading and the loop behind it


def test_what_nobody_wrote_is_found() -> None:
    values = np.ones(768, np.float32)
    with pytest.raises(VerifyError):
        interpret(summed(4, forget=True), [values, np.zeros(768, np.float32)])


def test_accesses_are_checked() -> None:
    k = KernelBuilder("k")
    x, y = k.buffer("x"), k.buffer("y", "w")
    for i in k.parallel(2):
        k.store(y, i * 128, k.load(x, i * 128 + 4, "f32", 32))
    with pytest.raises(LockstepError, match="of a buffer of 256"):
        run_lockstep(k.finish(), [np.zeros(64, np.float32), np.zeros(64, np.float32)])


def test_a_team_stands_in_no_other_and_in_no_if() -> None:
    for outer in (lambda k: k.team(2), lambda k: k.when(k.binary("eq", k.worker(), 0))):
        k = KernelBuilder("k")
        y = k.buffer("y", "w")
        for _ in outer(k):
            for s in k.team(4):
                k.store(y, s * 4, k.convert(s, "i32"))
        with pytest.raises(VerifyError, match="in no if and no other"):
            verify(k.finish())


def handed_on(rounds: int) -> Kernel:
    """Four warps copy a row to one of two slots, each a part, and all read it while the next one is copied."""
    k = KernelBuilder("k")
    x, y = k.buffer("x"), k.buffer("y", "w")
    slots, filled, done = k.alloc(2 * 2048), k.alloc(BARRIER), k.alloc(BARRIER)
    lanes = k.iota("i32", 32) * 16
    for _ in k.parallel(1):
        for w in k.team(4):
            k.copy_async(slots, w * 512, lanes, x, w * 512, lanes)
            k.commit_copies()
            k.wait_copies(0)
            k.arrive(filled)
            k.arrive(done)
            for n in k.loop(rounds):
                k.await_all(filled)
                total = k.zeros("f32", 32)
                for part in range(4):
                    total = total + k.load(slots, n % 2 * 2048 + part * 512, "f32", 32)
                k.store(y, (n * 4 + w) * 128, total)
                k.await_all(done)  # with the row before
                k.copy_async(slots, (n + 1) % 2 * 2048 + w * 512, lanes, x, (n + 1) * 2048 + w * 512, lanes)
                k.commit_copies()
                k.wait_copies(0)
                k.arrive(filled)
                k.arrive(done)
            k.await_all(filled)
            k.await_all(done)
    return k.finish()


def test_warps_come_to_a_barrier_and_go_on() -> None:
    values = np.random.default_rng(0).integers(-9, 9, 6 * 512).astype(np.float32)
    kernel = handed_on(5)
    verify(kernel)
    assert print_kernel(parse_kernel(print_kernel(kernel))) == print_kernel(kernel)
    found = np.zeros(5 * 4 * 32, np.float32)
    run_lockstep(kernel, [values, found], blocks=1)
    wanted = values.reshape(6, 4, 128)[:5, :, :32].sum(1)
    np.testing.assert_array_equal(found.reshape(5, 4, 32), np.repeat(wanted[:, None], 4, 1))


def test_a_barrier_is_left_before_it_is_come_to_again() -> None:
    k = KernelBuilder("k")
    y, barrier = k.buffer("y", "w"), k.alloc(BARRIER)
    for _ in k.parallel(1):
        for s in k.team(4):
            k.arrive(barrier)
            k.arrive(barrier)
            k.store(y, s * 4, k.convert(s, "i32"))
    with pytest.raises(LockstepError, match="again before it waited"):
        run_lockstep(k.finish(), [np.zeros(4, np.int32)], blocks=1)


def multiplied(kind: str, fresh: bool, wait: bool = True, spoil: bool = False) -> Kernel:
    """Four warps multiply 64 x 32 of A, from registers, by 16 x 32 of B in core matrices; C, one, is added to."""
    k = KernelBuilder("k")
    a, b, c = k.buffer("a"), k.buffer("b"), k.buffer("c", "w")
    tile, lanes = k.alloc(1024), k.iota("i32", 32) * 16
    for _ in k.parallel(1):
        for w in k.team(4):
            for n in range(2):
                k.copy_async(tile, n * 512, lanes, b, n * 512, lanes)
            k.commit_copies()
            sums = [k.var(k.const(1.0, "f32", 128)) for _ in range(2)]
            rows = [k.load(a, (w * 2 + n) * 512, "i16", 256) for n in range(2)]
            k.wait_copies(0)
            k.barrier()
            k.warpgroup_mma(tile, rows, 0, sums, 2, None, (256, 128), kind, fresh)
            if spoil:
                k.store(tile, 1020, k.const(7, "i32"))
            if wait:
                k.wait_mma(sums, 0, rows)
            for n, v in enumerate(sums):
                k.store(c, (w * 2 + n) * 512, v.get())
            if not wait:
                k.wait_mma(sums, 0, rows)
    return k.finish()


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("kind", ["bf16", "f16"])
def test_four_warps_multiply_rows_in_registers(kind: str, fresh: bool) -> None:
    kernel = multiplied(kind, fresh)
    verify(kernel)
    assert print_kernel(parse_kernel(print_kernel(kernel))) == print_kernel(kernel)
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-8, 8, shape).astype(np.float32) for shape in ((64, 32), (16, 32)))

    def bits(x: np.ndarray) -> np.ndarray:
        return x.astype(np.float16).view(np.uint16) if kind == "f16" else (x.view(np.uint32) >> 16).astype(np.uint16)

    # thread (row, q) of a warp: rows r and r + 8, elements 2 q, 2 q + 1 and those 8 behind, of each 16
    fragments = a.reshape(4, 2, 8, 2, 2, 4, 2).transpose(0, 3, 2, 5, 4, 1, 6)
    cores = b.reshape(2, 8, 4, 8).transpose(2, 0, 1, 3)
    found = np.zeros((4, 2, 8, 4, 2, 2), np.float32)  # warp, columns, row, q, half, pair
    run_lockstep(kernel, [bits(np.ascontiguousarray(fragments)), bits(np.ascontiguousarray(cores)), found], blocks=1)
    wanted = (a @ b.T + (0 if fresh else 1)).reshape(4, 2, 8, 2, 4, 2).transpose(0, 3, 2, 4, 1, 5)
    np.testing.assert_array_equal(found, wanted)


def test_sums_that_nobody_waited_for_are_not_there() -> None:
    found = np.zeros(1024, np.float32)
    arrays = [np.ones(2048, np.uint16), np.ones(512, np.uint16), found]
    run_lockstep(multiplied("bf16", True, wait=False), arrays, blocks=1)
    assert np.isnan(found).all()


def permuting(selector: int) -> Kernel:
    k = KernelBuilder("k")
    a, b, y = k.buffer("a"), k.buffer("b"), k.buffer("y", "w")
    for i in k.parallel(2):
        first, second = (k.load(buffer, i * 256, "i32", 64) for buffer in (a, b))
        k.store(y, i * 256, k.permute_bytes(first, second, selector))
    return k.finish()


@pytest.mark.parametrize("selector", [0x3210, 0x7654, 0x0000, 0x4140, 0x7362])
def test_bytes_are_permuted(selector: int) -> None:
    """Byte n of a word is the one that digit n names, of both operands; as text it is the same kernel."""
    rng = np.random.default_rng(selector)
    a, b = (rng.integers(0, 256, (128, 4), np.uint8) for _ in range(2))
    kernel = permuting(selector)
    verify(kernel)
    assert print_kernel(parse_kernel(print_kernel(kernel))) == print_kernel(kernel)
    found = np.zeros((128, 4), np.uint8)
    run_lockstep(kernel, [a, b, found])
    wanted = np.concatenate([a, b], 1)[:, [selector >> 4 * n & 7 for n in range(4)]]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("selector", [0x8000, 0x10000, -1])
def test_selectors_that_name_no_byte(selector: int) -> None:
    with pytest.raises(VerifyError, match="digits from 0 to 7"):
        verify(permuting(selector))


def test_pairs_are_multiplied_and_added_with_one_rounding() -> None:
    """a * b + c of two bf16 in a word, against exact integers; the text of the kernel is the same kernel."""
    k = KernelBuilder("k")
    a, b, c, y = (k.buffer(n, "w" if n == "y" else "r") for n in "abcy")
    for i in k.parallel(2):
        k.store(y, i * 256, k.fma_pair(*(k.load(buffer, i * 256, "i32", 64) for buffer in (a, b, c))))
    kernel = k.finish()
    verify(kernel)
    assert print_kernel(parse_kernel(print_kernel(kernel))) == print_kernel(kernel)
    rng = np.random.default_rng(1)
    x, z = rng.integers(-255, 256, (2, 256)), rng.integers(-255, 256, 256) * 256
    halves = [(v.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16) for v in (*x, z)]
    found = np.zeros(256, np.uint16)
    run_lockstep(kernel, [*halves, found])
    exact = x[0] * x[1] + z
    kept = 1 << np.maximum(np.abs(exact).astype(np.float64).view(np.int64) >> 52, 1023 + 7) - 1023 - 7
    wanted = np.rint(exact / kept) * kept  # eight binary digits, ties to even
    np.testing.assert_array_equal((found.astype(np.uint32) << 16).view(np.float32), wanted)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("lanes", [1, 16, 64])
def test_hard_inputs_equal_the_interpreter(lanes: int) -> None:
    """Integers that all threads share, arrays that they share, and what each holds of its own."""
    for kernel, arrays, wanted in hard_cases([lanes]):
        found = copies(arrays)
        run_lockstep(kernel, found, blocks=1, warps=1)
        assert_same(found, wanted)


@pytest.mark.parametrize("op", ["fma", "rcp", "exp2"])
def test_gpus_give_one_nan(op: str) -> None:
    k = KernelBuilder("k")
    x, y = k.buffer("x"), k.buffer("y", "w")
    for _ in k.parallel(1):
        v = k.load(x, 0, "f32", 32)
        k.store(y, 0, k.emit(op, Type("f32", 32), (v, v, v) if op == "fma" else (v,)))
    found = np.zeros(32, np.uint32)
    run_lockstep(k.finish(), [np.full(32, 0x7FC00123, np.uint32), found], 1, 1)
    assert (found == 0x7FFFFFFF).all()


def thread(k: KernelBuilder) -> Instruction:
    """The number of a thread, which differs within a warp, as no value that a schedule writes does."""
    return k.emit("thread", Type("i32"), ())


def beyond_the_end(k: KernelBuilder, x: Instruction, y: Instruction, how: str) -> None:
    """One access whose last thread is 4 bytes too far."""
    offsets = k.iota("i32", 32) * 4 + 4
    if how == "load":
        k.store(y, 0, k.load(x, 4, "f32", 32))
    elif how == "masked load":
        k.store(y, 0, k.load(x, 4, "f32", 32, k.iota("i32", 32) > k.splat(k.const(4, "i32"), 32)))
    elif how == "gather":
        k.store(y, 0, k.gather(x, 0, offsets, "f32"))
    elif how == "single load":
        k.store(y, 0, k.load(x, k.worker() + 128, "i32"))
    elif how == "negative gather":
        k.store(y, 0, k.gather(x, -8, offsets, "f32"))
    elif how == "negative":
        k.store(y, 0, k.load(x, k.worker() - 4, "f32", 32))
    elif how == "store":
        k.store(y, 4, k.load(x, 0, "f32", 32))
    elif how == "masked store":
        k.store(y, 4, k.load(x, 0, "f32", 32), k.iota("i32", 32) > k.splat(k.const(4, "i32"), 32))
    elif how == "scatter":
        k.scatter(y, 0, offsets, k.load(x, 0, "f32", 32))
    else:
        k.store(y, k.worker() + 128, k.load(x, 0, "i32"))


@pytest.mark.parametrize(
    "how",
    [
        "load",
        "masked load",
        "gather",
        "negative gather",
        "single load",
        "negative",
        "store",
        "masked store",
        "scatter",
        "single store",
    ],
)
def test_every_kind_of_access_is_checked(how: str) -> None:
    k = KernelBuilder("k")
    x, y = k.buffer("x"), k.buffer("y", "w")
    for _ in k.parallel(1):
        beyond_the_end(k, x, y, how)
    with pytest.raises(LockstepError, match="of a buffer of 128"):
        run_lockstep(k.finish(), [np.ones(32, np.float32), np.ones(32, np.float32)], 1, 1)


@pytest.mark.parametrize("masked", [False, True])
def test_what_a_mask_leaves_out_may_lie_anywhere(masked: bool) -> None:
    """Threads whose elements are left out, here those that would be outside, are not checked."""
    k = KernelBuilder("k")
    x, y = k.buffer("x"), k.buffer("y", "w")
    mask = k.iota("i32", 32) < k.splat(k.const(31, "i32"), 32) if masked else None
    for _ in k.parallel(1):
        k.store(y, 4, k.load(x, 4, "f32", 32, mask), mask)
    arrays = [np.arange(32, dtype=np.float32), np.zeros(32, np.float32)]
    if not masked:
        with pytest.raises(LockstepError, match="of a buffer of 128"):
            run_lockstep(k.finish(), arrays, 1, 1)
        return
    run_lockstep(k.finish(), arrays, 1, 1)
    np.testing.assert_array_equal(arrays[1], arrays[0])


@pytest.mark.parametrize("kind", ["gather", "scatter", "copy to", "copy from"])
def test_alignment_is_checked(kind: str) -> None:
    """Where one thread of 32 breaks what the access claims."""
    k = KernelBuilder("k")
    x, y, places = k.buffer("x"), k.buffer("y", "w"), k.buffer("places")
    for _ in k.parallel(1):
        for _ in k.team(1):
            moved = k.load(places, 0, "i32", 32)
            straight = k.iota("i32", 32) * 16
            if kind.startswith("copy"):
                held = k.alloc(1024)
                there, taken = (moved, straight) if kind == "copy to" else (straight, moved)
                k.copy_async(held, 0, there, x, 0, taken)
                k.commit_copies()
                k.wait_copies(0)
            elif kind == "gather":
                k.store(y, 0, k.gather(x, 0, moved, "f32"))
            else:
                k.scatter(y, 0, moved, k.load(x, 0, "f32", 32))
    kernel, arrays = k.finish(), [np.ones(256, np.float32), np.ones(256, np.float32)]
    offsets = np.arange(32, dtype=np.int32) * 16
    run_lockstep(kernel, [*arrays, offsets], 1)
    offsets[17] += 2
    with pytest.raises(LockstepError, match=f"aligned to {16 if kind.startswith('copy') else 4} bytes"):
        run_lockstep(kernel, [*arrays, offsets], 1)


@pytest.mark.parametrize("holds", [range(5), range(3, 4)], ids=["some", "one"])
@pytest.mark.parametrize("stores", [True, False])
def test_threads_part_at_stores_only(stores: bool, holds: range) -> None:
    k = KernelBuilder("k")
    y = k.buffer("y", "w")
    for _ in k.parallel(1):
        number, lanes = thread(k), k.iota("i32", 32)
        places = lanes * 4
        for _ in k.when(number < holds.stop if len(holds) > 1 else k.binary("eq", number, holds[0])):
            k.scatter(y, 0, places, lanes if stores else lanes + 1)
    found = np.full(32, -1, np.int32)
    if stores:
        run_lockstep(k.finish(), [found], 1, 1)
        np.testing.assert_array_equal(found, [n if n in holds else -1 for n in range(32)])
    else:
        with pytest.raises(LockstepError, match="part at an `if`"):
            run_lockstep(k.finish(), [found], 1, 1)


def test_bounds_of_loops_are_those_of_all_threads() -> None:
    k = KernelBuilder("k")
    y = k.buffer("y", "w")
    for _ in k.parallel(1):
        for i in k.loop(0, k.convert(thread(k), "i64")):
            k.store(y, i * 4, k.convert(i, "i32"))
    with pytest.raises(LockstepError, match="a loop's bound differs"):
        run_lockstep(k.finish(), [np.zeros(32, np.int32)], 1, 1)


def neighbours(wait: bool) -> Kernel:
    """Each warp writes a row and takes that of the next warp."""
    k = KernelBuilder("k")
    y, rows = k.buffer("y", "w"), k.alloc(4 * 128)
    for _ in k.parallel(1):
        for w in k.team(4):
            k.store(rows, w * 128, k.splat(k.convert(w, "i32"), 32))
            if wait:
                k.barrier()
            k.store(y, w * 128, k.load(rows, (w + 1) % 4 * 128, "i32", 32))
    return k.finish()


def test_a_missing_barrier_shows() -> None:
    found = [np.zeros(128, np.int32) for _ in range(2)]
    for wait, array in zip((True, False), found, strict=True):
        run_lockstep(neighbours(wait), [array], 1)
    np.testing.assert_array_equal(found[0].reshape(4, 32)[:, 0], [1, 2, 3, 0])
    assert (found[1].view(np.uint8) == POISON).any()


def test_all_warps_come_to_a_barrier() -> None:
    k = KernelBuilder("k")
    y, barrier = k.buffer("y", "w"), k.alloc(BARRIER)
    for _ in k.parallel(1):
        for w in k.team(4):
            for _ in k.when(k.binary("lt", w, 3)):
                k.arrive(barrier)
                k.await_all(barrier)
            k.store(y, w * 4, k.convert(w, "i32"))
    with pytest.raises(LockstepError, match="while others wait at a barrier"):
        run_lockstep(k.finish(), [np.zeros(4, np.int32)], 1)


@pytest.mark.parametrize(("left", "ends"), [(0, True), (1, False), (None, False)])
def test_copies_come_when_they_are_waited_for(left: int | None, ends: bool) -> None:
    k = KernelBuilder("k")
    x, y, held = k.buffer("x"), k.buffer("y", "w"), k.alloc(512)
    for _ in k.parallel(1):
        for _ in k.team(1):
            k.store(held, 0, k.const(5, "i32", 128))
            k.copy_async(held, 0, k.iota("i32", 32) * 16, x, 0, k.iota("i32", 32) * 16)
            k.commit_copies()
            if left is not None:
                k.wait_copies(left)
            k.store(y, 0, k.load(held, 0, "i32", 128))
    found = np.zeros(128, np.int32)
    if ends:
        run_lockstep(k.finish(), [np.arange(128, dtype=np.int32), found], 1)
        np.testing.assert_array_equal(found, np.arange(128))
    else:
        with pytest.raises(LockstepError, match="while copies or products are under way"):
            run_lockstep(k.finish(), [np.arange(128, dtype=np.int32), found], 1)
        assert (found.view(np.uint8) == POISON).all()


def test_tiles_stay_while_products_read_them() -> None:
    arrays = [np.ones(2048, np.uint16), np.ones(512, np.uint16), np.zeros(1024, np.float32)]
    with pytest.raises(LockstepError, match="a tile changed"):
        run_lockstep(multiplied("bf16", True, spoil=True), arrays, blocks=1)


@pytest.mark.parametrize("turned", [False, True])
def test_matrices_from_private_memory(turned: bool) -> None:
    """Threads get neighbours of a row of four 8 x 8 matrices, or of a column, whose rows lie apart and in any order."""
    k = KernelBuilder("k")
    x, y = k.buffer("x"), k.buffer("y", "w")
    memory, lane = k.alloc(2048), k.iota("i32", 32)
    for _ in k.parallel(1):
        for w in k.team(1):
            k.copy_async(memory, w * 0, lane * 32, x, 0, lane * 16)
            k.commit_copies()
            k.wait_copies(0)
            k.store(y, 0, k.load_matrices(memory, 0, (lane ^ 5) * 32, turned))
    kernel = k.finish()
    verify(kernel)
    assert print_kernel(parse_kernel(print_kernel(kernel))) == print_kernel(kernel)
    rows = np.arange(256, dtype=np.int16).reshape(32, 8)
    found = np.zeros((32, 4, 2), np.int16)
    run_lockstep(kernel, [rows, found], blocks=1)
    matrices = rows[np.arange(32) ^ 5].reshape(4, 8, 8)
    wanted = (matrices.swapaxes(1, 2) if turned else matrices).reshape(4, 32, 2).swapaxes(0, 1)
    np.testing.assert_array_equal(found, wanted)


def test_products_of_tf32() -> None:
    """16 x 8 by 8 x 8 in the order of threads: rounded operands count whole, of others what tf32 holds."""
    k = KernelBuilder("k")
    a, b, c = k.buffer("a"), k.buffer("b"), k.buffer("c", "w")
    for _ in k.parallel(1):
        left, right, zero = k.load(a, 0, "f32", 128), k.load(b, 0, "f32", 64), k.zeros("f32", 128)
        k.store(c, 0, k.mma(zero, k.round_tf32(left), right, "tf32"))
    kernel = k.finish()
    verify(kernel)
    assert print_kernel(parse_kernel(print_kernel(kernel))) == print_kernel(kernel)
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-(2**10), 2**10, s).astype(np.float32) for s in ((16, 8), (8, 8)))
    beside = np.float32(1 + 2**-13) * x  # rounds to x, where more than 11 bits are needed at all
    fragments = beside.reshape(2, 8, 2, 4).transpose(1, 3, 2, 0)  # row, word, the next four, the next eight rows
    found = np.zeros((8, 4, 2, 2), np.float32)
    run_lockstep(kernel, [np.ascontiguousarray(fragments), np.ascontiguousarray(y.reshape(2, 4, 8).transpose(2, 1, 0)),
                          found], blocks=1)  # fmt: skip
    np.testing.assert_array_equal(found, (x @ y).reshape(2, 8, 4, 2).transpose(1, 2, 0, 3))
