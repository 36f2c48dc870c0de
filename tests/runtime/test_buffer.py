from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from heliostat import settings as settings_module
from heliostat.diagnostics import DeviceError, FileFormatError
from heliostat.runtime import platform
from heliostat.runtime.buffer import ALIGNMENT, Arena, Buffer, MappedFile, SmallBuffers
from heliostat.runtime.guard import guarded_buffer
from heliostat.settings import SettingError, override

SIZES = [0, 1, 63, 64, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 3, (5 << 20) + 1]


@pytest.mark.parametrize("nbytes", SIZES)
@pytest.mark.parametrize("huge", [False, True])
def test_allocation_is_aligned_zero_and_writable(nbytes: int, huge: bool) -> None:
    with override(huge_pages=huge):
        buffer = Buffer.allocate(nbytes)
    assert nbytes == 0 or buffer.address % (platform.PAGE_BYTES if nbytes >= 1 << 20 else ALIGNMENT) == 0
    view = buffer.array(np.uint8)
    assert view.shape == (nbytes,)
    assert nbytes == 0 or view.ctypes.data == buffer.address
    assert not view.any()
    view[:] = 7
    assert (buffer.array(np.uint8) == 7).all()
    assert len(Buffer.allocate(nbytes, zeroed=False)) == nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's list of mappings")
def test_large_memory_is_private() -> None:
    """Linux gives huge pages to private memory where it is asked, and to shared memory by default never."""
    buffer = Buffer.allocate(8 << 20)
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights = line.split()[:2]
        first, last = (int(end, 16) for end in span.split("-"))
        if first <= buffer.address < last:
            assert rights == "rw-p"
            return
    raise AssertionError("the buffer lies in no mapping")


HOLDERS = {
    "the buffer": lambda b: b,
    "its bytes": lambda b: b.owner,
    "an array over it": lambda b: b.array(np.float32),
    "a view of an array": lambda b: b.array(np.float32)[3:5].view(),
    "a slice": lambda b: b.slice(64, 16),
    "a memoryview": lambda b: memoryview(b.array(np.float32)),
}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS.keys())
def test_small_memory_is_given_out_again_when_nobody_holds_it(holder: Callable[[Buffer], object]) -> None:
    small = SmallBuffers()
    address = small.take(400).address
    held = holder(small.take(400))  # the same memory, as nobody held it
    assert held is not None
    assert address not in [small.take(400).address for _ in range(3 * small.KEPT)]
    assert small.idle() == 400
    del held
    assert address in [small.take(400).address for _ in range(3 * small.KEPT)]
    assert small.idle() == small.nbytes == 800


def test_small_memory_is_kept_within_a_bound() -> None:
    small = SmallBuffers(most=4096)
    held = [small.take(300) for _ in range(100)]
    assert len({b.address for b in held}) == 100
    assert small.nbytes <= 4096
    assert small.idle() == 0
    del held
    assert 0 < small.idle() <= small.nbytes
    small.clear()
    assert small.idle() == small.nbytes == 0
    assert Buffer.allocate(0, zeroed=False, recycled=True).nbytes == 0


def test_threads_do_not_share_small_memory() -> None:
    small = SmallBuffers()
    wrong: list[int] = []

    def use(number: int) -> None:
        for _ in range(300):
            mine = small.take(64).array(np.int64)
            mine[:] = number
            if (mine != number).any():
                wrong.append(number)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=use, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong


def test_allocation_that_cannot_be_is_an_error() -> None:
    with pytest.raises(DeviceError, match=r"cannot allocate 4611686018\.43 GB"):
        Buffer.allocate(1 << 62)
    with pytest.raises(DeviceError, match="cannot allocate"):
        Buffer.allocate(1 << 100)
    with pytest.raises(ValueError, match="negative"):
        Buffer.allocate(-1)


def test_a_setting_that_cannot_be_read_is_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "_current", None)
    monkeypatch.setenv("HELIOSTAT_THREADS", "many")
    with pytest.raises(SettingError, match="HELIOSTAT_THREADS='many'"):
        Buffer.allocate(8 << 20)


def test_large_memory_goes_back_to_the_system() -> None:
    before = platform.rss_bytes()
    buffer = Buffer.allocate(200 << 20)
    buffer.array(np.uint8)[:] = 1
    assert platform.rss_bytes() - before > 150 << 20
    assert platform.peak_rss_bytes() >= 150 << 20
    del buffer
    assert platform.rss_bytes() - before < 50 << 20


def test_array_is_shared_and_kept_alive() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    buffer = Buffer.of(array)
    assert (buffer.address, buffer.nbytes, buffer.writable) == (array.ctypes.data, 48, True)
    array[1, 2] = 99
    assert buffer.array(np.float32, (3, 4))[1, 2] == 99
    part = buffer.slice(16, 16)
    del array, buffer
    assert part.array(np.float32).tolist() == [4, 5, 99, 7]
    with pytest.raises(ValueError, match="not contiguous"):
        Buffer.of(np.zeros((3, 4)).T)
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    assert not Buffer.of(frozen).writable


def test_views_stay_inside() -> None:
    buffer = Buffer.allocate(64)
    assert buffer.array(np.float64, (2, 4)).shape == (2, 4)
    assert buffer.array(np.int32, ()).shape == ()
    for shape in ((2, 5), (9,), (1 << 40, 1 << 40), (-3, 1)):
        with pytest.raises(ValueError, match="does not fit"):
            buffer.array(np.float64, shape)
    for offset, nbytes in ((0, 65), (65, 0), (-1, 4), (4, -1), (60, 5)):
        with pytest.raises(ValueError, match="do not lie in"):
            buffer.slice(offset, nbytes)


def test_arena_cuts_one_allocation() -> None:
    arena = Arena(1024)
    one, two = arena.at(0, 64), arena.at(64, 960)
    assert two.address - one.address == 64
    one.array(np.uint8)[:] = 1
    two.array(np.uint8)[:] = 2
    assert arena.buffer.array(np.uint8).sum() == 64 + 2 * 960
    with pytest.raises(ValueError, match="multiple of 64"):
        arena.at(8, 8)
    with pytest.raises(ValueError, match="do not lie in"):
        arena.at(64, 961)


def test_mapped_file_is_read_released_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    data = np.random.default_rng(0).integers(0, 256, 32 << 20, np.uint8)
    data.tofile(path)
    mapped = MappedFile(path)
    assert mapped.nbytes == data.nbytes
    assert not mapped.buffer.writable
    before = platform.rss_bytes()
    assert (mapped.buffer.array(np.uint8) == data).all()
    resident = platform.rss_bytes()
    if platform.LINUX:
        assert resident - before > 20 << 20
        assert mapped.release(100, mapped.nbytes - 100)
        assert resident - platform.rss_bytes() > 20 << 20
    assert (mapped.buffer.array(np.uint8) == data).all()
    part = mapped.at(1000, 24)
    del mapped
    assert (part.array(np.uint8) == data[1000:1024]).all()


def test_release_leaves_pages_outside_of_the_range(tmp_path: Path) -> None:
    page = platform.PAGE_BYTES
    assert not platform.release_pages(Buffer.allocate(8 * page).address + 1, page), "no whole page lies inside"


def test_file_errors_name_the_file(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for path, reason in ((tmp_path / "none", "No such file"), (empty, "empty"), (tmp_path, "directory|denied")):
        with pytest.raises(FileFormatError, match=reason) as caught:
            MappedFile(path)
        assert str(caught.value).startswith(f"{path}: ")
    (tmp_path / "short").write_bytes(b"0123456789")
    mapped = MappedFile(tmp_path / "short")
    with pytest.raises(FileFormatError, match=r"bytes 4 to 11 are past the end \(10 bytes\)"):
        mapped.at(4, 7)


TOUCH = """
import ctypes, faulthandler
from heliostat.runtime.guard import guarded_buffer
b = guarded_buffer({nbytes}, "{side}")
assert bytes(b.array("u1")) == b"\\xa5" * {nbytes}
b.array("u1")[:] = 1
print("inside", flush=True)
ctypes.memset(b.address + {at}, 0, 1) if {write} else ctypes.string_at(b.address + {at}, 1)
print("outside", flush=True)
"""


@pytest.mark.parametrize("nbytes", [1, 100, platform.PAGE_BYTES, 3 * platform.PAGE_BYTES + 5])
@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize("write", [False, True])
def test_guard_page_ends_the_process(nbytes: int, side: str, write: bool) -> None:
    at = -1 if side == "start" else nbytes
    code = TOUCH.format(nbytes=nbytes, side=side, at=at, write=write)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "inside\n", done.stderr
    assert done.returncode < 0 or platform.WINDOWS


def test_guarded_buffer_refuses_nonsense() -> None:
    assert guarded_buffer(0).nbytes == 0
    with pytest.raises(ValueError, match="negative"):
        guarded_buffer(-1)
    with pytest.raises(ValueError, match="side"):
        guarded_buffer(4, "middle")  # type: ignore[arg-type]
