"""Schedules: each file turns one kind of fused group of graph nodes into one kernel. No LLVM, no target names."""
