"""Shows signatures as they are written in the source, and lets the names in them be links.

The annotations of jaxtyping (``Float[Tensor, "batch pos"]``) are read as text: evaluated, they
would be shown as the classes that jaxtyping makes of them.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

_EXPANDED = 60
"""A name for a type is replaced by what it stands for, if that has at most so many characters."""


@functools.cache
def _names(module: str) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Return the names for types that a module makes, and which names it imports from where.

    Where one stands for something else at run time (``Any``), the type checker's meaning counts.
    """
    made: dict[str, str] = {}
    imported: dict[str, tuple[str, str]] = {}
    file = getattr(sys.modules.get(module), "__file__", None)
    if module.partition(".")[0] not in ("neoscope", "probes") or not file:
        return made, imported
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            imported |= {one.asname or one.name: (node.module, one.name) for one in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            is_type = name[:1].isupper() and not name.isupper()
            if is_type and isinstance(node.value, ast.BinOp | ast.Subscript | ast.Name):
                made.setdefault(name, ast.unparse(node.value))
    return made, imported


def meaning(module: str, name: str) -> tuple[str, str]:
    """Return what a name for a type stands for, and the module where it does; or nothing."""
    for _ in range(10):
        made, imported = _names(module)
        if name in made:
            return made[name], module
        if name not in imported:
            break
        module, name = imported[name]
    return "", module


class _Expand(ast.NodeTransformer):
    def __init__(self, module: str, kept: tuple[str, ...]) -> None:
        self.module, self.kept = module, kept

    def visit_Name(self, node: ast.Name) -> ast.expr:
        text, module = meaning(self.module, node.id)
        if not text or node.id in self.kept or len(text) > _EXPANDED or text == node.id:
            return node
        return _Expand(module, (*self.kept, node.id)).visit(ast.parse(text, mode="eval").body)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """Leave out the module: ``pd.DataFrame`` is known by its name; ``torch.dtype`` is not."""
        return node if node.attr in ("dtype", "device") else ast.Name(node.attr)

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        """Take away the space with which jaxtyping wants a single axis to begin."""
        return ast.Constant(node.value.strip()) if isinstance(node.value, str) else node


def written(annotation: Any, module: str, kept: tuple[str, ...] = ()) -> str:
    """Return an annotation as it stands in the source, names for short types replaced."""
    if not isinstance(annotation, str):
        return inspect.formatannotation(annotation)
    tree = ast.parse(annotation.strip(), mode="eval").body
    return ast.unparse(_Expand(module, kept).visit(tree))


def _of_source(app: Sphinx, what: str, name: str, obj: Any, *given: Any) -> Any:
    """Replace autodoc's signature by that of the source."""
    signature = given[1]
    if what not in ("function", "method", "class") or signature is None:
        return None
    bound = signature_of(what, obj)
    if bound is None:
        return None
    function = inspect.unwrap(obj.__init__ if what == "class" else obj)
    module = getattr(function, "__module__", None) or obj.__module__
    if what == "class" and module not in sys.modules:
        module = obj.__module__
    kept = tuple(app.config.reference_types)
    parameters = [
        one
        if one.annotation is one.empty
        else one.replace(annotation=_Bare(written(one.annotation, module, kept)))
        for one in bound.parameters.values()
    ]
    shown = str(bound.replace(parameters=parameters, return_annotation=bound.empty))
    result = bound.return_annotation
    if what == "class" or result is bound.empty or result in (None, "None"):
        return shown, None
    return shown, written(result, module, kept)


def signature_of(what: str, obj: Any) -> inspect.Signature | None:
    """Return a signature with its annotations as text, without ``self``; None if there is none."""
    try:
        signature = inspect.signature(obj)
    except (TypeError, ValueError):
        return None
    parameters = list(signature.parameters.values())
    if what == "method" and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    return signature.replace(parameters=[_with_default(one) for one in parameters])


def _with_default(one: inspect.Parameter) -> inspect.Parameter:
    """Let a default that is a function or an object be short; autodoc's own text stays."""
    plain = isinstance(one.default, str | int | float | tuple | list | dict | set | None)
    if plain or one.default is one.empty or type(one.default).__module__.startswith("sphinx."):
        return one
    if repr(one.default) == "<factory>":
        return one.replace(default=_Bare("..."))
    name = getattr(one.default, "__name__", None) or f"{type(one.default).__name__}(...)"
    return one.replace(default=_Bare(name))


class _Bare(str):
    """Text that stands in a signature without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _link(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """Link a name that a page of another package documents; leave others as they are."""
    target = node.get("reftarget", "").lstrip("~.")
    if node.get("refdomain") != "py" or not (target[:1].isupper() or "." in target):
        return None
    parts = target.split(".")
    tails = _tails(env)
    for tail in (target, ".".join(parts[-2:]), parts[-1]):
        if tail in tails:
            entry = env.domains.python_domain.objects[tails[tail]]
            address = app.builder.get_relative_uri(node["refdoc"], entry.docname)
            return nodes.reference(
                "", "", contnode, internal=True, refuri=f"{address}#{entry.node_id}"
            )
    return None


def _tails(env: Any) -> dict[str, str]:
    """Return the full name for each end of one, the shortest where several end so."""
    objects = env.domains.python_domain.objects
    if getattr(env, "reference_tails", (None, {}))[0] != len(objects):
        tails: dict[str, str] = {}
        for full in sorted(objects, key=lambda name: (name.count("."), name), reverse=True):
            parts = full.split(".")
            if parts[0] in ("neoscope", "probes"):
                # A method or field is meant where its class stands before it.
                least = 2 if objects[full].objtype in ("method", "attribute", "property") else 1
                tails |= {".".join(parts[-n:]): full for n in range(least, len(parts) + 1)}
        env.reference_tails = (len(objects), tails)
    return env.reference_tails[1]


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    app.add_config_value("reference_types", [], "env")
    app.connect("autodoc-process-signature", _of_source)
    app.connect("missing-reference", _link)
    return {"parallel_read_safe": True}
