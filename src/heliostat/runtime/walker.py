"""The native part of the worker pool, as LLVM text: barrier, launch table walker, the workers' wait loop.

`worker_pool` owns the Python side and the protocol's description; `Control` here is the layout of their shared memory.
"""

from __future__ import annotations

from ..diagnostics import UnsupportedError

# Fields that different threads write lie on lines of their own: 128 bytes, because x86 prefetches lines in pairs and
# Apple's lines are that long.
LINE = 128


class Control:
    """Byte offsets in the control block, whose size is `nbytes(threads)`. All fields are 64 bits wide."""

    ARRIVED = 0 * LINE  # threads that reached the current barrier
    GENERATION = 1 * LINE  # barriers passed so far
    DONE = 2 * LINE  # workers that finished the current run
    EPOCH = 3 * LINE  # runs published so far, and with it on one line:
    TABLE, COUNT, STAMPS = EPOCH + 8, EPOCH + 16, EPOCH + 24  # the run's arguments
    HOLD = 4 * LINE  # not 0 while a run is being started or walked: no worker may park
    STOP = 5 * LINE  # not 0: workers leave. Read by all, written once, so it shares a line with the constants:
    THREADS, SPIN_TICKS, PATIENCE, YIELD = STOP + 8, STOP + 16, STOP + 24, STOP + 32
    GETCPU, CPUS, OWNERS, REST_TICKS = STOP + 40, STOP + 48, STOP + 56, STOP + 64
    SPREAD = 6 * LINE  # when a shared CPU was last reported; the caller's own, like the owners' table
    WORKERS = 7 * LINE  # per thread 4 words: parked (0 or 1), last epoch seen, CPU it was on, unused
    SLOT = 32

    @staticmethod
    def nbytes(threads: int) -> int:
        return Control.WORKERS + Control.SLOT * threads


class Share:
    """Byte offsets in the memory of a launch whose shares are cut into chunks (`hs_share`), `nbytes(threads)` in all.
    Fields are 64 bits wide; zeros but for the first three before the first run, and again behind each."""

    FUNCTION, ARGS, CHUNKS = 0, 8, 16  # of the kernel; how many chunks a thread's share has
    DONE = 1 * LINE  # threads that found nothing left
    NEXT = 2 * LINE  # a line for each thread: the first chunk of its share that nobody took

    @staticmethod
    def nbytes(threads: int) -> int:
        return Share.NEXT + LINE * threads


# Hint that the thread spins, a steady counter of the CPU, and the reset of the floating-point mode, per machine.
# LLVM lowers llvm.readsteadycounter to 0 on AArch64, and its cycle counter is closed to programs: the timer is read.
_MACHINES = {
    "x86-64": {
        "declare": """declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare i64 @llvm.readcyclecounter()""",
        "pause": "call void @llvm.x86.sse2.pause()",
        "ticks": "call i64 @llvm.readcyclecounter()",
        "save": """%old = alloca i32
  %new = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %old)
  store i32 8064, ptr %new
  call void @llvm.x86.sse.ldmxcsr(ptr %new)""",
        "restore": "call void @llvm.x86.sse.ldmxcsr(ptr %old)",
    },
    "aarch64": {
        "declare": """declare void @llvm.aarch64.hint(i32)
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
declare i64 @llvm.read_volatile_register.i64(metadata)
!0 = !{!"cntvct_el0"}""",
        "pause": "call void @llvm.aarch64.hint(i32 1)",
        "ticks": "call i64 @llvm.read_volatile_register.i64(metadata !0)",
        "save": """%old = call i64 @llvm.aarch64.get.fpcr()
  call void @llvm.aarch64.set.fpcr(i64 0)""",
        "restore": "call void @llvm.aarch64.set.fpcr(i64 %old)",
    },
}

# `hs_relax(control, n)`: one turn of a spin loop; from turn PATIENCE on it offers the core to another thread.
# `hs_barrier` counts arrivals; the last one opens the next generation. A thread reads the generation before it
# arrives, so a slow leaver can never mistake the following barrier for this one.
# `hs_shared_cpu` marks the CPU of every thread in a table and reports a second mark, at most once in REST_TICKS.
# A thread's CPU is what it wrote at its latest run. Without a GETCPU function nothing is reported.
# `hs_enter` walks and joins: the join is one-sided, because workers wait for the next epoch anyway.
_TEXT = """
{declare}

define i64 @hs_ticks() {{
  %t = {ticks}
  ret i64 %t
}}

define internal void @hs_relax(ptr %ctl, i64 %turn) {{
  {pause}
  %limit.p = getelementptr i8, ptr %ctl, i64 {PATIENCE}
  %limit = load i64, ptr %limit.p
  %long = icmp uge i64 %turn, %limit
  br i1 %long, label %offer, label %end
offer:
  %yield.p = getelementptr i8, ptr %ctl, i64 {YIELD}
  %yield = load ptr, ptr %yield.p
  %ignored = call i32 %yield()
  br label %end
end:
  ret void
}}

define internal void @hs_barrier(ptr %ctl, i64 %n) {{
  %gen.p = getelementptr i8, ptr %ctl, i64 {GENERATION}
  %gen = load atomic i64, ptr %gen.p monotonic, align 8
  %before = atomicrmw add ptr %ctl, i64 1 acq_rel
  %arrived = add i64 %before, 1
  %last = icmp eq i64 %arrived, %n
  br i1 %last, label %open, label %spin
open:
  store atomic i64 0, ptr %ctl monotonic, align 8
  %next = add i64 %gen, 1
  store atomic i64 %next, ptr %gen.p release, align 8
  ret void
spin:
  %turn = phi i64 [ 0, %0 ], [ %turn.next, %wait ]
  %now = load atomic i64, ptr %gen.p acquire, align 8
  %same = icmp eq i64 %now, %gen
  br i1 %same, label %wait, label %out
wait:
  call void @hs_relax(ptr %ctl, i64 %turn)
  %turn.next = add i64 %turn, 1
  br label %spin
out:
  ret void
}}

define void @hs_walk(ptr %table, i64 %count, i64 %tid, i64 %n, ptr %ctl) {{
  %some = icmp sgt i64 %count, 0
  %many = icmp sgt i64 %n, 1
  br i1 %some, label %launch, label %out
launch:
  %i = phi i64 [ 0, %0 ], [ %i.next, %more ]
  %e = getelementptr [3 x i64], ptr %table, i64 %i
  %fn = load ptr, ptr %e
  %args.p = getelementptr i8, ptr %e, i64 8
  %args = load ptr, ptr %args.p
  call void %fn(ptr %args, i64 %tid, i64 %n)
  %i.next = add i64 %i, 1
  %last = icmp eq i64 %i.next, %count
  br i1 %last, label %out, label %between
between:
  %flags.p = getelementptr i8, ptr %e, i64 16
  %flags = load i64, ptr %flags.p
  %sync = trunc i64 %flags to i1
  %wait = and i1 %sync, %many
  br i1 %wait, label %sync.b, label %more
sync.b:
  call void @hs_barrier(ptr %ctl, i64 %n)
  br label %more
more:
  br label %launch
out:
  ret void
}}

define void @hs_walk_timed(ptr %table, i64 %count, i64 %tid, i64 %n, ptr %ctl, ptr %stamps) {{
  %some = icmp sgt i64 %count, 0
  %many = icmp sgt i64 %n, 1
  %base = mul i64 %tid, %count
  br i1 %some, label %launch, label %out
launch:
  %i = phi i64 [ 0, %0 ], [ %i.next, %more ]
  %row = add i64 %base, %i
  %s = getelementptr [3 x i64], ptr %stamps, i64 %row
  %e = getelementptr [3 x i64], ptr %table, i64 %i
  %fn = load ptr, ptr %e
  %args.p = getelementptr i8, ptr %e, i64 8
  %args = load ptr, ptr %args.p
  %begin = {ticks}
  store i64 %begin, ptr %s
  call void %fn(ptr %args, i64 %tid, i64 %n)
  %done = {ticks}
  %done.p = getelementptr i8, ptr %s, i64 8
  store i64 %done, ptr %done.p
  %end.p = getelementptr i8, ptr %s, i64 16
  store i64 %done, ptr %end.p
  %i.next = add i64 %i, 1
  %last = icmp eq i64 %i.next, %count
  br i1 %last, label %out, label %between
between:
  %flags.p = getelementptr i8, ptr %e, i64 16
  %flags = load i64, ptr %flags.p
  %sync = trunc i64 %flags to i1
  %wait = and i1 %sync, %many
  br i1 %wait, label %sync.b, label %more
sync.b:
  call void @hs_barrier(ptr %ctl, i64 %n)
  %end = {ticks}
  store i64 %end, ptr %end.p
  br label %more
more:
  br label %launch
out:
  ret void
}}

define internal void @hs_enter(ptr %table, i64 %count, i64 %tid, i64 %n, ptr %ctl, ptr %stamps) {{
  {save}
  %getcpu.p = getelementptr i8, ptr %ctl, i64 {GETCPU}
  %getcpu = load ptr, ptr %getcpu.p
  %blind = icmp eq ptr %getcpu, null
  br i1 %blind, label %start, label %where
where:
  %cpu.32 = call i32 %getcpu()
  %cpu = sext i32 %cpu.32 to i64
  %slot.at = mul i64 %tid, {SLOT}
  %slot.off = add i64 %slot.at, {WORKERS}
  %slot = getelementptr i8, ptr %ctl, i64 %slot.off
  %cpu.p = getelementptr i8, ptr %slot, i64 16
  %cpu.old = load atomic i64, ptr %cpu.p monotonic, align 8
  %stays = icmp eq i64 %cpu.old, %cpu
  br i1 %stays, label %start, label %moved
moved:
  store atomic i64 %cpu, ptr %cpu.p monotonic, align 8
  br label %start
start:
  %plain = icmp eq ptr %stamps, null
  br i1 %plain, label %walk, label %timed
walk:
  call void @hs_walk(ptr %table, i64 %count, i64 %tid, i64 %n, ptr %ctl)
  br label %end
timed:
  call void @hs_walk_timed(ptr %table, i64 %count, i64 %tid, i64 %n, ptr %ctl, ptr %stamps)
  br label %end
end:
  {restore}
  ret void
}}

define internal i1 @hs_shared_cpu(ptr %ctl, i64 %n) {{
  %getcpu.p = getelementptr i8, ptr %ctl, i64 {GETCPU}
  %getcpu = load ptr, ptr %getcpu.p
  %blind = icmp eq ptr %getcpu, null
  br i1 %blind, label %no, label %look
look:
  %cpu.32 = call i32 %getcpu()
  %cpu.0 = sext i32 %cpu.32 to i64
  %cpus.p = getelementptr i8, ptr %ctl, i64 {CPUS}
  %cpus = load i64, ptr %cpus.p
  %owners.p = getelementptr i8, ptr %ctl, i64 {OWNERS}
  %owners = load ptr, ptr %owners.p
  %epoch.p = getelementptr i8, ptr %ctl, i64 {EPOCH}
  %epoch = load atomic i64, ptr %epoch.p monotonic, align 8
  %mark = add i64 %epoch, 1
  %slot.0 = getelementptr i8, ptr %ctl, i64 {WORKERS}
  %cpu.0p = getelementptr i8, ptr %slot.0, i64 16
  store atomic i64 %cpu.0, ptr %cpu.0p monotonic, align 8
  br label %scan
scan:
  %w = phi i64 [ 0, %look ], [ %w.next, %next ]
  %slot.at = mul i64 %w, {SLOT}
  %slot.off = add i64 %slot.at, {WORKERS}
  %slot = getelementptr i8, ptr %ctl, i64 %slot.off
  %cpu.p = getelementptr i8, ptr %slot, i64 16
  %cpu = load atomic i64, ptr %cpu.p monotonic, align 8
  %known = icmp ult i64 %cpu, %cpus
  br i1 %known, label %claim, label %next
claim:
  %owner.p = getelementptr i64, ptr %owners, i64 %cpu
  %owner = load i64, ptr %owner.p
  %taken = icmp eq i64 %owner, %mark
  br i1 %taken, label %report, label %take
take:
  store i64 %mark, ptr %owner.p
  br label %next
next:
  %w.next = add i64 %w, 1
  %more = icmp slt i64 %w.next, %n
  br i1 %more, label %scan, label %no
report:
  %now = {ticks}
  %last.p = getelementptr i8, ptr %ctl, i64 {SPREAD}
  %last = load i64, ptr %last.p
  %since = sub i64 %now, %last
  %rest.p = getelementptr i8, ptr %ctl, i64 {REST_TICKS}
  %rest = load i64, ptr %rest.p
  %soon = icmp ult i64 %since, %rest
  br i1 %soon, label %no, label %yes
yes:
  store i64 %now, ptr %last.p
  ret i1 true
no:
  ret i1 false
}}

define void @hs_part(ptr %args, i64 %tid, i64 %n) {{
  %fn = load ptr, ptr %args
  %inner.p = getelementptr i8, ptr %args, i64 8
  %inner = load ptr, ptr %inner.p
  %part.p = getelementptr i8, ptr %args, i64 16
  %part = load i64, ptr %part.p
  %parts.p = getelementptr i8, ptr %args, i64 24
  %parts = load i64, ptr %parts.p
  %before = mul i64 %part, %n
  %worker = add i64 %before, %tid
  %workers = mul i64 %parts, %n
  call void %fn(ptr %inner, i64 %worker, i64 %workers)
  ret void
}}

define void @hs_share(ptr %args, i64 %tid, i64 %n) {{
  %fn = load ptr, ptr %args
  %inner.p = getelementptr i8, ptr %args, i64 {SHARE_ARGS}
  %inner = load ptr, ptr %inner.p
  %chunks.p = getelementptr i8, ptr %args, i64 {SHARE_CHUNKS}
  %chunks = load i64, ptr %chunks.p
  %workers = mul i64 %chunks, %n
  br label %owner
owner:
  %turn = phi i64 [ 0, %0 ], [ %turn.next, %dry ]
  %sum = add i64 %tid, %turn
  %past = icmp uge i64 %sum, %n
  %around = sub i64 %sum, %n
  %whose = select i1 %past, i64 %around, i64 %sum
  %first = mul i64 %whose, %chunks
  %next.at = mul i64 %whose, {LINE}
  %next.off = add i64 %next.at, {SHARE_NEXT}
  %next.p = getelementptr i8, ptr %args, i64 %next.off
  br label %look
look:
  %seen = load atomic i64, ptr %next.p monotonic, align 8
  %some = icmp ult i64 %seen, %chunks
  br i1 %some, label %take, label %dry
take:
  %chunk = atomicrmw add ptr %next.p, i64 1 monotonic
  %mine = icmp ult i64 %chunk, %chunks
  br i1 %mine, label %work, label %dry
work:
  %worker = add i64 %first, %chunk
  call void %fn(ptr %inner, i64 %worker, i64 %workers)
  br label %look
dry:
  %turn.next = add i64 %turn, 1
  %others = icmp ult i64 %turn.next, %n
  br i1 %others, label %owner, label %leave
leave:
  %done.p = getelementptr i8, ptr %args, i64 {SHARE_DONE}
  %before = atomicrmw add ptr %done.p, i64 1 acq_rel
  %done = add i64 %before, 1
  %last = icmp eq i64 %done, %n
  br i1 %last, label %reset, label %out
reset:
  store atomic i64 0, ptr %done.p monotonic, align 8
  br label %clear
clear:
  %t = phi i64 [ 0, %reset ], [ %t.next, %clear ]
  %clear.at = mul i64 %t, {LINE}
  %clear.off = add i64 %clear.at, {SHARE_NEXT}
  %clear.p = getelementptr i8, ptr %args, i64 %clear.off
  store atomic i64 0, ptr %clear.p monotonic, align 8
  %t.next = add i64 %t, 1
  %more = icmp ult i64 %t.next, %n
  br i1 %more, label %clear, label %out
out:
  ret void
}}

define i64 @hs_run(ptr %ctl, ptr %table, i64 %count, ptr %stamps) {{
  %n.p = getelementptr i8, ptr %ctl, i64 {THREADS}
  %n = load i64, ptr %n.p
  %alone = icmp eq i64 %n, 1
  br i1 %alone, label %single, label %many
single:
  call void @hs_enter(ptr %table, i64 %count, i64 0, i64 1, ptr %ctl, ptr %stamps)
  ret i64 0
many:
  %hold.p = getelementptr i8, ptr %ctl, i64 {HOLD}
  %held = atomicrmw xchg ptr %hold.p, i64 1 seq_cst
  br label %scan
scan:
  %w = phi i64 [ 1, %many ], [ %w.next, %scan ]
  %sum = phi i64 [ 0, %many ], [ %sum.next, %scan ]
  %slot.at = mul i64 %w, {SLOT}
  %slot.off = add i64 %slot.at, {WORKERS}
  %slot = getelementptr i8, ptr %ctl, i64 %slot.off
  %parked = load atomic i64, ptr %slot seq_cst, align 8
  %sum.next = add i64 %sum, %parked
  %w.next = add i64 %w, 1
  %w.more = icmp slt i64 %w.next, %n
  br i1 %w.more, label %scan, label %scanned
scanned:
  %all = icmp eq i64 %sum.next, 0
  br i1 %all, label %place, label %asleep
asleep:
  ret i64 %sum.next
place:
  %shared = call i1 @hs_shared_cpu(ptr %ctl, i64 %n)
  br i1 %shared, label %crowd, label %publish
crowd:
  ret i64 -1
publish:
  %table.p = getelementptr i8, ptr %ctl, i64 {TABLE}
  store ptr %table, ptr %table.p
  %count.p = getelementptr i8, ptr %ctl, i64 {COUNT}
  store i64 %count, ptr %count.p
  %stamps.p = getelementptr i8, ptr %ctl, i64 {STAMPS}
  store ptr %stamps, ptr %stamps.p
  %epoch.p = getelementptr i8, ptr %ctl, i64 {EPOCH}
  %epoch = atomicrmw add ptr %epoch.p, i64 1 seq_cst
  call void @hs_enter(ptr %table, i64 %count, i64 0, i64 %n, ptr %ctl, ptr %stamps)
  %done.p = getelementptr i8, ptr %ctl, i64 {DONE}
  %others = sub i64 %n, 1
  br label %join
join:
  %turn = phi i64 [ 0, %publish ], [ %turn.next, %join.wait ]
  %done = load atomic i64, ptr %done.p acquire, align 8
  %joined = icmp eq i64 %done, %others
  br i1 %joined, label %end, label %join.wait
join.wait:
  call void @hs_relax(ptr %ctl, i64 %turn)
  %turn.next = add i64 %turn, 1
  br label %join
end:
  store atomic i64 0, ptr %done.p monotonic, align 8
  store atomic i64 0, ptr %hold.p release, align 8
  %last.stamp = icmp ne ptr %stamps, null
  %some = icmp sgt i64 %count, 0
  %stamp.it = and i1 %last.stamp, %some
  br i1 %stamp.it, label %stamp, label %out
stamp:
  %final = {ticks}
  %row = getelementptr [3 x i64], ptr %stamps, i64 %count
  %final.p = getelementptr i8, ptr %row, i64 -8
  store i64 %final, ptr %final.p
  br label %out
out:
  ret i64 0
}}

define i64 @hs_worker(ptr %ctl, i64 %tid) {{
  %n.p = getelementptr i8, ptr %ctl, i64 {THREADS}
  %n = load i64, ptr %n.p
  %limit.p = getelementptr i8, ptr %ctl, i64 {SPIN_TICKS}
  %limit = load i64, ptr %limit.p
  %epoch.p = getelementptr i8, ptr %ctl, i64 {EPOCH}
  %stop.p = getelementptr i8, ptr %ctl, i64 {STOP}
  %hold.p = getelementptr i8, ptr %ctl, i64 {HOLD}
  %done.p = getelementptr i8, ptr %ctl, i64 {DONE}
  %slot.at = mul i64 %tid, {SLOT}
  %slot.off = add i64 %slot.at, {WORKERS}
  %slot = getelementptr i8, ptr %ctl, i64 %slot.off
  %seen.p = getelementptr i8, ptr %slot, i64 8
  %seen.0 = load i64, ptr %seen.p
  store atomic i64 0, ptr %slot seq_cst, align 8
  br label %idle
idle:
  %seen = phi i64 [ %seen.0, %0 ], [ %epoch, %work ], [ %seen, %again ]
  %since = {ticks}
  br label %poll
poll:
  %turn = phi i64 [ 0, %idle ], [ %turn.next, %rest ]
  %epoch = load atomic i64, ptr %epoch.p acquire, align 8
  %new = icmp ne i64 %epoch, %seen
  br i1 %new, label %work, label %quiet
quiet:
  %stop = load atomic i64, ptr %stop.p acquire, align 8
  %leave = icmp ne i64 %stop, 0
  br i1 %leave, label %gone, label %clock
clock:
  %now = {ticks}
  %spent = sub i64 %now, %since
  %over = icmp uge i64 %spent, %limit
  br i1 %over, label %park, label %rest
rest:
  call void @hs_relax(ptr %ctl, i64 %turn)
  %turn.next = add i64 %turn, 1
  br label %poll
work:
  %table.p = getelementptr i8, ptr %ctl, i64 {TABLE}
  %table = load ptr, ptr %table.p
  %count.p = getelementptr i8, ptr %ctl, i64 {COUNT}
  %count = load i64, ptr %count.p
  %stamps.p = getelementptr i8, ptr %ctl, i64 {STAMPS}
  %stamps = load ptr, ptr %stamps.p
  call void @hs_enter(ptr %table, i64 %count, i64 %tid, i64 %n, ptr %ctl, ptr %stamps)
  %finished = atomicrmw add ptr %done.p, i64 1 release
  br label %idle
park:
  store i64 %seen, ptr %seen.p
  %was = atomicrmw xchg ptr %slot, i64 1 seq_cst
  %hold = load atomic i64, ptr %hold.p seq_cst, align 8
  %sleep = icmp eq i64 %hold, 0
  br i1 %sleep, label %asleep, label %again
again:
  store atomic i64 0, ptr %slot seq_cst, align 8
  call void @hs_relax(ptr %ctl, i64 -1)
  br label %idle
asleep:
  ret i64 0
gone:
  ret i64 1
}}

define void @hs_unpark(ptr %ctl, i64 %tid) {{
  %slot.at = mul i64 %tid, {SLOT}
  %slot.off = add i64 %slot.at, {WORKERS}
  %slot = getelementptr i8, ptr %ctl, i64 %slot.off
  store atomic i64 0, ptr %slot seq_cst, align 8
  ret void
}}

define void @hs_release(ptr %ctl) {{
  %hold.p = getelementptr i8, ptr %ctl, i64 {HOLD}
  %was = atomicrmw xchg ptr %hold.p, i64 0 seq_cst
  ret void
}}

define void @hs_stop(ptr %ctl) {{
  %stop.p = getelementptr i8, ptr %ctl, i64 {STOP}
  %was = atomicrmw xchg ptr %stop.p, i64 1 seq_cst
  ret void
}}
"""


def walker_text(machine: str) -> str:
    """LLVM text of the native part for "x86-64" or "aarch64". Raises UnsupportedError for another machine.

    hs_run(ctl, table, count, stamps) -> i64    0: the run is complete; else nothing ran: so many workers are parked,
                                                or -1: two threads were last seen on one CPU
    hs_worker(ctl, tid) -> i64                  0: parked; 1: told to stop
    hs_unpark(ctl, tid)                         the worker counts as awake: its lock was released, it is on its way
    hs_release(ctl), hs_stop(ctl)               give up a run that was not started; tell all workers to leave
    hs_walk(table, count, tid, n, ctl)          the walker alone; hs_walk_timed has `stamps` as a last argument
    hs_part(args, tid, n)                       a launch that does one part of another: args are that one's function
                                                and args, the part's number and the count of parts
    hs_share(args, tid, n)                      a launch whose threads' shares are cut into chunks, which threads that
                                                are through with their own take over: args are laid out as in `Share`.
                                                The last thread to leave makes them ready for the next run
    hs_ticks() -> i64                           the counter that stamps are taken from

    A table has 3 words a launch: function, args, flags (bit 0: barrier after). A run ends in a join of all threads,
    so the last launch's flag changes nothing. `stamps` has 3 words per thread and launch, thread-major: begin of the
    thread's share, its end, end of the barrier; null for no timing.
    The floating-point mode is the default (round to nearest, denormals kept) inside of a run, whatever the caller's is,
    so threads agree with each other and with every process.
    """
    if machine not in _MACHINES:
        raise UnsupportedError(f"no worker pool for {machine}: x86-64 and aarch64 are known")
    offsets = {name: value for name, value in vars(Control).items() if name.isupper()}
    shares = {f"SHARE_{name}": value for name, value in vars(Share).items() if name.isupper()}
    return _TEXT.format(**_MACHINES[machine], **offsets, **shares, LINE=LINE)
