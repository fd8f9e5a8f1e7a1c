"""Code that notes which of its lines run: a store of one byte before each statement."""

from __future__ import annotations

import ast
import types

from tests.support.line_hits.start import HITS

__all__ = ["compile_marked"]


def compile_marked(source: bytes, path: str, offset: int) -> types.CodeType:
    """Returns the code of a file in which each statement first stores 1 at `offset` + its line."""
    tree = ast.parse(source, path)
    _Marks(offset).mark(tree)
    return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class _Marks:
    def __init__(self, offset: int) -> None:
        self._offset = offset

    def mark(self, node: ast.AST) -> None:
        """Marks the statements below a node, innermost first."""
        for child in ast.iter_child_nodes(node):
            self.mark(child)
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block:
                setattr(node, name, self._block(node, block))
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            # The line runs when an exception is compared with the type, whether it is of that type or not.
            store = ast.Call(
                ast.Attribute(_hits(node), "__setitem__", ast.Load()), [self._index(node.lineno), ast.Constant(1)], []
            )
            pair = ast.Tuple([store, node.type], ast.Load())
            node.type = ast.copy_location(ast.Subscript(pair, ast.Constant(1), ast.Load()), node.type)

    def _block(self, parent: ast.AST, block: list[ast.stmt]) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        # Docstrings and imports from __future__ must stay the first statements; these imports always run.
        first = 0
        while first < len(block) and _must_be_first(parent, block[first], first):
            out.append(block[first])
            first += 1
        for statement in block[:first]:
            out.append(self._store(statement, statement.lineno))
        if isinstance(parent, ast.ExceptHandler) and parent.type is None:
            out.append(self._store(block[0], parent.lineno))
        if isinstance(parent, ast.match_case):
            out.append(self._store(block[0], parent.pattern.lineno))
        for statement in block[first:]:
            lines = [statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", ()))]
            out += [self._store(statement, line) for line in lines]
            out.append(statement)
        return out

    def _index(self, line: int) -> ast.Constant:
        return ast.Constant(self._offset + line)

    def _store(self, where: ast.stmt, line: int) -> ast.stmt:
        target = ast.Subscript(_hits(where), self._index(line), ast.Store())
        return ast.copy_location(ast.Assign([target], ast.Constant(1)), where)


def _hits(where: ast.AST) -> ast.Name:
    # Among the built-in names, not the module's: cloudpickle sends the globals that a function uses along with it.
    return ast.copy_location(ast.Name(HITS, ast.Load()), where)


def _must_be_first(parent: ast.AST, statement: ast.stmt, index: int) -> bool:
    if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
        return True
    documented = isinstance(parent, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return documented and index == 0 and constant and isinstance(statement.value.value, str)  # type: ignore[attr-defined]
