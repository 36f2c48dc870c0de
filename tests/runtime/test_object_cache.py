from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heliostat.runtime.object_cache import _HEADER, ObjectCache, cache_key
from heliostat.settings import override

KEY = cache_key(["kernel", "cpu"])
PAYLOAD = bytes(range(256)) * 3


def entry(directory: Path, key: str = KEY) -> Path:
    return directory / f"{key}.o"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "objects"


def test_key_depends_on_every_part_and_on_their_borders() -> None:
    keys = [cache_key(parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], [], [""])]
    assert len(set(keys)) == len(keys)
    assert cache_key(["ab", "c"]) == keys[0]


def test_entry_is_kept_over_objects(place: Path) -> None:
    one = ObjectCache(place)
    assert one.get(KEY) is None
    assert one.put(KEY, PAYLOAD)
    two = ObjectCache(place)
    assert two.get(KEY) == PAYLOAD
    assert two.get(cache_key(["other"])) is None
    assert (two.stats().hits, two.stats().misses, two.stats().rejected, two.stats().note) == (1, 1, 0, "")
    assert one.stats().writes == 1
    two.clear()
    assert ObjectCache(place).get(KEY) is None


def test_get_or_make_makes_once(place: Path) -> None:
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return PAYLOAD

    for _ in range(3):
        assert ObjectCache(place).get_or_make(["k"], make) == PAYLOAD
    assert len(made) == 1


def test_cut_at_any_byte_is_rejected_and_rewritten(place: Path) -> None:
    cache = ObjectCache(place)
    cache.put(KEY, PAYLOAD)
    whole = entry(place).read_bytes()
    assert len(whole) == _HEADER.size + len(PAYLOAD)
    for length in range(len(whole)):
        entry(place).write_bytes(whole[:length])
        assert cache.get(KEY) is None
    assert cache.stats().rejected == len(whole)
    assert cache.get_or_make(["kernel", "cpu"], lambda: PAYLOAD) == PAYLOAD
    assert cache.get(KEY) == PAYLOAD


def test_any_changed_or_added_byte_is_rejected(place: Path) -> None:
    cache = ObjectCache(place)
    cache.put(KEY, PAYLOAD)
    whole = entry(place).read_bytes()
    for at in range(len(whole)):
        entry(place).write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        assert cache.get(KEY) is None, f"byte {at}"
    entry(place).write_bytes(whole + b"\0")
    assert cache.get(KEY) is None
    other = cache_key(["other"])
    entry(place, other).write_bytes(whole)
    assert cache.get(other) is None, "an entry under another key's name"


WRITER = """
import sys, random
from pathlib import Path
from heliostat.runtime.object_cache import ObjectCache, cache_key
cache = ObjectCache(Path(sys.argv[1]), int(sys.argv[2]))
random.seed(sys.argv[3])
bad = 0
for i in range(400):
    name = str(random.randrange(12))
    payload = name.encode() * (2000 + 50 * int(name))
    if random.random() < 0.5:
        cache.put(cache_key([name]), payload)
    else:
        data = cache.get(cache_key([name]))
        bad += data is not None and data != payload
stats = cache.stats()
print(bad, stats.rejected, stats.hits, stats.note)
"""


@pytest.mark.parametrize("limit", [1 << 30, 15_000])
def test_many_processes_read_and_write_the_same_entries(place: Path, limit: int) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place), str(limit), str(i)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(4)
    ]
    for child in children:
        out, err = child.communicate(timeout=100)
        assert child.returncode == 0, err
        bad, rejected, hits, *note = out.split()
        assert (bad, rejected, note) == ("0", "0", [])
        assert int(hits) > 0
    assert not list(place.glob("*.tmp"))


def test_least_recently_used_entries_go_first(place: Path) -> None:
    size = _HEADER.size + 1000
    cache = ObjectCache(place, limit_bytes=10 * size)
    keys = [cache_key([str(i)]) for i in range(10)]
    for age, key in enumerate(keys):
        cache.put(key, b"x" * 1000)
        os.utime(entry(place, key), (1000 + age, 1000 + age))
    assert cache.get(keys[0]) is not None  # now the youngest
    cache.put(cache_key(["one too many"]), b"x" * 1000)
    kept = [key for key in keys if entry(place, key).exists()]
    assert kept == [keys[0], *keys[3:]]  # down to nine tenths of the limit
    assert cache.stats().evicted == 2
    assert entry(place, cache_key(["one too many"])).exists()


def test_size_of_an_earlier_process_counts(place: Path) -> None:
    size = _HEADER.size + 1000
    for i in range(4):
        ObjectCache(place).put(cache_key([str(i)]), b"x" * 1000)
        os.utime(entry(place, cache_key([str(i)])), (1000 + i, 1000 + i))
    ObjectCache(place, limit_bytes=2 * size).put(KEY, b"x" * 1000)
    assert [path.name for path in place.glob("*.o")] == [entry(place).name]


def test_entries_are_added_up_once_a_day(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Path] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looks.append(path) or scan(path))
    for i in range(3):
        assert ObjectCache(place).put(cache_key([str(i)]), b"x" * 1000)
    assert len(looks) == 1  # of the first process
    sizes = place / "sizes"
    spoiled = (b"", b"\xff\xfe", b"12", b"9" * 5000, b"-1 -1", b"1e9 1", sizes.read_bytes()[:3], b"1 2\n" * (1 << 18))
    for text in spoiled:
        sizes.write_bytes(text)
        looks.clear()
        assert ObjectCache(place).put(KEY, PAYLOAD)
        assert len(looks) == 1, text
        assert int(sizes.read_bytes().split()[1]) == sum(path.stat().st_size for path in place.glob("*.o"))


def test_object_larger_than_the_cache_is_not_kept(place: Path) -> None:
    cache = ObjectCache(place, limit_bytes=500)
    assert not cache.put(KEY, PAYLOAD)
    assert cache.stats().note == ""
    assert not entry(place).exists()


def test_what_dead_processes_left_is_removed(place: Path) -> None:
    place.mkdir(parents=True, mode=0o700)
    old, new = place / "a.tmp", place / "b.tmp"
    for path, age in ((old, 7200), (new, 10)):
        path.write_bytes(b"part")
        os.utime(path, (time.time() - age,) * 2)
    ObjectCache(place).put(KEY, PAYLOAD)
    assert not old.exists()
    assert new.exists()


def blocked_by_a_file(place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_text("a file where the directory should be")


def open_to_others(place: Path) -> None:
    place.mkdir(parents=True)
    place.chmod(0o777)


def owned_by_another(place: Path) -> None:
    place.mkdir(parents=True, mode=0o700)
    os.chown(place, 12345, -1)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize(
    ("spoil", "note"),
    [(blocked_by_a_file, "cannot use"), (open_to_others, "not private"), (owned_by_another, "not private")],
)
def test_unusable_directory_only_costs_time(place: Path, spoil: Callable[[Path], None], note: str) -> None:
    if spoil is owned_by_another and os.geteuid() != 0:
        pytest.skip("needs root")
    spoil(place)
    cache = ObjectCache(place)
    assert cache.get_or_make(["kernel", "cpu"], lambda: PAYLOAD) == PAYLOAD
    assert not cache.put(KEY, PAYLOAD)
    assert note in cache.stats().note
    assert not place.is_dir() or not list(place.iterdir())
    cache.clear()


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_directory_and_entries_are_private(place: Path) -> None:
    old = os.umask(0)
    try:
        ObjectCache(place).put(KEY, PAYLOAD)
    finally:
        os.umask(old)
    assert place.stat().st_mode & 0o777 == 0o700
    assert entry(place).stat().st_mode & 0o777 == 0o600
    entry(place).chmod(0o666)
    assert ObjectCache(place).get(KEY) is None, "an entry that others could have written"


def test_full_disk_only_costs_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ObjectCache(place)
    cache.put(KEY, PAYLOAD)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    other = cache_key(["other"])
    assert not cache.put(other, PAYLOAD)
    assert cache.get(other) is None
    assert "No space left" in cache.stats().note
    assert not list(place.glob("*.tmp"))
    monkeypatch.undo()
    assert cache.get(KEY) == PAYLOAD, "what is there can still be read"


def test_settings_choose_the_cache(tmp_path: Path) -> None:
    with override(cache=False):
        off = ObjectCache.default()
        assert not off.put(KEY, PAYLOAD)
        assert "HELIOSTAT_CACHE" in off.stats().note
    with override(cache=True, cache_dir=tmp_path / "mine", cache_bytes=10_000):
        mine = ObjectCache.default()
        assert mine is ObjectCache.default()
        assert mine.put(KEY, PAYLOAD)
        assert entry(tmp_path / "mine").exists()


def test_checksum_is_of_the_payload(place: Path) -> None:
    cache = ObjectCache(place)
    cache.put(KEY, PAYLOAD)
    assert hashlib.sha256(PAYLOAD).digest() in entry(place).read_bytes()[: _HEADER.size]
