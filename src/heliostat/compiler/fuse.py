"""Groups graph nodes into kernels. A node joins the group of a producer where a schedule accepts the larger group.

Every decision is recorded: what was joined, what was not, and the schedule's reason. Reshapes move no bytes: they are
names for the same buffer and stand outside all groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from ..diagnostics import CompileError
from ..ir.graph import Graph, Node, Value
from ..ir.types import DType, bool_, numel, upper_bound
from ..kernel.library import LibraryProduct
from ..kernels import decode_attention, flash_operands, pixel_sums, reduce, transpose
from ..kernels.column_sums import column_sums, row_shape, summed
from ..kernels.elementwise import VIEWS
from ..kernels.group import ALIASES, Accept, Group, Refuse
from ..targets.target import Target
from .defer import defer
from .read_views import read_by_views
from .remake import remake
from .rows_of_heads import join_rows_of_heads
from .split import are_many

LEAVES = frozenset({"parameter", "constant"})
REDUCTIONS = frozenset({"sum", "mean", "max", "min", "prod", "argmax"})
PRODUCTS = frozenset({"linear", "matmul", "conv2d", "window_matmul"})
# Groups rooted at these take elementwise nodes as an epilogue, computed while the result is in registers.
EPILOGUE_ROOTS = PRODUCTS | {"max_pool2d_gradient"}

SLOW = frozenset(
    "erf exp exp2 gelu gelu_slope gelu_tanh log log2 log10 pow sigmoid silu sin cos tanh".split()  # noqa: SIM905
)
MOST_SLOW = 1  # of these behind a product of a GPU, where few warps compute and tensor cores wait for them

MOST_OPERANDS = 24
"""Buffers of a group that is put together of two; more would not fit into the registers of addresses anyway."""


@dataclass
class FusedGroup:
    """A group with the schedule that took it. `notes`: what was fused and why something was not."""

    group: Group
    schedule: ModuleType
    notes: list[str] = field(default_factory=list)


@dataclass
class _Open:
    """A group while it grows: its nodes, and the groups it depends on, directly or not, a bit for each number: there
    are thousands in a step of unrolled time, and as many joins."""

    nodes: list[Node]
    root: Node
    needs: int
    schedule: ModuleType
    notes: list[str]
    before: list[Node] = field(default_factory=list)  # nodes that other groups compute too: their results stay inside


class Fuser:
    """One fusion run over one graph; `schedules` in order of preference. `library`: products, by their nodes' id(),
    that a vendor's library is to compute, with a bias at most."""

    def __init__(
        self,
        graph: Graph,
        target: Target,
        schedules: Iterable[ModuleType],
        library: Mapping[int, LibraryProduct] | None = None,
    ) -> None:
        self.graph, self.target, self.schedules = graph, target, tuple(schedules)
        self.offered: dict[str, tuple[ModuleType, ...]] = {}  # schedules that take a group rooted at an op, by its name
        self.library = library or {}
        self.users = _users(graph)
        self.order = graph.nodes()
        self.position = {id(node): n for n, node in enumerate(self.order)}
        self.tried: set[tuple[int, int, int]] = set()
        self.kept = {id(v) for v in graph.outputs} | {id(v) for _, v in graph.updates}
        self.open: list[_Open] = []
        self.group_of: dict[int, int] = {}

    def run(self) -> list[FusedGroup]:
        """All groups, each after those it needs. Raises CompileError for a node that no schedule takes."""
        for node in self.order:
            if node.op.name not in LEAVES and node.op.name not in ALIASES:
                self._place(node)
        self._merge(lambda o: self.is_map(o) or o.schedule is pixel_sums)
        self._take_masks()
        self._merge(self._is_rows)
        if self.target.gpu:
            self._sum_beside_rows()
            remake(self)
            self._absorb()
            self._absorb_token()
            self._absorb_rounding()
            join_rows_of_heads(self)
        else:
            self._merge(self._is_concat)
            defer(self)
            read_by_views(self)
        order = ordered([o.needs for o in self.open])
        if order is None:
            raise CompileError("fusion made groups that need each other", help="this is a bug in Heliostat")
        return [
            FusedGroup(self.close(self.open[n]), self.open[n].schedule, self.open[n].notes)
            for n in order
            if self.open[n].nodes
        ]

    # --- placing one node ---------------------------------------------------------------------------------------
    def _place(self, node: Node) -> None:
        producers = sorted({g for v in node.inputs if (g := self._direct(v)) is not None}, reverse=True)
        producers.sort(key=lambda g: id(self.open[g].root) not in self.library)  # which can take a bias, and only that
        refused: list[str] = []
        for number in self._candidates(node, producers):
            verdict = self._try(node, number)
            if isinstance(verdict, ModuleType):
                host = self.open[number]
                host.notes.append(f"{_label(node)} joins {_label(host.root)}")
                host.schedule = verdict
                self._join(node, number)
                return
            refused.append(f"{_label(node)} is not joined to {_label(self.open[number].root)}: {verdict}")
        self._alone(node, refused)

    def _candidates(self, node: Node, producers: list[int]) -> list[int]:
        """Producer groups that may take the node: those on which no other input depends, through a reshape least of
        all.
        """
        if node.op.name == "linear":
            return [] if id(node) in self.library else self._beside(node)
        if node.op.name in flash_operands.OPERANDS:
            return self._with_scores(node)
        if (node.op.name in _ANCHORS and node.op.name != "cache_update") or transpose.turns(node, self.target):
            return []
        renamed = {self.group_of.get(id(source_of(v).node)) for v in node.inputs if v.node.op.name in ALIASES}
        near = self._makers([node])
        # in a renamed one it would read a buffer that is still written
        return [g for g in producers if g not in renamed and not self._between(g, near)]

    def _beside(self, node: Node) -> list[int]:
        """The group of a product of the same activations, where one elementwise node takes both results."""
        needs, near = self._needs(node), self._makers([node])
        for user in self.users.get(id(node.results[0]), ()):
            for value in user.inputs if getattr(user.op, "elementwise", False) else ():
                number = self._direct(value)
                if number is None or self._between(number, near):
                    continue
                host = self.open[number].root
                same = host.op.name == "linear" and host.inputs[0] is node.inputs[0] and id(host) not in self.library
                if not needs >> number & 1 and same:
                    return [number]
        return []

    def _with_scores(self, node: Node) -> list[int]:
        """Groups that make the scores that this node needs too, of the same queries and keys."""
        needs, near = self._needs(node), self._makers([node])
        mine = {id(v) for v in node.inputs}
        return [
            n
            for n, o in enumerate(self.open)
            if o.root.op.name in flash_operands.OPERANDS
            and o.nodes
            and not needs >> n & 1
            and mine & {id(v) for v in o.root.inputs}
            and not self._between(n, near)
        ]

    def _try(self, node: Node, number: int) -> ModuleType | str:
        host = self.open[number]
        if host.schedule is transpose and not transpose.takes(node, self.target):
            return "a transpose by itself reads and writes vectors"
        if host.root.op.name in PRODUCTS and node.op.name not in EPILOGUE_ROOTS:
            reason = self._epilogue_refusal(node, number)
            if reason is not None:
                return reason
        group = self._group([*host.nodes, node], host.root if _keeps_root(host) else node)
        if self.is_map(host) and self._too_wide(group):
            return f"a kernel reads and writes {MOST_OPERANDS} values at most"
        verdict = self._select(group)
        if isinstance(verdict, str):  # of all the reasons, that of the schedule which has the group now
            own = host.schedule.accepts(group, self.target)
            return own.reason if isinstance(own, Refuse) else verdict
        return verdict

    def _too_wide(self, group: Group) -> bool:
        return len(group.inputs) + len(group.outputs) > MOST_OPERANDS

    def _epilogue_refusal(self, node: Node, number: int) -> str | None:
        """Why a node should not become an epilogue of a product, though it could."""
        root = self.open[number].root
        if (given := self.library.get(id(root))) is not None:
            first = given.bias and root.results[0] in node.inputs
            return None if first else "a library computes the product, and a bias at most behind it"
        for value in node.results:
            users = self.users.get(id(value), ())
            stored = not self.target.gpu and any(u.op.name in PRODUCTS for u in users)  # whatever a reduction reads
            for user in users:
                if user.op.name in REDUCTIONS and not stored:
                    return f"its result feeds {user.op.name}, which wants whole rows"
                if self.target.gpu and _widens(node) and self._feeds_reductions(user):
                    return f"its result feeds {user.op.name} of whole rows, which reads fewer bytes before the cast"
        for other in _numbers(self._needs(node) & ~(self.open[number].needs | 1 << number)):
            if self.open[other].root.op.name in PRODUCTS:
                return "two products side by side need no barrier between them; a kernel after both takes it"
        return None

    def _feeds_reductions(self, node: Node) -> bool:
        return any(u.op.name in REDUCTIONS for v in node.results for u in self.users.get(id(v), ()))

    def _alone(self, node: Node, refused: list[str]) -> None:
        group = self._group([node], node)
        verdict = self._select(group)
        if not isinstance(verdict, ModuleType):
            raise CompileError(
                f"no schedule takes {_label(node)} on {self.target.name}: {verdict}",
                help="rewrite the expression with other ops, or choose another target",
            )
        self.group_of[id(node)] = len(self.open)
        self.open.append(_Open([node], node, self._needs(node), verdict, refused))

    def _select(self, group: Group) -> ModuleType | str:
        """The first schedule that accepts the group, or the reasons of those against it that the root concerns: those
        that name the root among their `ROOTS`, or that name none since they take any."""
        name = group.root.op.name
        if (offered := self.offered.get(name)) is None:
            offered = tuple(s for s in self.schedules if name in getattr(s, "ROOTS", (name,)))
            self.offered[name] = offered
        refused: list[str] = []
        for schedule in offered:
            verdict = schedule.accepts(group, self.target)
            if isinstance(verdict, Accept):
                return schedule
            assert isinstance(verdict, Refuse)
            refused.append(f"{schedule.__name__.rpartition('.')[2]}: {verdict.reason}")
        return "; ".join(refused)

    # --- joining groups -----------------------------------------------------------------------------------------
    def _merge(self, chosen: Callable[[_Open], bool]) -> None:
        """Join an elementwise group to one that it reads, and rows to rows, where nothing stands between them: a node
        that could have gone to either of two groups went to one, and the other still passes its values through memory.
        """
        again = True
        while again:
            again = False
            for later, consumer in enumerate(self.open):
                if not consumer.nodes or not chosen(consumer):
                    continue
                found = {g for n in consumer.nodes for v in n.inputs if (g := self._direct(v)) is not None} - {later}
                for number in sorted(found):
                    if (number, later, len(consumer.nodes)) in self.tried:
                        continue
                    self.tried.add((number, later, len(consumer.nodes)))
                    self._merge_into(number, later)
                    if not consumer.nodes:
                        again = True
                        break

    def _merge_into(self, number: int, later: int) -> None:
        host, consumer = self.open[number], self.open[later]
        product, rows = host.root.op.name in EPILOGUE_ROOTS, self._is_rows(consumer)
        if not host.nodes or not (self._is_rows(host) if rows else product or self.is_map(host)):
            return
        if self._is_concat(consumer) and not all(n.op.name in VIEWS for n in host.nodes):
            return  # what computes has its own launch, beside those of the other operands
        if not consumer.needs >> number & 1 or self._between(number, self._makers(consumer.nodes) - {later}):
            return
        renamed = {self.group_of.get(id(source_of(v).node)) for n in consumer.nodes for v in n.inputs
                   if v.node.op.name in ALIASES}  # fmt: skip
        if number in renamed or (product and any(self._epilogue_refusal(n, number) for n in consumer.nodes)):
            return
        if product and self.target.gpu and sum(n.op.name in SLOW for n in consumer.nodes) > MOST_SLOW:
            host.notes.append(f"{_label(consumer.root)} stays apart: tensor cores would wait for its arithmetic")
            return
        nodes = self.together(host.root, host.nodes, consumer.nodes)
        root = host.root if host.root.op.name in _ANCHORS else nodes[-1]
        group = self._group(nodes, root)
        if not product and self._too_wide(group):
            return
        verdict = self._select(group)
        if rows and verdict is reduce and not reduce.reads_once(group, self.target):
            verdict = "rows would be read again for each reduction"
        if isinstance(verdict, str):
            host.notes.append(f"{_label(consumer.root)} and what is joined to it stay apart: {verdict}")
            return
        host.notes += [*consumer.notes, f"{_label(consumer.root)} joins {_label(host.root)}"]
        host.nodes, host.root, host.schedule = nodes, root, verdict
        mine, gone = 1 << number, 1 << later
        host.needs = (host.needs | consumer.needs) & ~(mine | gone)
        for node in consumer.nodes:
            self.group_of[id(node)] = number
        consumer.nodes, consumer.needs = [], 0
        for other in self.open:
            if other.needs & (mine | gone):
                other.needs = other.needs & ~gone | mine | host.needs

    def together(self, root: Node, *groups: Sequence[Node]) -> list[Node]:
        """The nodes of some groups in their order, but for a root that is a product: its epilogue stands behind it."""
        places = {self.position[id(n)] for nodes in groups for n in nodes}
        nodes = [self.order[p] for p in sorted(places)]
        return [root, *(n for n in nodes if n is not root)] if root.op.name in EPILOGUE_ROOTS else nodes

    def _take_masks(self) -> None:
        """Join what makes a mask to its one reader where that is no elementwise group, rows with a softmax say."""
        for number, host in enumerate(self.open):
            made = self.close(host).outputs if host.nodes and self.is_map(host) else ()
            if len(made) != 1 or made[0].type.element is not bool_ or id(made[0]) in self.kept:
                continue
            readers = {self.group_of.get(id(u), -1) for u in self.users.get(id(made[0]), ())}
            later = readers.pop()
            if readers or later < 0 or self._between(number, self._makers(self.open[later].nodes) - {later}):
                continue
            consumer = self.open[later]
            if consumer.root.op.name in EPILOGUE_ROOTS and not self.target.gpu:
                continue
            nodes = self.together(consumer.root, host.nodes, consumer.nodes)
            verdict = self._select(self._group(nodes, consumer.root))
            if isinstance(verdict, str):
                host.notes.append(f"{_label(host.root)} is not joined to {_label(consumer.root)}: {verdict}")
                continue
            consumer.nodes, consumer.schedule = nodes, verdict
            consumer.notes += [*host.notes, f"{_label(host.root)} joins {_label(consumer.root)}"]
            for node in host.nodes:
                self.group_of[id(node)] = later
            self.dissolve(number)

    def _sum_beside_rows(self) -> None:
        """Let kernels of rows sum over them what they have in registers: what they compute, or read anyway."""
        for number, sums in enumerate(self.open):
            last = sums.nodes[-1] if sums.nodes else None
            if last is None or sums.schedule is not reduce or last.op.name != "sum" or last.attrs["axes"] != (1,):
                continue
            source = source_of(self.close(sums).inputs[0])
            near = {self.group_of.get(id(n)) for n in (source.node, *self.users.get(id(source), ()))}
            for at in sorted(n for n in near if n is not None and n != number):
                host = self.open[at]
                shape = row_shape(self.close(host)) if self._is_rows(host) else None
                found = None if shape is None else summed(last, shape)
                if found is not None and found[0] is source and self._sums_join(number, at, found[1]):
                    break

    def _sums_join(self, number: int, at: int, between: list[Node]) -> bool:
        sums, host = self.open[number], self.open[at]
        if sums.needs & ~(host.needs | 1 << at) or host.needs >> number & 1:
            return False
        nodes = list({id(n): n for n in (*host.nodes, *between, *sums.nodes)}.values())
        group = self._group(nodes, host.root)
        if self._too_wide(group) or not _in_many_parts(group) or self._select(group) is not reduce:
            return False
        host.nodes = nodes
        host.notes += [*sums.notes, f"{_label(sums.root)} joins {_label(host.root)}"]
        for node in sums.nodes:
            self.group_of[id(node)] = at
        for other in self.open:
            if other.needs >> number & 1:
                other.needs = other.needs & ~(1 << number) | 1 << at | host.needs
        sums.nodes, sums.needs = [], 0
        return True

    def _absorb(self) -> None:
        """Let products of a single row begin with what makes that row, norms say, in each that reads it: computed more
        than once, but without a launch of its own.
        """
        for number, host in enumerate(self.open):
            if not host.nodes or host.root.op.name in _ANCHORS or _rounds(host):
                continue
            made = self.close(host).outputs
            users = [u for v in made for u in self.users.get(id(v), ())]
            numbers = sorted({self.group_of.get(id(u), -1) for u in users})  # names of reshaped buffers are in none
            if len(made) != 1 or id(made[0]) in self.kept or not numbers or numbers[0] < 0:
                continue
            readers = [self.open[n] for n in numbers]
            products = {id(n) for r in readers if not r.before for n in r.nodes if n.op.name == "linear"}
            if all(id(u) in products and u.inputs[0] is made[0] for u in users):
                self._absorb_into(number, host, readers)

    def _absorb_token(self) -> None:
        """Let attention of one token take its row before that is in the caches: then it need not wait for them. That of
        many rotates its queries where it reads them."""
        for reader in self.open:
            if not reader.nodes or reader.root.op.name != "attention":
                continue
            before = decode_attention.brought(reader.root)
            alone = [n for n in before if n.op.name != "rope" or self._feeds(n, [*before, reader.root])]
            verdict: ModuleType | str = ""
            while alone and isinstance(verdict, str):
                verdict = self._select(self._group([*alone, *reader.nodes], reader.root, alone))
                if isinstance(verdict, str):  # the rotation of queries by itself, then nothing
                    queries = [n for n in alone if n is reader.root.inputs[0].node and n.op.name == "rope"]
                    alone = queries if len(alone) > 1 else []
            if isinstance(verdict, str):
                continue
            reader.schedule, reader.before = verdict, alone
            reader.notes += [f"{_label(reader.root)} begins with {_label(n)}" for n in alone]
            inputs = self.close(reader).inputs
            reader.needs = self._behind(inputs)
            for node in alone:  # that nobody else reads
                number = self.group_of[id(node)]
                host = self.open[number]
                if node.op.name == "rope" and host.nodes == [node]:
                    self.dissolve(number)

    def _absorb_rounding(self) -> None:
        """Let products on tensor cores that serve one warp round their operands themselves, where that would be a pass
        over them."""
        for number, host in enumerate(self.open):
            if not _rounds(host) or id(host.nodes[0].results[0]) in self.kept:
                continue
            users = self.users.get(id(host.nodes[0].results[0]), ())
            readers = [self.open[n] for n in {self.group_of.get(id(u), -1) for u in users} if n >= 0]
            if not readers or any(all(u is not r.root for r in readers) for u in users):
                continue
            befores = [[*host.nodes, *r.before] for r in readers]
            groups = [self._group([*b, *r.nodes], r.root, b) for b, r in zip(befores, readers, strict=True)]
            if any(self._select(g) is not r.schedule for g, r in zip(groups, readers, strict=True)):
                continue
            for reader, before in zip(readers, befores, strict=True):
                reader.before = before
                reader.notes.append(f"{_label(reader.root)} begins with {_label(host.root)}")
            self.dissolve(number)

    def _feeds(self, node: Node, readers: Sequence[Node]) -> bool:
        """Whether nobody but some nodes reads a node's results."""
        values = [v for v in node.results if id(v) in self.kept]
        return not values and all(u in readers for v in node.results for u in self.users.get(id(v), ()))

    def _absorb_into(self, number: int, host: _Open, readers: list[_Open]) -> None:
        verdicts = [self._select(self._group([*host.nodes, *r.nodes], r.root, host.nodes)) for r in readers]
        for reader, verdict in zip(readers, verdicts, strict=True):
            if isinstance(verdict, str):
                reader.notes.append(f"{_label(host.root)} has a launch of its own: {verdict}")
        if any(isinstance(v, str) for v in verdicts):
            return
        for reader, verdict in zip(readers, verdicts, strict=True):
            assert isinstance(verdict, ModuleType)
            reader.schedule, reader.before = verdict, host.nodes
            reader.notes += [*host.notes, f"{_label(reader.root)} begins with {_label(host.root)}"]
        self.dissolve(number)

    def dissolve(self, number: int) -> None:
        """Take a group's launch away: who needed it needs what it did."""
        host = self.open[number]
        for other in self.open:
            if other.needs >> number & 1:
                other.needs = other.needs & ~(1 << number) | host.needs
        host.nodes, host.needs = [], 0

    @staticmethod
    def is_map(o: _Open) -> bool:
        """Whether a group is elementwise alone."""
        return o.schedule.__name__.endswith(".map") and o.root.op.name not in _ANCHORS and o.root.op.name != "concat"

    @staticmethod
    def _is_concat(o: _Open) -> bool:
        """Whether a group puts its operands side by side, and may copy them out of what they are views of."""
        return o.schedule.__name__.endswith(".map") and o.root.op.name == "concat"

    def _is_rows(self, o: _Open) -> bool:
        """Rows with reductions that a GPU would read once."""
        return self.target.gpu and o.schedule is reduce and any(n.op.name in REDUCTIONS for n in o.nodes)

    @staticmethod
    def is_product(o: _Open) -> bool:
        """Whether a group is a product with its epilogue."""
        return o.root.op.name in EPILOGUE_ROOTS

    def with_views(self, number: int, before: Sequence[Node]) -> ModuleType | str:
        """Let a group begin with views, whose results other groups may compute too; or why it cannot."""
        reader = self.open[number]
        group = self._group([*before, *reader.nodes], reader.root, before)
        verdict = self._select(group)
        if isinstance(verdict, ModuleType):
            reader.schedule, reader.before, reader.needs = verdict, list(before), self._behind(group.inputs)
            reader.notes += [f"{_label(reader.root)} reads {_label(n)} as it lies" for n in before]
        return verdict

    def verdict(self, group: Group) -> ModuleType | str:
        """The schedule of a group, or why there is none."""
        return self._select(group)

    def select(self, nodes: list[Node], root: Node) -> ModuleType | str:
        """The schedule of nodes as a group, or why there is none."""
        return self._select(self._group(nodes, root))

    # --- bookkeeping --------------------------------------------------------------------------------------------
    def _direct(self, value: Value) -> int | None:
        """The group whose value this is, None for leaves and for names of a reshaped buffer."""
        return self.group_of.get(id(value.node))

    def _needs(self, node: Node) -> int:
        """Every group that must have run before the node, through reshapes too, as bits."""
        return self._behind(node.inputs)

    def _behind(self, values: Iterable[Value]) -> int:
        """The groups that make some values, and those that they depend on, as bits."""
        found = 0
        for value in values:
            number = self.group_of.get(id(source_of(value).node))
            if number is not None:
                found |= 1 << number | self.open[number].needs
        return found

    def _makers(self, nodes: Iterable[Node]) -> set[int]:
        """The groups that make what some nodes read, through reshapes too."""
        made = {self.group_of.get(id(source_of(v).node)) for node in nodes for v in node.inputs}
        return {n for n in made if n is not None}

    def _between(self, number: int, makers: Iterable[int]) -> bool:
        """Whether one of some groups depends on another group: what stands further behind them is among their needs."""
        return any(self.open[n].needs >> number & 1 for n in makers if n != number)

    def _join(self, node: Node, number: int) -> None:
        host = self.open[number]
        added = self._needs(node) & ~(host.needs | 1 << number)
        host.nodes.append(node)
        host.needs |= added
        if not _keeps_root(host):
            host.root = node
        self.group_of[id(node)] = number
        for other in self.open if added else ():
            if other.needs >> number & 1:
                other.needs |= host.needs

    def _group(self, nodes: list[Node], root: Node, before: Sequence[Node] = ()) -> Group:
        """Nodes as a group. Results of those `before` are no outputs, whoever reads them."""
        inside, hidden = {id(n) for n in nodes}, {id(n) for n in before}
        inputs: dict[int, Value] = {}
        outputs: list[Value] = []
        for node in nodes:
            for value in node.inputs:
                if id(value.node) not in inside and not _immediate(node, value):
                    inputs.setdefault(id(value), value)
            for value in node.results if id(node) not in hidden else ():
                users = self.users.get(id(value))
                if not users or id(value) in self.kept or not inside.issuperset(map(id, users)):
                    outputs.append(value)
        used = [v for v in outputs if id(v) in self.kept or self.users.get(id(v))] or outputs
        return Group(tuple(nodes), tuple(inputs.values()), tuple(used), root, self._beside_rows(root))

    def _beside_rows(self, root: Node) -> int:
        """Outputs of the products of a GPU that read what a product reads."""
        if root.op.name != "linear" or not self.target.gpu:
            return 0
        x = root.inputs[0]
        readers = {id(u): u for u in self.users.get(id(x), ()) if u.op.name == "linear" and u.inputs[0] is x}
        return sum(upper_bound(u.inputs[1].type.shape[0]) for u in readers.values())

    def close(self, host: _Open) -> Group:
        """A group as it is now."""
        return self._group([*host.before, *host.nodes], host.root, host.before)


_ANCHORS = EPILOGUE_ROOTS | flash_operands.OPERANDS.keys() | {
    "attention", "dot_product_attention", "dot_product_attention_gradient", "embedding", "rope", "cache_update",
    "repack", "dequantize", "take", "put", "scan", "unfold", "fold", "window_gradient", "pixel_rows", "pixel_max",
    "pixel_argmax", "pixel_max_gradient",
}  # fmt: skip


def _in_many_parts(group: Group) -> bool:
    """Whether sums over rows, if there are some, leave the rows to enough teams."""
    shape = row_shape(group)
    if shape is None:
        return True
    rows = upper_bound(numel(shape[:-1]))
    return all(are_many(upper_bound(y.type.shape[0]), rows) for y in column_sums(group))


def lone_group(value: Value) -> Group:
    """The node of a value as a group of its own."""
    node = value.node
    return Group((node,), tuple(v for v in node.inputs if not _immediate(node, v)), (value,), node)


def source_of(value: Value) -> Value:
    """The value whose buffer this one names: reshapes are looked through."""
    while value.node.op.name in ALIASES:
        value = value.node.inputs[0]
    return value


def _rounds(host: _Open) -> bool:
    """Whether a group rounds an operand to tf32, and nothing else."""
    return [n.op.name for n in host.nodes] == ["round_tf32"]


def _keeps_root(host: _Open) -> bool:
    """Whether the node that decides a group's schedule stays the one, whatever joins."""
    return host.root.op.name in _ANCHORS or host.schedule is transpose


def _immediate(node: Node, value: Value) -> bool:
    """Whether an input is written into the kernel: a constant of one element, where no anchor reads its buffer."""
    return value.node.op.name == "constant" and all(d == 1 for d in value.type.shape) and node.op.name not in _ANCHORS


def _widens(node: Node) -> bool:
    """Whether a node's result has more bytes than what it is made of."""
    if node.op.name != "cast":
        return False
    old, new = node.inputs[0].type.element, node.results[0].type.element
    return isinstance(old, DType) and isinstance(new, DType) and new.nbytes > old.nbytes


def _users(graph: Graph) -> dict[int, list[Node]]:
    """The nodes that read a value, by the value's identity."""
    found: dict[int, list[Node]] = {}
    for node in graph.nodes():
        for value in node.inputs:
            found.setdefault(id(value), []).append(node)
    return found


def _label(node: Node) -> str:
    name = node.results[0].name
    return f"{node.op.name} %{name}" if name else node.op.name


def _numbers(bits: int) -> Iterator[int]:
    """The places of the bits that are set, from the lowest."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def ordered(needs: Sequence[int]) -> list[int] | None:
    """Numbers in an order in which each follows all it needs, near the given order; None where they go in circles.
    `needs`: of each the others, a bit for each number."""
    done = 0
    order: list[int] = []
    waiting = list(range(len(needs)))
    while waiting:
        later = []
        for n in waiting:
            if not needs[n] & ~done:
                order.append(n)
                done |= 1 << n
            else:
                later.append(n)
        if len(later) == len(waiting):
            return None
        waiting = later
    return order


Schedules = Callable[[], Iterable[ModuleType]]
