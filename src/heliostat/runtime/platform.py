"""All calls that depend on the operating system: cores, memory advice, cache directory, symbols of the C library.

Every function works on Linux, macOS and Windows; where a system lacks the facility the docstring says what happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import mmap
import os
import sys
from functools import cache
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl
    import resource

LINUX = sys.platform == "linux"
MACOS = sys.platform == "darwin"
WINDOWS = sys.platform == "win32"

PAGE_BYTES = mmap.PAGESIZE

_MADV_DONTNEED = 4
_MADV_HUGEPAGE = 14
_MADV_POPULATE_WRITE = 23
_PROT_NONE = 0


@cache
def _libc() -> ctypes.CDLL:
    """The C library (POSIX) or the C runtime (Windows)."""
    return ctypes.CDLL("msvcrt" if WINDOWS else None, use_errno=True)


def _address(library: ctypes.CDLL, name: str) -> int | None:
    try:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    except AttributeError:
        return None


@cache
def yield_address() -> int:
    """Address of a native `i32 f()` that lets another thread run: sched_yield, or SwitchToThread on Windows."""
    library = ctypes.CDLL("kernel32") if WINDOWS else _libc()
    address = _address(library, "SwitchToThread" if WINDOWS else "sched_yield")
    assert address is not None, "every supported system has it"
    return address


@cache
def getcpu_address() -> int | None:
    """Address of a native `i32 f()` that tells the CPU it runs on; None where threads cannot be placed (not Linux)."""
    return _address(_libc(), "sched_getcpu") if LINUX else None


def current_cpu() -> int:
    """The CPU that the calling thread runs on; -1 where `getcpu_address` is None."""
    return int(_libc().sched_getcpu()) if getcpu_address() is not None else -1


@cache
def memory_functions() -> dict[str, int]:
    """Name to address of the memory routines that LLVM may call in any code it generates."""
    names = ["memcpy", "memmove", "memset", "memcmp"]
    found = {name: address for name in names if (address := _address(_libc(), name)) is not None}
    if MACOS and (address := _address(_libc(), "bzero")) is not None:
        found["bzero"] = found["__bzero"] = address
    if WINDOWS:  # a frame larger than a page is probed by this routine
        address = _address(ctypes.CDLL("ntdll"), "__chkstk")
        if address is not None:
            found["__chkstk"] = address
        found["_fltused"] = found["memcpy"]  # a mark that floating point is used; nothing reads it
    return found


# --- cores -----------------------------------------------------------------------------------------------------------


def available_cpus() -> list[int]:
    """Logical CPUs that this process may run on (its affinity mask where the system has one)."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    if WINDOWS:
        kernel32 = ctypes.CDLL("kernel32")
        kernel32.GetCurrentProcess.restype = ctypes.c_void_p
        process_mask, system_mask = ctypes.c_size_t(), ctypes.c_size_t()
        process = ctypes.c_void_p(kernel32.GetCurrentProcess())
        if kernel32.GetProcessAffinityMask(process, ctypes.byref(process_mask), ctypes.byref(system_mask)):
            mask = process_mask.value
            if mask:
                return [i for i in range(mask.bit_length()) if mask >> i & 1]
    return list(range(os.cpu_count() or 1))


def cpus_by_core(cpus: list[int]) -> list[int]:
    """The CPUs in the order to use them: one of every physical core, then the second of every core, and so on."""
    seen: dict[str, int] = {}
    ranked = []
    for cpu in cpus:
        core = _core_of(cpu) if LINUX else str(cpu)
        ranked.append((seen.get(core, 0), cpu))
        seen[core] = seen.get(core, 0) + 1
    return [cpu for _, cpu in sorted(ranked)]


def set_thread_cpus(thread: int, cpus: set[int]) -> bool:
    """Bind a thread of this process (its native id; 0: the calling one) to CPUs. False where that is impossible."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setaffinity(thread, cpus)
            return True
    return False


def physical_cores() -> int:
    """Physical cores behind `available_cpus()`: hardware threads of one core count once. At least 1."""
    cpus = available_cpus()
    if LINUX:
        return max(1, len({_core_of(cpu) for cpu in cpus}))
    if MACOS:
        # Efficiency cores would make every barrier wait for the slowest share, so the fast ones are counted.
        return _sysctl("hw.perflevel0.physicalcpu") or _sysctl("hw.physicalcpu") or len(cpus)
    if WINDOWS:
        return max(1, min(len(cpus), _windows_cores() or len(cpus)))
    return max(1, len(cpus))


def _core_of(cpu: int, root: Path = Path("/sys/devices/system/cpu")) -> str:
    """A name for the physical core of a logical CPU; the CPU itself where the system does not tell."""
    for name in ("core_cpus_list", "thread_siblings_list"):
        with contextlib.suppress(OSError):
            return (root / f"cpu{cpu}" / "topology" / name).read_text().strip()
    return str(cpu)


def _sysctl(name: str) -> int:
    value, size = ctypes.c_int32(0), ctypes.c_size_t(4)
    try:
        status = _libc().sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    except AttributeError:
        return 0
    return value.value if status == 0 else 0


def _windows_cores() -> int:
    """Entries of kind RelationProcessorCore (0) in GetLogicalProcessorInformationEx; 0 if it fails."""
    kernel32 = ctypes.CDLL("kernel32")
    size = ctypes.c_uint32(0)
    kernel32.GetLogicalProcessorInformationEx(0, None, ctypes.byref(size))
    data = ctypes.create_string_buffer(max(size.value, 1))
    if not kernel32.GetLogicalProcessorInformationEx(0, data, ctypes.byref(size)):
        return 0
    count = offset = 0
    while offset + 8 <= size.value:
        step = int.from_bytes(data.raw[offset + 4 : offset + 8], "little")
        if step == 0:
            break
        count, offset = count + 1, offset + step
    return count


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """CPUs that the control group of this process may use per second of time; None without a limit or off Linux.

    The least of the group's own limit and those of the groups around it. Reads cgroup v2 (cpu.max) and v1.
    """
    if not LINUX:
        return None
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    limits: list[float] = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            base = root
        elif "cpu" in controllers.split(","):
            base = root / "cpu"
        else:
            continue
        place = base / group.strip("/")
        # Inside a container the path may not be visible under the mount: the mount itself is then the group.
        for directory in {base, place, *(p for p in place.parents if p.is_relative_to(base))}:
            limit = _quota_of(directory)
            if limit is not None:
                limits.append(limit)
    return min(limits) if limits else None


def _quota_of(directory: Path) -> float | None:
    try:
        if (directory / "cpu.max").exists():
            quota, _, period = (directory / "cpu.max").read_text().strip().partition(" ")
        else:
            quota = (directory / "cpu.cfs_quota_us").read_text().strip()
            period = (directory / "cpu.cfs_period_us").read_text().strip()
        if quota == "max" or float(quota) <= 0 or float(period or "100000") <= 0:
            return None
        return float(quota) / float(period or "100000")
    except (OSError, ValueError):
        return None


def default_threads() -> int:
    """Threads to use when nobody says: physical cores, no more than the control group's CPU quota (rounded up)."""
    cores = physical_cores()
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, int(-(-quota // 1))))


# --- memory ----------------------------------------------------------------------------------------------------------


def _madvise(address: int, nbytes: int, advice: int) -> bool:
    """madvise over the whole pages inside the range. False where it is refused or nothing lies inside."""
    start = -(-address // PAGE_BYTES) * PAGE_BYTES
    stop = (address + nbytes) // PAGE_BYTES * PAGE_BYTES
    if stop <= start:
        return False
    return bool(_libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), ctypes.c_int(advice)) == 0)


def anonymous_memory(nbytes: int) -> mmap.mmap:
    """Zeroed pages that belong to this process alone. Raises OSError or ValueError where there is no such memory.

    mmap's own default is shared memory, which Linux gives no huge pages unless an administrator allowed that.
    """
    if sys.platform == "win32":
        return mmap.mmap(-1, nbytes)
    return mmap.mmap(-1, nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def advise_huge_pages(address: int, nbytes: int) -> bool:
    """Ask for huge pages behind a range. Returns whether the system agreed; always False off Linux."""
    return LINUX and _madvise(address, nbytes, _MADV_HUGEPAGE)


def populate_pages(address: int, nbytes: int) -> bool:
    """Make the pages of a fresh anonymous mapping present now, so that writing to them later does not stop for each.

    Returns whether the system did that: Linux 5.14 and newer. The GIL is free meanwhile.
    """
    return LINUX and _madvise(address, nbytes, _MADV_POPULATE_WRITE)


def release_pages(address: int, nbytes: int) -> bool:
    """Drop the resident pages inside a range of a read-only file mapping; a later read loads them from the file again.

    Never call it on memory that was written and is still wanted: the content of private pages would be lost. Returns
    whether pages were dropped. No effect on Windows.
    """
    return not WINDOWS and _madvise(address, nbytes, _MADV_DONTNEED)


def release_library_pages(path: Path) -> int:
    """Drop the resident pages of a loaded library that are as they are in its file: its code and constants, which are
    read again where they are used. Returns the bytes of the mappings that were dropped; 0 off Linux."""
    if not LINUX:
        return 0
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return 0
    dropped, start, stop = 0, 0, 0
    for line in lines:
        words = line.split(maxsplit=5)
        if not words[0].endswith(":"):  # "from-to rights offset device inode file"
            start, stop = (int(word, 16) for word in words[0].split("-"))
            if "w" in words[1] or words[-1] != str(path):
                start = stop = 0
        elif words[:2] == ["Anonymous:", "0"] and _madvise(start, stop - start, _MADV_DONTNEED):
            dropped += stop - start  # no page was written since: relocated constants were, and stay
    return dropped


def protect_code(address: int, nbytes: int) -> None:
    """Make whole pages from `address` on readable and executable, and no longer writable; POSIX only.

    Raises OSError where the system refuses.
    """
    rights = mmap.PROT_READ | mmap.PROT_EXEC
    if _libc().mprotect(ctypes.c_void_p(address), ctypes.c_size_t(nbytes), ctypes.c_int(rights)) != 0:
        raise OSError(ctypes.get_errno(), "mprotect failed")


def cpu_description() -> str:
    """What tells this machine's CPU and its features from others, for this boot; "" where the system does not say."""
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU ", "Features")
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        with Path("/proc/cpuinfo").open() as file:  # the first processor's lines alone: with many CPUs all take long
            lines = list(itertools.takewhile(str.strip, file))
    except OSError:
        return ""
    return boot + "".join(line for line in lines if line.startswith(wanted))


def protect_page(address: int) -> None:
    """Make one page inaccessible: touching it kills the process. Raises OSError where the system refuses."""
    if WINDOWS:
        old = ctypes.c_uint32(0)
        kernel32 = ctypes.CDLL("kernel32")
        if not kernel32.VirtualProtect(
            ctypes.c_void_p(address), ctypes.c_size_t(PAGE_BYTES), ctypes.c_uint32(1), ctypes.byref(old)
        ):
            raise OSError("VirtualProtect failed")
    elif _libc().mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE_BYTES), ctypes.c_int(_PROT_NONE)) != 0:
        raise OSError(ctypes.get_errno(), "mprotect failed")


def rss_bytes() -> int:
    """Bytes of this process that are in memory now; the peak where the system tells only that."""
    if LINUX:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    if WINDOWS:
        return _windows_memory()[1]
    return peak_rss_bytes()


def peak_rss_bytes() -> int:
    """Most bytes of this process that were in memory at one time."""
    if sys.platform == "win32":
        peak = _windows_memory()[0]
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if MACOS else 1024)
    return peak


def _windows_memory() -> tuple[int, int]:
    """(peak, current) working set from GetProcessMemoryInfo."""

    class Counters(ctypes.Structure):
        _fields_ = [
            ("cb", ctypes.c_uint32),
            ("page_faults", ctypes.c_uint32),
            *[(f"size_{i}", ctypes.c_size_t) for i in range(8)],
        ]

    counters = Counters()
    counters.cb = ctypes.sizeof(counters)
    kernel32 = ctypes.CDLL("kernel32")
    kernel32.GetCurrentProcess.restype = ctypes.c_void_p
    kernel32.K32GetProcessMemoryInfo(
        ctypes.c_void_p(kernel32.GetCurrentProcess()), ctypes.byref(counters), ctypes.c_uint32(counters.cb)
    )
    return int(counters.size_0), int(counters.size_1)


# --- files -----------------------------------------------------------------------------------------------------------


def cache_directory() -> Path | None:
    """The user's own cache directory for this package, which need not exist; None where there is no home."""
    if WINDOWS:
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) / "heliostat" / "cache" if local else None
    xdg = os.environ.get("XDG_CACHE_HOME")
    if xdg and Path(xdg).is_absolute():
        return Path(xdg) / "heliostat"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / "Library" / "Caches" / "heliostat" if MACOS else home / ".cache" / "heliostat"


def others_can_write(status: os.stat_result) -> bool:
    """Whether a user other than this one owns a file or directory or may write it. False on Windows, where the
    user's own local application data is private by its access list."""
    if sys.platform == "win32":
        shared = False
    else:
        shared = status.st_uid != os.geteuid() or bool(status.st_mode & 0o022)
    return shared


def sync_directory(path: Path) -> None:
    """Put a directory's entries on disk, so that a renamed file survives a power cut. Windows has no such call, and
    file systems without it are not at fault: then nothing happens."""
    if WINDOWS:
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def lock_file(file: IO[bytes]) -> bool:
    """Hold an open file's lock until it is closed, also by the end of the process. False where another holds it, and
    where the system or the file system has no such locks, as on Windows."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def name_file(error: BaseException, path: Path) -> None:
    """Let an OSError of writing tell the file: that of a full disk names none."""
    if isinstance(error, OSError) and error.errno is not None:
        error.filename = str(path)


def user_mode() -> int:
    """The permissions of a new file of the user; `tempfile` makes them private."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
