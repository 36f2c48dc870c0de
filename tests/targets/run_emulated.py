"""Links objects for AArch64 with a small C program and runs their kernels under QEMU."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heliostat.kernel.ir import Kernel
from heliostat.targets.llvm import print_llvm
from heliostat.targets.llvm_compile import emit_object
from heliostat.targets.target import Target

Array = np.ndarray[Any, Any]
CC, QEMU = "aarch64-linux-gnu-gcc", "qemu-aarch64"

# Reads, for each kernel: workers, the number of arrays, and for each array its size and bytes; writes the arrays back.
# An array ends where a page ends that must not be touched.
_MAIN = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
typedef void kernel(void **args, int64_t worker, int64_t workers);
%s
static kernel *const kernels[] = {%s};
static int64_t number(void) {
  int64_t n;
  if (fread(&n, sizeof n, 1, stdin) != 1) exit(2);
  return n;
}
static char *guarded(size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
  char *p = mmap(0, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED || mprotect(p + room, page, PROT_NONE)) exit(3);
  return p + room - size;
}
int main(void) {
  for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
    int64_t workers = number(), count = number(), sizes[64];
    void *args[64];
    for (int64_t i = 0; i < count; i++) {
      sizes[i] = number();
      args[i] = guarded((size_t)sizes[i]);
      if (fread(args[i], 1, (size_t)sizes[i], stdin) != (size_t)sizes[i]) return 4;
    }
    for (int64_t w = 0; w < workers; w++) kernels[k](args, w, workers);
    for (int64_t i = 0; i < count; i++) fwrite(args[i], 1, (size_t)sizes[i], stdout);
  }
  return 0;
}
"""


def missing_tool() -> str:
    """The first tool that is not installed, or an empty text."""
    return next((tool for tool in (CC, QEMU) if shutil.which(tool) is None), "")


def run_emulated(cases: Sequence[tuple[Kernel, Sequence[Array]]], target: Target, workers: int = 1) -> None:
    """Run each kernel once on its arrays, in place, with every worker in turn. Raises RuntimeError if that fails."""
    kernels = [kernel for kernel, _ in cases]
    code = emit_object(print_llvm(kernels, target), target)
    names = [f"k{n}" for n in range(len(kernels))]
    externs = "\n".join(f'extern kernel {n} __asm__("{k.name}");' for n, k in zip(names, kernels, strict=True))
    data = b""
    for _, arrays in cases:
        data += struct.pack("<qq", workers, len(arrays))
        data += b"".join(struct.pack("<q", a.nbytes) + a.tobytes() for a in arrays)
    with tempfile.TemporaryDirectory() as folder:
        main, object_, program = (str(Path(folder, name)) for name in ("main.c", "kernels.o", "program"))
        Path(main).write_text(_MAIN % (externs, ", ".join(names)))
        Path(object_).write_bytes(code)
        command = [CC, "-O1", "-static", main, object_, "-o", program, "-lm"]
        linked = subprocess.run(command, capture_output=True, text=True)
        if linked.returncode:
            raise RuntimeError(linked.stderr[:4000])
        done = subprocess.run([QEMU, "-cpu", "max", program], input=data, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"the program ended with {done.returncode}: {done.stderr.decode(errors='replace')[:2000]}")
    at = 0
    for _, arrays in cases:
        for a in arrays:
            a[...] = np.frombuffer(done.stdout, a.dtype, a.size, at).reshape(a.shape)
            at += a.nbytes
    assert at == len(done.stdout)
