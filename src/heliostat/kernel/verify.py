"""The rules of kernel IR: `verify` checks a kernel against `ir.OPS` and names the kernel, the instruction and the rule.

Every schedule's kernel, and every edited text, passes here before a printer or the interpreter sees it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NoReturn

from ..diagnostics import VerifyError
from .arithmetic import rounded
from .ir import BARRIER, ELEMENT_BYTES, FLOATS, OPS, STATEMENTS, Block, Instruction, Kernel, Type
from .text import print_instruction

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_INTEGERS = frozenset({"i8", "i16", "i32", "i64"})
_I1, _I64, _PTR = Type("i1"), Type("i64"), Type("ptr")
_MOST_LANES = 1024
_RESERVED = frozenset({"true", "false"})


class _Broken(Exception):
    """A rule that the instruction at hand breaks."""


def _team_size(i: Instruction) -> int:
    """Iterations of a team loop; 0 where its bounds break the rule."""
    lo, hi = i.args
    right = lo.op == "const" and hi.op == "const" and lo.value == 0 and 0 < hi.value <= 32 and i.attrs["step"] == 1
    return int(hi.value) if right else 0


def verify(kernel: Kernel) -> None:
    """Raise VerifyError at the first instruction that breaks a rule."""
    _Verifier(kernel).kernel()


_OPERAND_A = Type("i16", 256)
_OF_BUFFERS = (
    "load",
    "store",
    "prefetch",
    "gather",
    "scatter",
    "copy_async",
    "warpgroup_mma",
    "arrive",
    "await",
    "load_matrices",
)


class _Verifier:
    def __init__(self, kernel: Kernel) -> None:
        self.source = kernel
        self.visible: dict[int, Instruction] = {}
        self.seen: set[int] = set()
        self.top = True
        self.conditional = False  # whether an `if` is open
        self.in_team = False  # whether a team loop is open
        self.parallel_vars: set[int] | None = None  # variables made inside the parallel region that is open

    def kernel(self) -> None:
        k = self.source
        if not _NAME.fullmatch(k.name):
            raise VerifyError(f"kernel {k.name!r}: a kernel's name consists of letters, digits, `_` and `.`")
        if len(k.buffers) != len(k.parameters):
            raise VerifyError(f"kernel {k.name}: {len(k.parameters)} parameters, but {len(k.buffers)} buffers")
        names: set[str] = set()
        for p, b in zip(k.parameters, k.buffers, strict=True):
            where = f"kernel {k.name}: parameter {p.name}"
            if not _NAME.fullmatch(p.name) or p.name in _RESERVED:
                raise VerifyError(f"{where}: a parameter's name consists of letters, digits, `_` and `.`")
            if p.name in names:
                raise VerifyError(f"{where}: two parameters have that name")
            if p.mode not in ("r", "w", "rw") or (p.is_dim and p.mode != "r"):
                raise VerifyError(f"{where}: the mode is r, w or rw, and r for a dimension; it is {p.mode}")
            if b.op != "buffer" or b.type != _PTR or b.attrs.get("name") != p.name or b.attrs.get("mode") != p.mode:
                raise VerifyError(f"{where}: its buffer has another name or mode")
            names.add(p.name)
            self.visible[id(b)] = b
        self.block(k.body)

    def block(self, block: Block) -> None:
        """Check the instructions in order; what they define is visible until the block ends."""
        visible, defined = self.visible, []
        for i in block:
            try:
                self.instruction(i)
            except _Broken as broken:
                line = print_instruction(self.source, i)
                raise VerifyError(f"kernel {self.source.name}: {line}: {broken}") from None
            if i.type is not None:
                visible[id(i)] = i
                defined.append(id(i))
        for key in defined:
            del visible[key]

    def instruction(self, i: Instruction) -> None:
        rule = _RULES.get(i.op)
        if rule is None:
            _fail(f"no op of kernel IR is named {i.op}" if i.op not in OPS else f"{i.op} does not stand in a block")
        if id(i) in self.seen:
            _fail("the same instruction stands in two places")
        self.seen.add(id(i))
        arity = OPS[i.op][0]
        if arity >= 0 and len(i.args) != arity:
            _fail(f"{i.op} takes {arity} operands, has {len(i.args)}")
        if (i.type is None) != (i.op in STATEMENTS):
            _fail("a statement has no type, every other op has one")
        if i.type is not None:
            _check_type(i.type)
        visible = self.visible
        for a in i.args:
            if id(a) not in visible:
                if a.op != "const":
                    _fail("an operand is not defined where it is used")
                _check_constant(a)
                visible[id(a)] = a
            if a.type == _PTR and i.op not in _OF_BUFFERS:
                _fail(f"a buffer is an operand of {', '.join(_OF_BUFFERS)} only")
            if a.op == "var" and i.op not in ("get", "set", "warpgroup_mma", "wait_mma"):
                _fail("a var is read by get")
        rule(self, i)

    # --- regions ----------------------------------------------------------------------------------------------------
    def region(self, i: Instruction) -> None:
        top, self.top = self.top, False
        if i.op == "if":
            _same(i.args[0].type, _I1, "the condition")
            if len(i.blocks) != 2:
                _fail(f"an if has two blocks, this one {len(i.blocks)}")
            conditional, self.conditional = self.conditional, True
            for block in i.blocks:
                self.block(block)
            self.conditional = conditional
        else:
            for a in i.args:
                _same(a.type, _I64, "a bound")
            if len(i.blocks) != 1 or not i.blocks[0] or i.blocks[0][0].op != "index":
                _fail(f"a {i.op} has one block, and that begins with its index")
            if i.op == "loop":
                step, unroll = i.attrs.get("step"), i.attrs.get("unroll")
                if not isinstance(step, int) or not 0 < step < 1 << 62:
                    _fail(f"the step is {step}, it must be at least 1")
                if not isinstance(unroll, int) or unroll < 1:
                    _fail(f"unroll is {unroll}, it must be at least 1")
                outer, team = self.in_team, bool(i.attrs.get("team"))
                if team and (outer or self.conditional or not _team_size(i)):
                    _fail("a team loop runs from 0 to a constant of at most 32, in no if and no other")
                self.in_team |= team
                self.counted(i)
                self.in_team = outer
            elif self.parallel_vars is not None:
                _fail("a parallel region stands inside a parallel region")
            elif self.conditional:
                _fail("a parallel region stands inside an if: it is for the top level and loops there")
            else:
                self.parallel_vars = set()
                self.counted(i)
                self.parallel_vars = None
        self.top = top

    def counted(self, i: Instruction) -> None:
        index = i.blocks[0][0]
        if index.type != _I64 or index.args or id(index) in self.seen:
            _fail("the index is an i64 of this region alone")
        self.seen.add(id(index))
        self.visible[id(index)] = index
        self.block(i.blocks[0][1:])
        del self.visible[id(index)]

    # --- rules of ops -----------------------------------------------------------------------------------------------
    def alloc(self, i: Instruction) -> None:
        _same(i.type, _PTR, "the result")
        if not self.top:
            _fail("alloc stands at the top level of the kernel")
        nbytes = i.attrs.get("nbytes")
        if not isinstance(nbytes, int) or not 0 < nbytes < 1 << 40:
            _fail(f"alloc of {nbytes} bytes")

    def var(self, i: Instruction) -> None:
        _same(i.args[0].type, i.type, "the first value")
        if self.parallel_vars is not None:
            self.parallel_vars.add(id(i))

    def get(self, i: Instruction) -> None:
        if i.args[0].op != "var":
            _fail("get reads a var")
        _same(i.type, i.args[0].type, "the result")

    def set(self, i: Instruction) -> None:
        variable = i.args[0]
        if variable.op != "var":
            _fail("set assigns to a var")
        _same(i.args[1].type, variable.type, "the value")
        if self.parallel_vars is not None and id(variable) not in self.parallel_vars:
            _fail("a parallel region sets a var from outside, so its iterations are not independent")

    def load(self, i: Instruction) -> None:
        if len(i.args) not in (2, 3):
            _fail(f"load takes a buffer, an offset and perhaps a mask, has {len(i.args)} operands")
        self.access(i, i.type, i.args[2:])
        buffer = i.args[0]
        if buffer.op == "buffer" and buffer.attrs["mode"] == "w":
            _fail(f"the buffer {buffer.attrs['name']} is written only")

    def store(self, i: Instruction) -> None:
        if len(i.args) not in (3, 4):
            _fail(f"store takes a buffer, an offset, a value and perhaps a mask, has {len(i.args)} operands")
        self.access(i, i.args[2].type, i.args[3:])
        buffer = i.args[0]
        if buffer.op == "buffer" and buffer.attrs["mode"] == "r":
            _fail(f"the buffer {buffer.attrs['name']} is read only")

    def ready(self, i: Instruction) -> None:
        if self.parallel_vars is not None or self.conditional:
            _fail("ready stands inside a region: it is for the top level")

    def prefetch(self, i: Instruction) -> None:
        if i.args[0].op != "buffer" and (i.args[0].op != "alloc" or "nbytes" in i.attrs):
            _fail("the first operand is a buffer, or, for a single line, an alloc")
        _same(i.args[1].type, _I64, "the offset")

    @staticmethod
    def access(i: Instruction, type: Type | None, mask: tuple[Instruction, ...]) -> None:
        assert type is not None
        if i.args[0].op not in ("buffer", "alloc"):
            _fail("the first operand is a buffer or an alloc")
        _same(i.args[1].type, _I64, "the offset")
        if type.elem in ("i1", "ptr"):
            _fail(f"{type.elem} is no type of memory")
        if mask:
            if type.lanes == 1:
                _fail("a mask is for vectors; a scalar access stands under an if")
            _same(mask[0].type, type.of("i1"), "the mask")

    def uniform(self, i: Instruction) -> None:
        """Every operand has the result's type."""
        assert i.type is not None
        for a in i.args:
            if a.type != i.type:
                _same(a.type, i.type, "an operand")
        if i.elem not in _ELEMENTS_OF[i.op]:
            _fail(f"{i.op} of {i.elem}")

    def shift(self, i: Instruction) -> None:
        self.uniform(i)
        amount = i.args[1]
        if amount.op == "const" and not 0 <= amount.value < 8 * ELEMENT_BYTES[i.elem]:
            _fail(f"a shift by {amount.value} of {i.elem}")

    def compare(self, i: Instruction) -> None:
        a, b = i.args
        _same(b.type, a.type, "the second operand")
        assert a.type is not None
        _same(i.type, a.type.of("i1"), "the result")
        if a.elem not in _ELEMENTS_OF[i.op]:
            _fail(f"{i.op} of {a.elem}")

    def select(self, i: Instruction) -> None:
        assert i.type is not None
        _same(i.args[0].type, i.type.of("i1"), "the condition")
        _same(i.args[1].type, i.type, "the second operand")
        _same(i.args[2].type, i.type, "the third operand")

    def convert(self, i: Instruction) -> None:
        source, target = i.args[0].type, i.type
        assert source is not None
        assert target is not None
        if source.lanes != target.lanes:
            _fail(f"{source} and {target} have different numbers of lanes")
        if not _CONVERTS[i.op](source.elem, target.elem):
            _fail(f"{i.op} from {source.elem} to {target.elem}")

    def bitcast(self, i: Instruction) -> None:
        source, target = i.args[0].type, i.type
        assert source is not None
        assert target is not None
        if source.nbytes != target.nbytes:
            _fail(f"{source} has {source.nbytes} bytes, {target} has {target.nbytes}")
        if "i1" in (source.elem, target.elem):
            _fail("an i1 has no bytes")

    def splat(self, i: Instruction) -> None:
        _same(i.args[0].type, Type(i.elem), "the operand")
        if i.lanes == 1:
            _fail("splat makes a vector")

    def iota(self, i: Instruction) -> None:
        if i.elem not in _INTEGERS or i.lanes == 1 or i.lanes > 1 << (8 * ELEMENT_BYTES[i.elem] - 1):
            _fail("iota is a vector of integers wide enough for its lanes")

    def extract(self, i: Instruction) -> None:
        source, lane = i.args[0], i.attrs.get("lane")
        _same(i.type, Type(source.elem), "the result")
        if source.lanes == 1 or not isinstance(lane, int) or not 0 <= lane < source.lanes:
            _fail(f"lane {lane} of {source.type}")

    def reduce(self, i: Instruction) -> None:
        source, kind = i.args[0], i.attrs.get("kind")
        _same(i.type, Type(source.elem), "the result")
        if source.lanes == 1 or source.lanes & (source.lanes - 1):
            _fail(f"reduce takes a vector whose lanes are a power of two, not {source.type}")
        known = ("add", "min", "max", "maximum", "minimum") if source.elem == "f32" else ("add", "min", "max")
        if kind not in known if source.elem != "i1" else kind != "or":
            _fail(f"reduce does not know {kind} of {source.elem}")

    def shuffle(self, i: Instruction) -> None:
        a, b = i.args
        lanes = i.attrs.get("lanes")
        _same(b.type, a.type, "the second operand")
        if a.lanes == 1:
            _fail("shuffle takes vectors")
        if not isinstance(lanes, tuple) or len(lanes) < 2:
            _fail("shuffle makes a vector; extract makes a scalar")
        _same(i.type, Type(a.elem, len(lanes)), "the result")
        if min(lanes) < 0 or max(lanes) >= 2 * a.lanes:
            _fail(f"a lane is outside 0 .. {2 * a.lanes - 1}")

    def dot4(self, i: Instruction) -> None:
        assert i.type is not None
        acc, a, b = (x.type for x in i.args)
        if i.elem != "i32":
            _fail(f"dot4 adds into i32, not {i.elem}")
        if i.lanes == 1:
            _fail("dot4 adds into a vector")
        _same(acc, i.type, "the accumulator")
        _same(a, Type("i8", 4 * i.type.lanes), "the unsigned operand")
        _same(b, Type("i8", 4 * i.type.lanes), "the signed operand")
        maximum = i.attrs.get("max")
        if not isinstance(maximum, int) or not 0 < maximum <= 255:
            _fail(f"max is {maximum}, it bounds a byte")

    def dot2(self, i: Instruction) -> None:
        assert i.type is not None
        acc, a, b = (x.type for x in i.args)
        if i.elem not in ("f32", "i32"):
            _fail(f"dot2 adds into f32 or i32, not {i.elem}")
        if i.lanes == 1:
            _fail("dot2 adds into a vector")
        _same(acc, i.type, "the accumulator")
        _same(a, Type("i16", 2 * i.type.lanes), "the first operand")
        _same(b, Type("i16", 2 * i.type.lanes), "the second operand")

    def gather(self, i: Instruction) -> None:
        assert i.type is not None
        buffer, offset, lanes = i.args
        if buffer.op not in ("buffer", "alloc"):
            _fail(f"{i.op} from {buffer.op}, not from a buffer")
        _same(offset.type, _I64, "the offset")
        self.runs(i.type, lanes)

    @staticmethod
    def runs(type: Type, lanes: Instruction) -> None:
        if type.lanes % lanes.lanes or type.lanes // lanes.lanes * ELEMENT_BYTES[type.elem] > 16:
            _fail(f"{type} is no run of up to 16 bytes for each of {lanes.lanes} offsets")
        _same(lanes.type, Type("i32", lanes.lanes), "the lanes' offsets")
        if type.lanes == 1 or type.elem == "i1":
            _fail("runs make a vector of memory elements")

    def scatter(self, i: Instruction) -> None:
        buffer, offset, lanes, value = i.args
        if buffer.op not in ("buffer", "alloc") or buffer.attrs.get("mode") == "r":
            _fail(f"scatter to {buffer.op}, not to a buffer that can be written")
        _same(offset.type, _I64, "the offset")
        assert value.type is not None
        self.runs(value.type, lanes)

    def mma(self, i: Instruction) -> None:
        acc, a, b = (x.type for x in i.args)
        kinds = dict.fromkeys(("bf16", "f16"), (Type("f32", 128), Type("i16", 256), Type("i16", 128)))
        kinds["tf32"] = (Type("f32", 128), Type("f32", 128), Type("f32", 64))
        kinds["i8"] = (Type("i32", 128), Type("i8", 512), Type("i8", 256))
        if i.attrs.get("kind") not in kinds:
            _fail(f"mma does not know {i.attrs.get('kind')}")
        wanted = kinds[i.attrs["kind"]]
        for found, want, what in zip(
            (i.type, acc, a, b), (wanted[0], *wanted), ("result", "sum", "a", "b"), strict=True
        ):
            _same(found, want, f"the {what}")

    def load_matrices(self, i: Instruction) -> None:
        private, offset, lanes = i.args
        if private.op != "alloc":
            _fail(f"matrices are loaded from private memory, not from {private.op}")
        _same(offset.type, _I64, "the offset")
        _same(lanes.type, Type("i32", 32), "the lanes' offsets")
        _same(i.type, Type("i32", 128), "the result")
        if i.attrs.get("turned") not in (False, True):
            _fail("turned is true or false")

    def pack_pair(self, i: Instruction) -> None:
        assert i.type is not None
        _same(i.type, i.type.of("i32"), "the result")
        if i.attrs.get("kind") not in ("bf16", "f16"):
            _fail(f"pack_pair does not know {i.attrs.get('kind')}")
        for a in i.args:
            _same(a.type, i.type.of("f32"), "an operand")

    def permute_bytes(self, i: Instruction) -> None:
        assert i.type is not None
        _same(i.type, i.type.of("i32"), "the result")
        for a in i.args:
            _same(a.type, i.type, "a word")
        if not 0 <= i.attrs.get("selector", -1) < 1 << 16 or i.attrs["selector"] & 0x8888:
            _fail("a selector has four digits from 0 to 7")

    def exp2(self, i: Instruction) -> None:
        assert i.type is not None
        _same(i.type, i.type.of("f32"), "the result")
        _same(i.args[0].type, i.type, "the operand")

    def maxnum(self, i: Instruction) -> None:
        self.exp2(i)
        _same(i.args[1].type, i.type, "the second operand")

    def copy_async(self, i: Instruction) -> None:
        if len(i.args) not in (6, 7):
            _fail(f"copy_async takes six operands and maybe a count, has {len(i.args)}")
        private, to, lanes, buffer, source, source_lanes, *count = i.args
        if any(c.type not in (Type("i32"), Type("i32", 32)) for c in count):
            _fail(f"the count of bytes is i32, for all lanes or for each, not {count[0].type}")
        if private.op != "alloc" or buffer.op != "buffer":
            _fail(f"a copy goes from a buffer to private memory, not from {buffer.op} to {private.op}")
        for offset in (to, source):
            _same(offset.type, _I64, "the offset")
        for offsets in (lanes, source_lanes):
            _same(offsets.type, Type("i32", 32), "the lanes' offsets")

    def order(self, i: Instruction) -> None:
        left = i.attrs.get("left", 0)
        if not isinstance(left, int) or not 0 <= left < 16:
            _fail(f"{left} groups may be left, it must be 0 .. 15")
        if self.parallel_vars is None and not self.in_team:
            _fail(f"{i.op} stands outside of a parallel region and of a team loop")

    def arrival(self, i: Instruction) -> None:
        if i.args[0].op != "alloc" or i.args[0].attrs["nbytes"] != BARRIER:
            _fail(f"a barrier is private memory of {BARRIER} bytes")
        self.order(i)

    def warpgroup_mma(self, i: Instruction) -> None:
        if i.args[0].op != "alloc":
            _fail(f"tiles lie in private memory, not in {i.args[0].op}")
        shape = i.attrs.get("shape")
        if not isinstance(shape, tuple) or len(shape) not in (3, 5) or not 0 < shape[0] <= 16:
            _fail("the shape is 1 to 16 steps, two strides of A if it lies in memory, and two of B")
        if any(s % 16 or not 0 < s < 1 << 18 for s in shape[1:]):
            _fail("a stride is a multiple of 16 bytes below 256 KiB")
        if i.attrs.get("kind") not in ("bf16", "f16", "tf32"):
            _fail(f"warpgroup_mma does not know {i.attrs.get('kind')}")
        _same(i.args[1].type, _I64, "the offset")
        turned = i.attrs.get("turned")
        if turned not in ((False, False), (False, True), (True, False), (True, True)):
            _fail("turned says of A and of B whether neighbours of a column lie together")
        if turned[0] and len(shape) != 5:
            _fail("values are not turned")
        if i.attrs["kind"] == "tf32" and (any(turned) or len(shape) != 5):
            _fail("tiles of tf32 lie in private memory and are not turned")
        values = 2 + (1 if len(shape) == 5 else shape[0])
        for a in i.args[2:values]:
            _same(a.type, _I64 if len(shape) == 5 else _OPERAND_A, "A")
        self.sums(i.args[values:])

    def sums(self, variables: Sequence[Instruction]) -> None:
        if not 0 < len(variables) <= 32 or any(v.op != "var" for v in variables):
            _fail("1 to 32 vars hold the sums")
        for v in variables:
            _same(v.type, Type("f32", 128), "a var of sums")

    def wait_mma(self, i: Instruction) -> None:
        self.order(i)
        count = next((n for n, a in enumerate(i.args) if a.op != "var"), len(i.args))
        self.sums(i.args[:count])
        for a in i.args[count:]:
            _same(a.type, _OPERAND_A, "what a product reads")

    def table(self, i: Instruction) -> None:
        _same(i.args[0].type, i.type, "the index")
        if i.elem != "i8":
            _fail("table is for i8")
        values = i.attrs.get("values")
        if not isinstance(values, tuple) or len(values) != 16:
            _fail("a table has 16 entries")
        if not all(-128 <= v <= 127 for v in values):
            _fail("an entry of the table is outside -128 .. 127")

    def number(self, i: Instruction) -> None:
        _same(i.type, _I64, "the result")

    def index(self, i: Instruction) -> None:
        _fail("an index stands first in a loop or parallel region, and nowhere else")


def _fail(rule: str) -> NoReturn:
    raise _Broken(rule)


def _same(found: Type | None, wanted: Type | None, what: str) -> None:
    if found != wanted:
        raise _Broken(f"{what} has type {found}, it must be {wanted}")


def _check_type(type: Type) -> None:
    if type.elem not in ELEMENT_BYTES:
        _fail(f"no element type is named {type.elem}")
    lanes = type.lanes
    if not 0 < lanes <= _MOST_LANES or lanes & (lanes - 1) or (type.elem == "ptr" and lanes > 1):
        _fail(f"{type}: the number of lanes is a power of two up to {_MOST_LANES}, 1 for ptr")


def _check_constant(c: Instruction) -> None:
    if c.type is None or c.type.elem not in ELEMENT_BYTES or c.type.elem == "ptr":
        _fail(f"a constant of type {c.type}")
    assert c.type is not None
    _check_type(c.type)
    value = c.attrs.get("value")
    if c.type.is_float:
        good = isinstance(value, float) and (value != value or rounded(value, c.type.elem) == value)
    elif c.type.elem == "i1":
        good = value in (0, 1)
    else:
        half = 1 << (8 * ELEMENT_BYTES[c.type.elem] - 1)
        good = isinstance(value, int) and not isinstance(value, bool) and -half <= value < half
    if not good:
        _fail(f"{value!r} is not a constant of type {c.type}")


_ANY_NUMBER = _INTEGERS | FLOATS
_ELEMENTS_OF: dict[str, frozenset[str]] = {
    **dict.fromkeys(("add", "sub", "mul", "div", "min", "max", "lt", "le"), _ANY_NUMBER),
    **dict.fromkeys(("maximum", "minimum"), frozenset({"f32"})),
    **dict.fromkeys(("rem", "shl", "lshr", "ashr", "ult"), _INTEGERS),
    **dict.fromkeys(("and", "or", "xor"), _INTEGERS | {"i1"}),
    **dict.fromkeys(("fma", "neg", "sqrt", "floor", "ceil", "rint", "fabs"), FLOATS),
    **dict.fromkeys(("eq", "ne"), _ANY_NUMBER | {"i1"}),
    "fma_pair": frozenset({"i32"}),
}

_BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64}
_CONVERTS: dict[str, Callable[[str, str], bool]] = {
    "sext": lambda s, t: s in _BITS and t in _BITS and _BITS[s] < _BITS[t],
    "zext": lambda s, t: s in _BITS and t in _BITS and _BITS[s] < _BITS[t],
    "trunc": lambda s, t: s in _BITS and t in _BITS and _BITS[s] > _BITS[t],
    "sitofp": lambda s, t: s in _BITS and t in FLOATS,
    "uitofp": lambda s, t: s in _BITS and t in FLOATS,
    "fptosi": lambda s, t: s in FLOATS and t in _INTEGERS,
    "fpcast": lambda s, t: s in FLOATS and t in FLOATS and s != t,
}

_RULES: dict[str, Callable[[_Verifier, Instruction], None]] = {
    **dict.fromkeys(("add", "sub", "mul", "div", "rem", "fma", "neg", "min", "max", "fma_pair"), _Verifier.uniform),
    **dict.fromkeys(("and", "or", "xor"), _Verifier.uniform),
    **dict.fromkeys(("shl", "lshr", "ashr"), _Verifier.shift),
    **dict.fromkeys(("sqrt", "floor", "ceil", "rint", "fabs"), _Verifier.uniform),
    **dict.fromkeys(("eq", "ne", "lt", "le", "ult"), _Verifier.compare),
    **dict.fromkeys(_CONVERTS, _Verifier.convert),
    **dict.fromkeys(("loop", "parallel", "if"), _Verifier.region),
    **dict.fromkeys(("worker", "workers"), _Verifier.number),
    "alloc": _Verifier.alloc, "var": _Verifier.var, "get": _Verifier.get, "set": _Verifier.set,
    "load": _Verifier.load, "store": _Verifier.store,
    "prefetch": _Verifier.prefetch, "ready": _Verifier.ready, "select": _Verifier.select, "bitcast": _Verifier.bitcast,
    "splat": _Verifier.splat, "iota": _Verifier.iota, "extract": _Verifier.extract, "shuffle": _Verifier.shuffle,
    "reduce": _Verifier.reduce,
    "dot4": _Verifier.dot4, "dot2": _Verifier.dot2,
    "pack_pair": _Verifier.pack_pair, "permute_bytes": _Verifier.permute_bytes, "exp2": _Verifier.exp2,
    "maxnum": _Verifier.maxnum,
    "rcp": _Verifier.exp2, "round_tf32": _Verifier.exp2, "maximum": _Verifier.uniform, "minimum": _Verifier.uniform,
    "copy_async": _Verifier.copy_async, "warpgroup_mma": _Verifier.warpgroup_mma,
    "commit_copies": _Verifier.order, "wait_copies": _Verifier.order, "barrier": _Verifier.order,
    "wait_mma": _Verifier.wait_mma, "arrive": _Verifier.arrival, "await": _Verifier.arrival,
    "gather": _Verifier.gather, "scatter": _Verifier.scatter,
    "load_matrices": _Verifier.load_matrices,
    "mma": _Verifier.mma, "table": _Verifier.table, "index": _Verifier.index,
}  # fmt: skip
