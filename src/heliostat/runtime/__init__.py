"""Buffers, threads, compiled code and their caches: what runs a program. Knows nothing of how one is compiled."""
