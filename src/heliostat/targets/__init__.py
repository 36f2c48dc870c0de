"""Targets: what a machine has (data), the instruction table, and the printers from kernel IR to LLVM IR and C."""
