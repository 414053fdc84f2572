"""The house rules that a machine can hold: sizes, SQL in its place, names of bounds, what may not be said.

Guards: a rule only ever tightens. An exception is a line in house_rules_exceptions.txt with the size it
has now: more fails, and so does an exception that is no longer needed or is too generous.
"""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 50
HOT_PATH_LINES_MAX = 150
EXCEPTION_SLACK_LINES = 10
EXCEPTIONS = Path(__file__).with_name("house_rules_exceptions.txt")

UNITS = ("_S", "_MS", "_NS", "_BYTES", "_ROWS", "_MIB", "_WEEKS", "_IDS", "_COMMANDS", "_LINES")
TIMES = re.compile(r"TIMEOUT|INTERVAL|LEASE|DELAY|BACKOFF")

# Put together here, so that this file does not say them.
MARKERS = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")
MACHINE = re.compile("|".join(["/" + "work/", "/" + "root/", r"py" + r"pi\.org", r"python" + r"hosted\.org"]))
SQL = re.compile(
    r"\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s+\S+\s+SET\s|DELETE\s+FROM\s|(CREATE|ALTER|DROP)\s+[A-Z]+\s|COPY\s|GRANT\s"
    r"|REVOKE\s|TRUNCATE\s|LOCK\s+TABLE|CHECKPOINT$|SET\s+(LOCAL|ROLE|SESSION)\s|WITH\s+\w+\s+AS\s)"
)


@cache
def tracked() -> tuple[Path, ...]:
    """Every file of the project that is text, once: links are looked at where they lead to."""
    said = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode != 0:
        pytest.skip("this is not a checkout")
    paths = [ROOT / name for name in said.stdout.splitlines()]
    return tuple(path for path in paths if path.is_file() and not path.is_symlink() and path.suffix != ".lock")


def sources(*suffixes: str, under: tuple[str, ...] = ()) -> list[Path]:
    found = [path for path in tracked() if path.suffix in suffixes]
    return [path for path in found if not under or path.relative_to(ROOT).parts[0] in under]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function with its length in lines, decorators and docstring left out."""
    if path.suffix == ".rs":
        yield from rust_functions(path)
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            said = ast.get_docstring(node, clean=False)
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - (said.count("\n") + 1 if said else 0)


def rust_functions(path: Path) -> Iterator[tuple[str, int]]:
    """rustfmt closes a function with a brace in the column where it began."""
    lines = path.read_text("utf-8").splitlines()
    for start, line in enumerate(lines):
        found = re.match(r"( *)(?:pub(?:\([a-z]+\))? )?(?:const )?(?:unsafe )?fn (\w+)", line)
        if found is None:
            continue
        for end in range(start, len(lines)):
            if lines[end] == found[1] + "}" or (end == start and lines[end].endswith("}")):
                yield found[2], end - start + 1
                break


def exceptions() -> dict[str, int]:
    lines = [line.split() for line in EXCEPTIONS.read_text("utf-8").splitlines() if not line.startswith("#")]
    return {line[0]: int(line[1]) for line in lines if line}


def sizes() -> Iterator[tuple[str, int, int]]:
    """What has a size: its name, its size, what it may have."""
    for path in sources(".py", ".pyi", ".rs"):
        yield name(path), len(path.read_text("utf-8").splitlines()), FILE_LINES_MAX
        if path.suffix != ".pyi":
            for function, lines in functions(path):
                yield f"{name(path)}:{function}", lines, FUNCTION_LINES_MAX


def test_files_and_functions_stay_small() -> None:
    allowed, wrong, needed = exceptions(), [], set()
    for what, lines, limit in sizes():
        if lines <= limit:
            continue
        needed.add(what)
        if lines > allowed.get(what, limit):
            wrong.append(f"{what} has {lines} lines, {allowed.get(what, limit)} are allowed")
        elif lines < allowed[what] - EXCEPTION_SLACK_LINES:
            wrong.append(f"{what} has {lines} lines now: lower its exception of {allowed[what]}")
    wrong += [f"{what} needs no exception any more" for what in sorted(set(allowed) - needed)]
    assert not wrong, "\n".join(wrong)


def test_the_hot_path_is_one_short_file() -> None:
    assert len((ROOT / "pyledger/ledger/writer.py").read_text("utf-8").splitlines()) <= HOT_PATH_LINES_MAX


def test_every_file_says_what_it_is_for() -> None:
    wrong = [
        name(path)
        for path in sources(".py", under=("pyledger", "server", "tests", "benchmarks", "loadtests"))
        if len(ast.get_docstring(tree(path)) or "") < 20
    ]
    wrong += [name(path) for path in sources(".rs") if not path.read_text("utf-8").lstrip().startswith("//!")]
    assert not wrong, f"no opening words: {wrong}"


def strings(path: Path) -> Iterator[ast.Constant]:
    """String constants that are not docstrings."""
    said = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            said.add(id(node.value))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node


def test_sql_stands_in_sql_files() -> None:
    wrong = [
        f"{name(path)}:{node.lineno}: {str(node.value)[:60]}"
        for path in sources(".py", under=("pyledger", "server"))
        for node in strings(path)
        if SQL.match(str(node.value))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_named_query_is_used() -> None:
    wrong = []
    for path in sources(".sql", under=("pyledger", "server")):
        named = re.findall(r"^-- name: (\w+)", path.read_text("utf-8"), re.MULTILINE)
        near = [each for each in sources(".py") if path.parent in {each.parent, *each.parents, each.parent.parent}]
        near += [each for each in sources(".py", under=("pyledger",)) if each.parent == path.parent.parent]
        said = {str(node.value) for each in near for node in strings(each)}
        # A name may be put together: f"merge_{table}" uses every query that begins so.
        begun = tuple(each for each in said if re.fullmatch(r"[a-z_]{3,}_", each))
        wrong += [f"{name(path)}: {query}" for query in named if query not in said and not query.startswith(begun)]
    assert not wrong, f"named, but not used: {wrong}"


def test_constraints_have_names_and_migrations_go_forward() -> None:
    wrong = []
    for path in sources(".sql", under=("pyledger",)):
        text = re.sub(r"--[^\n]*", "", path.read_text("utf-8"))
        wrong += [
            f"{name(path)}: {found[0]} without a name"
            for found in re.finditer(r"\b(PRIMARY KEY|FOREIGN KEY|UNIQUE\s*\(|CHECK\s*\()", text)
            if not re.search(r"(CONSTRAINT\s+\w+\s+|WITH )$", text[: found.start()])
        ]
    for path in sources(".py", under=("pyledger",)):
        if path.parent.name == "versions" and path.name != "__init__.py":
            if "def downgrade" in path.read_text("utf-8"):
                wrong.append(f"{name(path)}: goes backward")
            if not path.with_suffix(".sql").exists():
                wrong.append(f"{name(path)}: has no .sql file")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_left_for_later_and_no_machine_is_named() -> None:
    wrong = []
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if MARKERS.search(line) or MACHINE.search(line):
                wrong.append(f"{name(path)}:{number}: {line.strip()[:80]}")
    assert not wrong, "\n".join(wrong)


def test_bounds_of_time_end_in_their_unit() -> None:
    wrong = []
    for path in sources(".py", under=("pyledger", "server")):
        for node in tree(path).body:
            target = node.target if isinstance(node, ast.AnnAssign) else None
            if isinstance(target, ast.Name) and TIMES.search(target.id) and is_number(node):
                bare = re.sub(r"_(MAX|MIN|FIRST|AGAIN)(?=_|$)", "", target.id)
                if not bare.endswith(UNITS):
                    wrong.append(f"{name(path)}: {target.id}")
    assert not wrong, f"no unit at the end: {wrong}"


def is_number(node: ast.stmt) -> bool:
    value = getattr(node, "value", None)
    return isinstance(value, ast.Constant) and isinstance(value.value, int | float)


def test_no_wait_has_a_bare_number() -> None:
    wrong = []
    for path in sources(".py", under=("pyledger", "server")):
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            bounds = [word.value for word in node.keywords if word.arg in {"timeout", "command_timeout"}]
            if isinstance(node.func, ast.Attribute) and node.func.attr in {"sleep", "wait_for"}:
                bounds += node.args[-1:]
            bare = [bound.value for bound in bounds if isinstance(bound, ast.Constant)]
            wrong += [f"{name(path)}:{node.lineno}" for value in bare if isinstance(value, int | float) and value > 0]
    assert not wrong, f"give the bound a name: {wrong}"


def test_nobody_imports_the_server_by_its_directory() -> None:
    pattern = re.compile(r"^\s*(from server[. ]|import server\b)", re.MULTILINE)
    assert not [name(path) for path in sources(".py") if pattern.search(path.read_text("utf-8"))]
    assert (ROOT / "pyledger/server").resolve() == ROOT / "server"


def test_what_decides_reads_no_clock_and_no_chance() -> None:
    pattern = re.compile(r"SystemTime|Instant::now|std::env|std::fs|std::net|rand::|thread_rng|std::thread")
    wrong = []
    for path in (ROOT / "rust_ext/core/src").rglob("*.rs"):
        text = path.read_text("utf-8").partition("#[cfg(test)]")[0]
        wrong += [f"{name(path)}: {found}" for found in pattern.findall(text)]
    for path in sources(".py", under=("pyledger",)):
        if path.name == "rules.py":
            wrong += [
                f"{name(path)}: {found}" for found in imported(path) & {"time", "random", "secrets", "os", "asyncpg"}
            ]
    assert not wrong, "\n".join(wrong)


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(tree(path)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


def test_one_version_everywhere() -> None:
    import pyledger

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text("utf-8"))["workspace"]["package"]["version"]
    assert project == workspace == pyledger.__version__


def test_the_lock_file_has_a_hash_for_everything_and_names_no_host() -> None:
    # Nothing but comments without addresses, pinned packages and their hashes: no option of pip either.
    pin, digest = r"([a-z0-9-]+)==[^\\\s]+( ; [^\\\n]+)? \\", r"    --hash=sha256:[0-9a-f]{64}( \\)?"
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    assert not [line for line in lines if not re.fullmatch(rf"{pin}|{digest}|#(?!.*://).*", line)]
    pinned = [found[1] for line in lines if (found := re.fullmatch(pin, line))]
    for name_line, after in zip(lines, [*lines[1:], ""], strict=True):
        assert not name_line.endswith("\\") or after.startswith("    --hash="), name_line
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for wanted in project["dependencies"] + project["optional-dependencies"]["dev"]:
        assert re.split(r"[\[<>=]", wanted)[0] in pinned, wanted
    assert (ROOT / "Cargo.lock").exists()


def test_the_verbs_of_make_are_listed_and_ci_calls_only_them() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    listed = re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE)
    assert {"run", "test", "lint", "bench", "load", "gates", "build", "help"} <= set(listed)
    script = (ROOT / ".ci/run").read_text("utf-8")
    called = re.findall(r"^make (\w+)", script, re.MULTILINE)
    assert called == ["build", "lint", "faults", "gates", "test"]
    assert set(called) <= set(listed)
