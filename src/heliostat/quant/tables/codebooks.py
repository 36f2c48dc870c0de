"""Codebooks of sixteen entries."""

from __future__ import annotations

from heliostat.quant.algebra import Table

# GGUF v3, kvalues_iq4nl: levels of a normal-like distribution.
IQ4 = Table("iq4", (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113))

# E2M1 (OCP Microscaling Formats 1.0) doubled, so that all entries are integers. Code 8, a negative zero, decodes as 0.
FP4_DOUBLED = Table("fp4", (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12))
