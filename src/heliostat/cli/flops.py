"""How many arithmetic operations a graph stands for, counted as the field counts them: a product of matrices is
2 M N K, an elementwise op one for each result, a reduction one for each operand; moving data is none."""

from __future__ import annotations

from collections.abc import Mapping

from heliostat.ir.graph import Graph, Node
from heliostat.ir.types import evaluate, numel
