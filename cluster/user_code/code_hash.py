"""What code a step can reach: a hash of one function of the user's file and of everything in it that it uses.

A change of `build_model` must not repeat the passes of `preprocessing_fn`, and a comment must repeat nothing. So the
hash covers the syntax tree of the function, of the module-level names that it refers to, of theirs in turn, of all
top-level statements that are more than a definition, and of the modules beside the file, or beside its package, that they import.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

from cluster.user_code.module import packages_around
from engine.core.errors import ConfigError

__all__ = ["Parsed", "code_hash"]

# With these a function can reach names that are not in its text.
_DYNAMIC = {"globals", "eval", "exec", "vars", "__import__"}


Parsed = dict[Path, tuple[ast.Module, bytes]]


def code_hash(path: str | Path, function: str, parsed: Parsed | None = None) -> str | None:
    """Returns a hex digest of `function` in the Python file and of the code in its directory and its package that it uses.

    None where the file has no such function.

    Args:
        path: the Python file.
        function: its name.
        parsed: what earlier calls have parsed of the files beside it, which are parsed once for all functions of a plan.

    Raises:
        ConfigError: the file is missing or is not Python.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(
            f"module: no file {path}; give the path of your Python file, with preprocessing_fn(inputs) or build_model(context)"
        )
    tree = _parse(file)
    names, always = _definitions(tree)
    if function not in names:
        return None
    if any(isinstance(node, ast.Name) and node.id in _DYNAMIC for node in ast.walk(tree)) or _has_star(tree):
        reached: list[ast.AST] = [tree]
    else:
        reached = [*always, *_reach(function, names, always)]
    digest = hashlib.sha256()
    for node in reached:
        digest.update(ast.dump(node).encode())
    for beside, text in _imported_files(reached, _roots(file), {} if parsed is None else parsed):
        digest.update(beside.name.encode() + text)
    return digest.hexdigest()


def _parse(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ConfigError(f"{file}{f':{line}' if line else ''}: not Python: {getattr(error, 'msg', error)}") from None


def _definitions(tree: ast.Module) -> tuple[dict[str, list[ast.stmt]], list[ast.stmt]]:
    """Returns the statements that define each module-level name, and the statements that always count."""
    names: dict[str, list[ast.stmt]] = {}
    always: list[ast.stmt] = []
    for node in tree.body:
        targets: list[str] = []
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            targets = [node.name]
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            targets = [(alias.asname or alias.name).split(".")[0] for alias in node.names]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            parts = node.targets if isinstance(node, ast.Assign) else [node.target]
            targets = [n.id for part in parts for n in ast.walk(part) if isinstance(n, ast.Name)]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # the docstring
        if not targets:
            always.append(node)
        for name in targets:
            names.setdefault(name, []).append(node)
    return names, always


def _reach(function: str, names: dict[str, list[ast.stmt]], always: list[ast.stmt]) -> list[ast.stmt]:
    waiting, seen = {function, *(n for node in always for n in _used(node))}, set()
    while waiting:
        name = waiting.pop()
        if name in names and name not in seen:
            seen.add(name)
            waiting |= {n for node in names[name] for n in _used(node)}
    statements = {id(node): node for name in seen for node in names[name]}
    return sorted(statements.values(), key=lambda node: node.lineno)


def _used(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _has_star(tree: ast.Module) -> bool:
    return any(isinstance(n, ast.ImportFrom) and any(a.name == "*" for a in n.names) for n in ast.walk(tree))


def _roots(file: Path) -> list[Path]:
    """Returns the directories that `load_user_module` puts on `sys.path`: the file's own, and the one above its package."""
    folder = file.resolve().parent
    _, above = packages_around(folder)
    # What is installed counts by its version; to take all of TensorFlow apart would take minutes.
    installed = above.name in ("site-packages", "dist-packages")
    return [folder] if above == folder or installed else [folder, above]


def _imported_files(nodes: list[ast.AST], roots: list[Path], parsed: Parsed) -> list[tuple[Path, bytes]]:
    """Returns the Python files below `roots` that the code imports, packages around them too, and those that these import in turn.

    Relative imports of the nodes start from the first root. Each file is with its syntax tree as text.
    """
    waiting = [(node, roots[0]) for node in nodes]
    found: dict[Path, bytes] = {}
    while waiting:
        node, here = waiting.pop()
        for part in ast.walk(node):
            for start, name in _imports(part, here, roots):
                for file in _files_of(start, name):
                    if file not in found:
                        imports, found[file] = (
                            parsed[file] if file in parsed else parsed.setdefault(file, _looked_at(file))
                        )
                        waiting.append((imports, file.parent))
    return sorted(found.items())


def _looked_at(file: Path) -> tuple[ast.Module, bytes]:
    """Returns (its imports alone, its syntax tree as text): the trees of a large package together would take much memory."""
    tree = _parse(file)
    imports: list[ast.stmt] = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return ast.Module(imports, []), ast.dump(tree).encode()


def _imports(part: ast.AST, here: Path, roots: list[Path]) -> list[tuple[Path, str]]:
    """Returns (directory to start from, module) of each module that a statement may import; "" is the directory's own."""
    if isinstance(part, ast.Import):
        return [(root, alias.name) for root in roots for alias in part.names]
    if not isinstance(part, ast.ImportFrom):
        return []
    starts = [here.joinpath(*[".."] * (part.level - 1)).resolve()] if part.level else roots
    module = part.module or ""
    names = [module, *(f"{module}.{alias.name}".strip(".") for alias in part.names)]
    around = [""] if part.level else []  # the package that the statement is in
    return [(start, name) for start in starts for name in (*around, *names)]


def _files_of(start: Path, name: str) -> list[Path]:
    parts = name.split(".") if name else []
    packages = [start.joinpath(*parts[:end], "__init__.py") for end in range(1 if parts else 0, len(parts) + 1)]
    modules = [start.joinpath(*parts[:-1], f"{parts[-1]}.py")] if parts else []
    return [file for file in [*packages, *modules] if file.is_file()]
