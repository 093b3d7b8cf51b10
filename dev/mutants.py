"""Test the fast tests: make small changes to the code, one at a time (`make mutants`).

Changes that no test notices are printed, with the line before and after, and the exit status is 1.
Some of these changes make no difference; each of the others shows a missing test.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import psutil

from dev import processes
from dev.environments import PROJECT

# Modules below tools/, and the tests that cover them. Of shared modules, all copies are changed.
# Not outputs.py: as root, a mutant of it might replace a device by a file.
COVERED = {
    "iscc_sum/appearance.py": ("test_appearance.py", "test_pixels.py"),
    "iscc_sum/codes.py": ("test_codes.py",),
    "iscc_sum/coding.py": ("test_iscc_sum.py", "test_command.py"),
    "iscc_sum/folders.py": ("test_folders.py",),
    "iscc_sum/grey.py": ("test_sheet.py", "test_panels.py"),
    "iscc_sum/thumbnails.py": ("test_sheet.py",),
    "iscc_sum/imagewalk.py": ("test_imagewalk.py", "test_pixels.py"),
    "iscc_sum/inputs.py": ("test_inputs.py",),
    "iscc_sum/manifest.py": ("test_manifest.py", "test_listing.py"),
    "iscc_sum/pixels.py": ("test_pixels.py",),
    "iscc_sum/reader.py": ("test_reader.py", "test_pixels.py"),
    "iscc_sum/likeness.py": ("test_panels.py",),
    "iscc_sum/matches.py": ("test_panels.py",),
    "iscc_sum/montage.py": ("test_panels.py",),
    "iscc_sum/panel_search.py": ("test_panels.py",),
    "iscc_sum/panels.py": ("test_panels.py",),
    "iscc_sum/plane_store.py": ("test_panels.py",),
    "iscc_sum/planes.py": ("test_panels.py",),
    "iscc_sum/exports.py": ("test_trail.py",),
    "iscc_sum/lineage.py": ("test_trail.py",),
    "iscc_sum/records.py": ("test_iscc_sum.py",),
    "iscc_sum/trail.py": ("test_trail.py",),
    "iscc_sum/workers.py": ("test_command.py", "test_iscc_sum.py"),
    "iscc_verify/iscc_gate.py": ("test_gate.py",),
    "iscc_verify/keys.py": ("test_seal.py",),
    "iscc_verify/receipts.py": ("test_seal.py",),
    "iscc_verify/seal.py": ("test_seal.py",),
    "iscc_verify/stamps.py": ("test_seal.py",),
    "iscc_verify/listing.py": ("test_listing.py", "test_verify.py"),
    "iscc_verify/audit.py": ("test_verify.py",),
    "iscc_verify/report.py": ("test_verify.py", "test_rows.py"),
    "iscc_verify/rows.py": ("test_rows.py",),
    "iscc_verify/lists.py": ("test_verify.py", "test_similarity.py"),
    "iscc_similarity/contacts.py": ("test_sheet.py",),
    "iscc_similarity/gallery.py": ("test_sheet.py",),
    "iscc_similarity/sheet.py": ("test_sheet.py",),
    "iscc_similarity/columns.py": ("test_columns.py",),
    "iscc_similarity/hamming.py": ("test_similarity.py",),
    "iscc_similarity/links.py": ("test_similarity.py",),
    "iscc_similarity/relations.py": ("test_similarity.py",),
    "iscc_similarity/tables.py": ("test_similarity.py",),
}
# A mutant that never ends counts as noticed. Tests take longer side by side, and when they fail.
MOST_TIMES_AS_LONG = 8
NOT_COPIED = (".git", ".venv", "logs", "screenshots", "demo-results", "__pycache__", ".*_cache")

OTHER_OPERATORS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
}
OTHER_FUNCTIONS = {"min": "max", "max": "min"}


class Mutant(NamedTuple):
    """A module with one change."""

    module: str
    line: int
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        return f"tools/{self.module}:{self.line}\n  - {self.before}\n  + {self.after}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="below tools/; else all")
    parser.add_argument("--sample", type=int, default=15, help="how many changes of each module")
    parser.add_argument("--all", action="store_true", help="all changes of each module")
    parser.add_argument("--seed", type=int, default=1, help="another one, another sample")
    parser.add_argument("--jobs", type=int, default=2, help="how many are tested side by side")
    args = parser.parse_args(argv)
    if unknown := set(args.modules) - set(COVERED):
        parser.error(f"no tests are named for {', '.join(sorted(unknown))} in dev/mutants.py")
    chosen = []
    for module in args.modules or COVERED:
        found = list(mutants(module))
        size = len(found) if args.all else min(args.sample, len(found))
        numbers = random.Random(f"{args.seed} {module}").sample(range(len(found)), size)
        chosen += [found[number] for number in sorted(numbers)]
        print(f"tools/{module}: {size} mutants of {len(found)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="iscc-mutants-") as folder, processes.ended_in_order():
        survivors = tried(chosen, Path(folder), args.jobs)
    noticed = len(chosen) - len(survivors)
    print(f"{len(chosen)} mutants: {noticed} noticed, {len(survivors)} survived")
    sys.exit(1 if survivors else 0)


def tried(chosen: list[Mutant], folder: Path, jobs: int) -> list[Mutant]:
    """Test mutants, each in a copy of the project; print and return those that no test noticed."""
    copies = SimpleQueue()
    for number in range(jobs):
        copy = folder / str(number)
        shutil.copytree(PROJECT, copy, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
        copies.put(copy)
    limits = {}
    for tests in dict.fromkeys(COVERED[mutant.module] for mutant in chosen):
        start = time.monotonic()
        if not passes(copy, tests, limit=None):
            sys.exit(f"Before anything is changed, tests fail: {' '.join(tests)}")
        limits[tests] = MOST_TIMES_AS_LONG * (time.monotonic() - start)

    def survives(mutant: Mutant) -> bool:
        copy = copies.get()
        original = (copy / "tools" / mutant.module).read_bytes()
        same_name = copy.glob(f"tools/*/{Path(mutant.module).name}")
        changed = [path for path in same_name if path.read_bytes() == original]
        try:
            for path in changed:
                path.write_text(mutant.source, encoding="utf-8")
            tests = COVERED[mutant.module]
            return passes(copy, tests, limits[tests])
        finally:
            for path in changed:
                path.write_bytes(original)
            copies.put(copy)

    survivors = []
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for mutant, survived in zip(chosen, pool.map(survives, chosen), strict=True):
                if survived:
                    print(mutant, flush=True)
                    survivors.append(mutant)
        finally:
            pool.shutdown(cancel_futures=True)
    return survivors


def passes(copy: Path, tests: Sequence[str], limit: float | None) -> bool:
    """Whether tests pass in a copy of the project within the time limit."""
    options = ["-x", "-q", "-m", "not galaxy", "-p", "no:cacheprovider"]
    process = psutil.Popen(
        [sys.executable, "-m", "pytest", *options, *(f"tests/{name}" for name in tests)],
        cwd=copy,
        # Bytecode of a file of equal length that was changed within a second would be reused.
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return process.wait(limit) == 0
    except psutil.TimeoutExpired:
        return False
    finally:
        processes.kill(process)


def mutants(module: str) -> Iterator[Mutant]:
    """All changes of a module, in the order of its lines."""
    source = (PROJECT / "tools" / module).read_text(encoding="utf-8")
    lines = source.splitlines()
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node, text in changes(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        content = source.encode()
        mutated = (content[:start] + text.encode() + content[end:]).decode()
        before, after = (each[node.lineno - 1].strip() for each in (lines, mutated.splitlines()))
        yield Mutant(module, node.lineno, before, after, mutated)


def changes(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Parts of a program, each with a replacement. Texts and types are not changed."""
    if isinstance(node, ast.JoinedStr):
        return
    yield from ((node, text) for text in instead_of(node))
    conditions = [node.test] if isinstance(node, ast.If | ast.IfExp | ast.While) else []
    conditions += node.ifs if isinstance(node, ast.comprehension) else []
    for condition in conditions:
        if not isinstance(condition, ast.Compare) and not is_not(condition):
            yield condition, f"not ({ast.unparse(condition)})"
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from changes(child)


def is_not(node: ast.AST) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def instead_of(node: ast.AST) -> Iterator[str]:
    """Possible replacements of a part of a program."""
    match node:
        case ast.Compare(left, operators, comparators):
            for index, operator in enumerate(operators):
                changed = [*operators]
                changed[index] = OTHER_OPERATORS[type(operator)]()
                yield ast.unparse(ast.Compare(left, changed, comparators))
        case ast.BoolOp(operator, values):
            yield ast.unparse(ast.BoolOp(OTHER_OPERATORS[type(operator)](), values))
        case ast.BinOp(left, ast.Add() | ast.Sub() as operator, right):
            yield ast.unparse(ast.BinOp(left, OTHER_OPERATORS[type(operator)](), right))
        case ast.AugAssign(target, ast.Add() | ast.Sub() as operator, value):
            yield ast.unparse(ast.AugAssign(target, OTHER_OPERATORS[type(operator)](), value))
        case ast.UnaryOp(ast.Not(), operand):
            yield f"({ast.unparse(operand)})"
        case ast.Constant(int() as value) if not isinstance(value, bool):
            yield str(value + 1)
        case ast.Name(name) if name in OTHER_FUNCTIONS:
            yield OTHER_FUNCTIONS[name]
        case ast.Slice(lower, upper, step):
            if lower:
                yield ast.unparse(ast.Slice(None, upper, step))
            if upper:
                yield ast.unparse(ast.Slice(lower, None, step))
        case ast.Continue() | ast.Break():
            yield "pass"


if __name__ == "__main__":
    main()
