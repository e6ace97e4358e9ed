"""An import contract that says what may be imported: all else of a package is forbidden.

import-linter's own ``forbidden`` says what may not; of all but a few modules it could only speak by
exceptions, or by a list in which a new module would be missing.
"""

from __future__ import annotations

import grimp
from importlinter import Contract, ContractCheck, fields, output


class OnlyContract(Contract):
    """Checks what one package imports directly of another."""

    type_name = "only"

    importer = fields.StringField()
    """A package; with all that is in it."""
    imported = fields.StringField()
    """Another package."""
    only = fields.ListField(subfield=fields.StringField())
    """Modules of ``imported`` that may be imported; what is in a package is not meant by it."""

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        importers = {self.importer, *graph.find_descendants(self.importer)}
        inside = {self.imported, *graph.find_descendants(self.imported)}
        missing = sorted(set(self.only) - inside)
        found = [
            f"{importer} -> {module}"
            for importer in sorted(importers)
            for module in sorted(graph.find_modules_directly_imported_by(importer) & inside)
            if module not in self.only
        ]
        found += [f"{module} is named in `only`, and does not exist" for module in missing]
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["found"]:
            output.print_error(f"- {line}", bold=False)
