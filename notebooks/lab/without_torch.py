"""Leaves out of each cell what needs PyTorch, and says so. JupyterLab's kernels run it where torch isn't installed."""

import ast

PACKAGES = {"torch", "swin_torch"}
IMPORTS = (ast.Import, ast.ImportFrom)


class WithoutTorch(ast.NodeTransformer):
    """Drops statements that use torch, swin_torch, or a name that a dropped statement would have set or changed.

    A generator of random numbers stays: what it gives later are other numbers, of the same kind.
    """

    def __init__(self):
        self.missing, self.variables, self.generators = set(), set(), set()

    def visit_Module(self, cell):
        """The cell without what needs PyTorch; a line that says so takes its place."""
        kept, dropped = self.split(cell.body)
        if count := sum(not isinstance(statement, IMPORTS) for statement in dropped):
            text = f"○ Left out, for want of PyTorch (make lab TORCH=cpu): {count} of {len(cell.body)} statements."
            kept.insert(0, ast.parse(f"print({text!r})").body[0])
        cell.body = kept
        return ast.fix_missing_locations(cell)

    def split(self, statements):
        """(statements of the next cell that run without PyTorch, those that don't)."""
        kept, dropped = [], []
        for statement in statements:
            sets, uses = names(statement)
            if self.missing & uses or imports_torch(statement):
                self.missing |= sets | (changed(statement) & self.variables - self.generators)
                dropped.append(statement)
            else:
                self.missing -= sets
                self.variables |= set() if isinstance(statement, IMPORTS) else sets
                self.generators |= sets if "default_rng(" in ast.unparse(statement) else set()
                kept.append(statement)
        return kept, dropped


def imports_torch(statement):
    """Whether it imports torch, swin_torch or a part of them."""
    modules = [alias.name for alias in statement.names] if isinstance(statement, ast.Import) else []
    modules += [statement.module or ""] if isinstance(statement, ast.ImportFrom) else []
    return any(module.split(".")[0] in PACKAGES for module in modules)


def names(node):
    """(names that a statement sets, names that it uses and doesn't set before, as a loop does)."""
    if isinstance(node, ast.Name):
        return (set(), {node.id}) if isinstance(node.ctx, ast.Load) else ({node.id}, set())
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}, set()
    sets, uses = set(), set()
    for child in ast.iter_child_nodes(node):
        inside_sets, inside_uses = names(child)
        sets, uses = sets | inside_sets, uses | inside_uses
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}, uses - sets - {node.name}
    if isinstance(node, ast.arg):
        return sets | {node.arg}, uses
    if isinstance(node, ast.Lambda | ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp):
        return set(), uses - sets
    if isinstance(node, ast.AugAssign):
        return sets, uses | sets  # x += 1 needs an x
    return (sets, uses - names(node.target)[0]) if isinstance(node, ast.For) else (sets, uses)


def changed(statement):
    """Names of what a statement may change without setting it: x of x[0] = 1, x.a = 1 and x.method()."""
    found = set()
    for node in ast.walk(statement):
        stored = isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store)
        if stored or (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            base = node.func if isinstance(node, ast.Call) else node
            while isinstance(base, ast.Attribute | ast.Subscript):
                base = base.value
            found |= {base.id} if isinstance(base, ast.Name) else set()
    return found
