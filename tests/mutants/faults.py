"""The faults: every small change of a source file, each at one place of its text."""

import ast
import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[tuple[str, type[ast.cmpop]], ...]] = {
    ast.Lt: (("boundary", ast.LtE), ("comparison", ast.GtE)),
    ast.LtE: (("boundary", ast.Lt), ("comparison", ast.Gt)),
    ast.Gt: (("boundary", ast.GtE), ("comparison", ast.LtE)),
    ast.GtE: (("boundary", ast.Gt), ("comparison", ast.Lt)),
    ast.Eq: (("comparison", ast.NotEq),),
    ast.NotEq: (("comparison", ast.Eq),),
    ast.Is: (("comparison", ast.IsNot),),
    ast.IsNot: (("comparison", ast.Is),),
    ast.In: (("comparison", ast.NotIn),),
    ast.NotIn: (("comparison", ast.In),),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
MODULE = "<module>"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Conditions that have faults of their own.
_COVERED = (ast.Compare, ast.BoolOp, ast.UnaryOp)
_CACHES = ("cache", "lru_cache", "cached_property")


@dataclass(frozen=True)
class Mutant:
    """One fault: bytes ``start`` to ``end`` of ``file`` (relative to the tree) become ``new``.

    ``function`` is the outermost function or method that holds it. It is ``<module>`` outside of any, and
    in one whose result is kept: all tests of the file may feel the fault there.
    """

    identity: str
    file: str
    line: int
    function: str
    kind: str
    start: int
    end: int
    old: str
    new: str

    def apply(self, source: bytes) -> bytes:
        """Return the file with the fault."""
        return source[: self.start] + self.new.encode() + source[self.end :]


def find_mutants(file: str, source: bytes) -> list[Mutant]:
    """List every fault of a file, in the order of its text. Equal text gives equal faults and identities."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    found: list[Mutant] = []
    seen: dict[str, int] = {}
    for function, node, kind, new in _walk(ast.parse(source), MODULE):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        old = source[start:end].decode()
        key = "\0".join((file, function, kind, old, new))
        seen[key] = seen.get(key, -1) + 1  # the same change of the same text, further down
        identity = hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest()[:16]
        found.append(Mutant(identity, file, node.lineno, function, kind, start, end, old, new))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end, mutant.identity))


Change = tuple[str, ast.expr | ast.stmt, str, str]
"""Function, node, kind of fault and new text."""


def _walk(node: ast.AST, function: str) -> Iterator[Change]:
    for child in _children(node):
        inner = function
        if isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            inner = _inner(child, function, node)
        if isinstance(child, ast.expr | ast.stmt):
            for kind, new in _changes(child):
                yield inner, child, kind, new
        if isinstance(child, ast.If | ast.While | ast.IfExp) and not isinstance(child.test, _COVERED):
            yield inner, child.test, "boolean", f"(not ({ast.unparse(child.test)}))"
        yield from _walk(child, inner)


def _inner(child: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, outer: str, node: ast.AST) -> str:
    if outer != MODULE and not isinstance(node, ast.ClassDef):
        return outer
    if isinstance(child, _FUNCTIONS) and any(
        ast.unparse(d).split("(")[0].split(".")[-1] in _CACHES for d in child.decorator_list
    ):
        return MODULE
    return child.name if outer == MODULE else f"{outer}.{child.name}"


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Leave out what no test should feel: annotations, decorators, text of messages, docstrings."""
    skipped = {"annotation", "returns", "decorator_list", "type_params"}
    for name, value in ast.iter_fields(node):
        if name in skipped:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield child


def _changes(node: ast.expr | ast.stmt) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Compare():
            yield from _comparisons(node)
        case ast.BinOp() | ast.AugAssign() if type(node.op) in ARITHMETIC:
            yield "arithmetic", _with(node, op=ARITHMETIC[type(node.op)]())
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "boolean", _with(node, op=other)
        case ast.Constant(value=bool() | int() | float()):
            yield from _constants(node)
        case ast.Call():
            yield from _swapped(node)
        case ast.Return() | ast.Raise() | ast.Expr() | ast.Assign():
            yield from _statements(node)
        case ast.UnaryOp(op=ast.Not()):
            yield "boolean", f"bool({ast.unparse(node.operand)})"


def _comparisons(node: ast.Compare) -> Iterator[tuple[str, str]]:
    for place, op in enumerate(node.ops):
        for kind, other in COMPARISONS[type(op)]:
            yield kind, _with(node, ops=[*node.ops[:place], other(), *node.ops[place + 1 :]])


def _constants(node: ast.Constant) -> Iterator[tuple[str, str]]:
    value = node.value
    yield "constant", repr(not value) if isinstance(value, bool) else f"({value!r} + 1)"


def _swapped(node: ast.Call) -> Iterator[tuple[str, str]]:
    first, *rest = node.args or [None]
    if not rest or isinstance(first, ast.Starred) or isinstance(rest[0], ast.Starred) or first is None:
        return
    if ast.dump(first) != ast.dump(rest[0]):
        yield "arguments", _with(node, args=[rest[0], first, *rest[1:]])


def _statements(node: ast.stmt) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield "returned", "return None"
        case (
            ast.Raise() | ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Subscript() | ast.Attribute()])
        ):
            yield "removed", "pass"


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _with(node: ast.expr | ast.stmt, **fields: object) -> str:
    """Write a node with other fields; an expression in brackets, so that its neighbours do not matter."""
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    text = ast.unparse(changed)
    return f"({text})" if isinstance(node, ast.expr) else text
