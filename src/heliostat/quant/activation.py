"""The int8 form of activations: what the integer dot products multiply weights with. Declared as data, like weights.

Unlike a file format, its parts lie apart within a row, so that codes are one run of bytes:
`[K int8 codes][K / block f32 scales][K / sub sums]`, each row padded to 64 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..ir.types import Element

ROW_ALIGNMENT = 64
MOST_I16 = 258  # codes of a sum that fits two bytes: 258 * 127 is 32766
FLOAT_BIAS = (
    3 << 22
)  # 1.5 * 2 ** 23: an i32 that its f32 bits and an integer of up to 22 bits add to is their sum as f32
FLOAT_BIAS_BITS = 0x4B400000  # those bits
FINE = 254  # steps of a second plane within one step of the first: its codes reach from -127 to 127


@dataclass(frozen=True)
class ActivationFormat(Element):
    """Codes q = rint(x * 127 / max|x|) per `scale_block` neighbours, x ~ scale * q.

    `sub`: neighbours per sum. `sums`: "i32" stores `factor` times the sum of the codes: with the weight's zero point
    negated
    as factor it is the first value of the integer accumulator. "f32" stores scale * sum, for weights with an offset of
    their own; "i16" stores the sums as they are, in two bytes each. An all-zero block has scale 0 and codes 0.
    `most`: the absolute codes of `sub` neighbours sum up to no more in the first plane, 0 for any sum: products of them
    then fit 16 bits. Where they would sum up to more, the block's scale is so much larger.
    `biased`: "i32" sums also have FLOAT_BIAS_BITS added, so that an integer accumulator that begins there ends as the
    bits of a float, FLOAT_BIAS and the sum of products, and no conversion is needed.
    `planes` 2 appends a second row of the same form that holds what the first one rounded away, in steps of 1 / 254 of
    its scale: 15 bits in all, for twice the products.
    """

    scale_block: int = 32
    sub: int = 32
    sums: str = "i32"
    factor: int = 1
    planes: int = 1
    most: int = 0
    biased: bool = False

    @property
    def block(self) -> int:
        return self.scale_block

    @property
    def nbytes(self) -> int:
        """Bytes of one block without the row's padding; `row_bytes` gives what a row takes."""
        return self.planes * (self.scale_block + 4 + self.sum_bytes * (self.scale_block // self.sub))

    @property
    def sum_bytes(self) -> int:
        """Bytes of one sum."""
        return 2 if self.sums == "i16" else 4

    @property
    def limit(self) -> float:
        """What a sum of absolute values counts beside the largest value: 127 over `most`, less what rounding adds."""
        return 127 / (self.most - self.sub // 2 - 1)

    def scales_at(self, k: int) -> int:
        """Byte offset of a plane's scales, for rows of k elements."""
        return k

    def sums_at(self, k: int) -> int:
        """Byte offset of a plane's sums."""
        return k + 4 * (k // self.scale_block)

    def plane_bytes(self, k: int) -> int:
        """Bytes from one plane of a row to the next."""
        used = self.sums_at(k) + self.sum_bytes * (k // self.sub)
        return -(-used // ROW_ALIGNMENT) * ROW_ALIGNMENT

    def row_bytes(self, k: int) -> int:
        """Bytes from one row to the next."""
        return self.planes * self.plane_bytes(k)

    def encode(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """Reference: rows (N, K) float to (N, row_bytes) bytes. All steps in float32, as the kernels do them."""
        x = np.ascontiguousarray(x, np.float32)
        n, k = x.shape
        blocks = x.reshape(n, k // self.scale_block, self.scale_block)
        largest = np.abs(blocks).max(-1)
        if self.most:
            parts = np.abs(blocks).reshape(n, k // self.scale_block, self.scale_block // self.sub, self.sub)
            while parts.shape[-1] > 1:  # by halves, as kernels add
                parts = parts[..., : parts.shape[-1] // 2] + parts[..., parts.shape[-1] // 2 :]
            largest = np.maximum(largest, parts.max((-1, -2)) * np.float32(self.limit))
        scale = largest * np.float32(1 / 127)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = np.where(largest > 0, np.float32(127) / largest, np.float32(0)).astype(np.float32)
        scaled = blocks * inverse[..., None]
        rounded = np.rint(scaled)
        planes = [self._plane(rounded.astype(np.int8), scale, n, k)]
        if self.planes == 2:
            rest = np.rint((scaled - rounded) * np.float32(FINE)).astype(np.int8)
            planes.append(self._plane(rest, scale * np.float32(1 / FINE), n, k))
        return np.concatenate(planes, axis=1)

    def _plane(
        self, codes: npt.NDArray[np.int8], scale: npt.NDArray[np.float32], n: int, k: int
    ) -> npt.NDArray[np.uint8]:
        codes = codes.reshape(n, k)
        sums = codes.reshape(n, k // self.sub, self.sub).astype(np.int32).sum(-1, dtype=np.int32)
        out = np.zeros((n, self.plane_bytes(k)), np.uint8)
        out[:, :k] = codes.view(np.uint8)
        out[:, self.scales_at(k) : self.sums_at(k)] = scale.astype(np.float32).view(np.uint8).reshape(n, -1)
        if self.sums == "f32":
            per_sub = np.repeat(scale, self.scale_block // self.sub, axis=1)
            stored = (per_sub * sums.astype(np.float32)).astype(np.float32).view(np.uint8)
        else:
            stored = sums * np.int32(self.factor) + np.int32(FLOAT_BIAS_BITS if self.biased else 0)
            stored = stored.astype(np.int16 if self.sums == "i16" else np.int32).view(np.uint8)
        out[:, self.sums_at(k) : self.sums_at(k) + self.sum_bytes * (k // self.sub)] = stored.reshape(n, -1)
        return out

    def decode(self, rows: npt.NDArray[np.uint8], k: int) -> npt.NDArray[np.float32]:
        """Reference: (N, row_bytes) bytes back to (N, k) float32."""
        total = np.zeros((rows.shape[0], k), np.float32)
        for p in range(self.planes):
            plane = rows[:, p * self.plane_bytes(k) :]
            codes = np.ascontiguousarray(plane[:, :k]).view(np.int8).astype(np.float32)
            scales = np.ascontiguousarray(plane[:, self.scales_at(k) : self.sums_at(k)]).view(np.float32)
            total += codes * np.repeat(scales, self.scale_block, axis=1)
        return total


def activation_format(
    scale_block: int, sub: int, sums: str, factor: int = 1, planes: int = 1, most: int = 0, biased: bool = False
) -> ActivationFormat:
    """The activation format of those properties, named by them: `a8_256_16_i32x-32`, with two planes `a16_...`, with a
    bound of sums `..._to1023`, with biased ones `..._biased`.
    """
    factor = factor if sums == "i32" else 1
    biased = biased and sums == "i32"
    name = (
        f"a{8 * planes}_{scale_block}_{sub}_{sums}x{factor}{f'_to{most}' if most else ''}{'_biased' if biased else ''}"
    )
    return ActivationFormat(name, scale_block, sub, sums, factor, planes, most, biased)
