"""The part of our style that a machine can check and that no linter knows, over every module of src/ppacer.

A rule is a generator of (line, what is wrong). Where a rule makes the code worse, add the place to the rule's
exceptions below, with the reason; that list is meant to stay short.
"""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "ppacer"

FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 500
DOCSTRING_LINES_MAX = 5

# Exceptions: a module or a package of src/ppacer, and why.
LONG_DOCSTRINGS = {
    "errors": "draws the tree of errors",
    "engine": "opens with the map of the engine",
    "store/schema": "opens with the map of the tables",
}
READS_CLOCK = {"clock": "it is the one module that may"}
SLEEPS = {"cli": "polls for a person who waits at a terminal, with nothing to wake it"}
SLEEPS |= {"torture/dags": "its tasks take their time"}
PRINTS = {"cli": "its output is for the terminal", "tasks": "the output of a task is its stdout"}
PRINTS |= {"torture/dags": PRINTS["tasks"]}
WRITES_SQL = {"store": "owns scheduler.db", "tasklog": "owns logs.db"}
WRITES_SQL |= {"postgres": "connects for both"}
WRITES_SQL |= {"torture/rows": "reads what is there, and not what the code under torture says"}
STARTS_SHELLS = {"tasks": "Bash is a shell on purpose"}

CLOCKS = {f"time.{name}" for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time")}
CLOCKS |= {f"{name}_ns" for name in CLOCKS} | {"time.localtime", "time.gmtime", "time.ctime", "time.asctime"}
CLOCKS |= {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"}
CLOCKS |= {"datetime.date.today", "time.clock_gettime", "uuid.uuid1"}

# All that the engine may import besides ppacer: names without I/O, clock, chance, threads or logging.
PURE = {"__future__", "abc", "bisect", "collections", "copy", "dataclasses", "datetime", "enum", "functools"}
PURE |= {"hashlib", "heapq", "itertools", "math", "msgspec", "operator", "re", "types", "typing", "zlib"}
IMPURE_BUILTINS = {"open", "print", "input", "__import__"}

SQL_PACKAGES = {"sqlite3", "sqlalchemy", "alembic", "psycopg"}
SQL = re.compile(
    r"""\s*( SELECT\s.*\sFROM\s | INSERT\s+(OR\s+\w+\s+)?INTO\s | REPLACE\s+INTO\s | UPDATE\s+\S+\s+SET\s
           | DELETE\s+FROM\s | (CREATE|DROP|ALTER)\s+(UNIQUE\s+)?(TABLE|INDEX|VIEW|TRIGGER)\s | PRAGMA\s
           | WITH\s+\w+\s+AS\s*\( | VACUUM\b | BEGIN\s+(IMMEDIATE|EXCLUSIVE) | ATTACH\s+DATABASE )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
UNSAFE_PACKAGES = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "asyncio.create_subprocess_shell"}

LATER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MARK = re.compile(r"#\s*(noqa|type:\s*ignore)\b", re.IGNORECASE)
MARK_WITH_REASON = re.compile(
    r"#\s*(noqa:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|type:\s*ignore\[[\w, -]+\])\s*(-|–|#)\s*\w.{3,}", re.IGNORECASE
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Offence = tuple[int, str]


@dataclass(frozen=True)
class Module:
    """One file of the package: its path below src/ppacer with slashes, and its text."""

    name: str
    text: str
    promised: frozenset[str] = frozenset()
    """The methods that any Protocol of the package declares: that is where they are explained."""

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the tree: most rules look at each."""
        return list(ast.walk(self.tree))

    @cached_property
    def aliases(self) -> dict[str, str]:
        """What a renamed import stands for: `from datetime import datetime as d` is d: datetime.datetime."""
        found: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found |= {a.asname: a.name for a in node.names if a.asname}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        return found

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and full name of every imported module."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.lineno, "ppacer" if node.level else str(node.module)

    def uses(self) -> Iterator[tuple[int, str]]:
        """Line and full dotted name of every name and attribute that is read."""
        for node in self.nodes:
            if isinstance(node, ast.Name | ast.Attribute):
                yield node.lineno, self.full_name(node)

    def full_name(self, node: ast.expr) -> str:
        """`d.now` is datetime.datetime.now where d is an alias; empty for what is no plain name."""
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            owner = self.full_name(node.value)
            return owner and f"{owner}.{node.attr}"
        return ""

    def functions(self) -> Iterator[Function]:
        """All functions, methods and functions inside functions."""
        return (node for node in self.nodes if isinstance(node, Function))

    def excused_by(self, exceptions: Mapping[str, str]) -> bool:
        """Whether a list of exceptions names this module or a package that it is in."""
        return any(self.name == f"{name}.py" or self.name.startswith(f"{name}/") for name in exceptions)


Rule = Callable[[Module], Iterator[Offence]]


def load(folder: Path) -> list[Module]:
    """Every module below a folder; none when the folder is not there."""
    texts = {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*.py")}
    promised: set[str] = set()
    for name, text in texts.items():
        for node in Module(name, text).nodes:
            if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases):
                promised |= {child.name for child in node.body if isinstance(child, Function)}
    return [Module(name, text, frozenset(promised)) for name, text in sorted(texts.items())]


def offences(rule: Rule, modules: list[Module]) -> list[str]:
    """Every offence, as `file:line: what`."""
    return [f"{module.name}:{line}: {what}" for module in modules for line, what in sorted(set(rule(module)))]


# --- the rules ------------------------------------------------------------------------------------------


def a_module_says_its_subject_in_one_to_five_lines(module: Module) -> Iterator[Offence]:
    lines = (ast.get_docstring(module.tree) or "").strip().splitlines()
    if not lines:
        yield 1, "no module docstring"
    elif len(lines) > DOCSTRING_LINES_MAX and not module.excused_by(LONG_DOCSTRINGS):
        yield 1, f"module docstring of {len(lines)} lines; at most {DOCSTRING_LINES_MAX}"


def public_names_have_docstrings(module: Module) -> Iterator[Offence]:
    yield from _undocumented(module, module.tree, inside="")


def _undocumented(module: Module, owner: ast.Module | ast.ClassDef, inside: str) -> Iterator[Offence]:
    for node in owner.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node) and not _is_plain(module, node, method=bool(inside)):
            yield node.lineno, f"{inside}{node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(module, node, inside=f"{inside}{node.name}.")


def _is_plain(module: Module, node: Function | ast.ClassDef, *, method: bool) -> bool:
    """Protocol bodies and overloads, what a Protocol explains, setters, and methods of a single statement."""
    if isinstance(node, ast.ClassDef):
        return False
    only = node.body[0] if len(node.body) == 1 else None
    empty = isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant) and only.value.value is ...
    setter = any(ast.unparse(d).endswith(".setter") for d in node.decorator_list)
    return empty or setter or (method and (only is not None or node.name in module.promised))


def only_the_clock_module_reads_a_clock(module: Module) -> Iterator[Offence]:
    for line, name in module.uses():
        if name in CLOCKS and not module.excused_by(READS_CLOCK):
            yield line, f"{name} reads a clock; take `now` as a parameter"


def nothing_sleeps_without_a_way_to_wake_it(module: Module) -> Iterator[Offence]:
    for line, name in module.uses():
        if name == "time.sleep" and not module.excused_by(SLEEPS):
            yield line, "time.sleep cannot be woken; wait for an event with a timeout"


def the_engine_is_pure(module: Module) -> Iterator[Offence]:
    if not module.name.startswith("engine/") and module.name != "engine.py":
        return
    for line, name in module.imports():
        if name.split(".")[0] not in PURE | {"ppacer"}:
            yield line, f"the engine imports {name}, which is not on the list of pure modules"
    for line, name in module.uses():
        if name in IMPURE_BUILTINS:
            yield line, f"the engine uses {name}"


def functions_fit_a_screen(module: Module) -> Iterator[Offence]:
    for function in module.functions():
        lines = (function.end_lineno or 0) - function.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield function.lineno, f"{function.name} has {lines} lines; at most {FUNCTION_LINES_MAX}"


def modules_have_one_subject(module: Module) -> Iterator[Offence]:
    lines = len(module.text.splitlines())
    if lines > MODULE_LINES_MAX:
        yield lines, f"a module of {lines} lines; at most {MODULE_LINES_MAX}"


def only_the_edges_print(module: Module) -> Iterator[Offence]:
    for line, name in module.uses():
        if name == "print" and not module.excused_by(PRINTS):
            yield line, "print; log it, or return it to the command line"


def only_two_packages_speak_sql(module: Module) -> Iterator[Offence]:
    if module.excused_by(WRITES_SQL):
        return
    for line, name in module.imports():
        if name.split(".")[0] in SQL_PACKAGES:
            yield line, f"{name} is imported outside store and tasklog"
    for node in module.nodes:
        if SQL.match(_text_of(node)):
            yield node.lineno, "SQL text outside store and tasklog"  # type: ignore[attr-defined]  # an expression


def _text_of(node: ast.AST) -> str:
    """The text of a string or an f-string, with ? for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text_of(part) or "?" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def nothing_is_left_for_later(module: Module) -> Iterator[Offence]:
    for number, line in enumerate(module.text.splitlines(), 1):
        if found := LATER.search(line):
            yield number, f"{found[0]}; do it, or open an issue"


def data_never_becomes_code(module: Module) -> Iterator[Offence]:
    for line, name in module.imports():
        if name.split(".")[0] in UNSAFE_PACKAGES:
            yield line, f"{name} is imported"
    for line, name in module.uses():
        if name in ("eval", "exec"):
            yield line, f"{name} is used"


def only_tasks_start_shells(module: Module) -> Iterator[Offence]:
    if module.excused_by(STARTS_SHELLS):
        return
    for line, name in module.uses():
        if name in SHELLS:
            yield line, f"{name} starts a shell"
    for node in module.nodes:
        if isinstance(node, ast.keyword) and node.arg == "shell" and ast.unparse(node.value) != "False":
            yield node.lineno, f"shell={ast.unparse(node.value)}"


def every_exception_from_a_linter_has_a_code_and_a_reason(module: Module) -> Iterator[Offence]:
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        text = token.string if token.type == tokenize.COMMENT else ""
        if MARK.search(text) and not MARK_WITH_REASON.search(text):
            yield token.start[0], f"{text}: needs a code and, after `-` or `#`, a reason"


# --- each rule: something it catches (path, text, offending line), something it lets pass (path, text) -----

EXAMPLES: dict[Rule, tuple[list[tuple[str, str, int]], list[tuple[str, str]]]] = {
    a_module_says_its_subject_in_one_to_five_lines: (
        [("a.py", "x = 1\n", 1), ("b/__init__.py", "", 1), ("a.py", '"""' + "a\n" * 6 + '"""\n', 1)],
        [("a.py", "'One.'"), ("a.py", '"""' + "a\n" * 5 + '"""'), ("errors.py", '"""' + "a\n" * 9 + '"""')],
    ),
    public_names_have_docstrings: (
        [
            ("a.py", "def f():\n    x = 1\n    return x\n", 1),
            ("a.py", "def f():\n    return 1\n", 1),
            ("a.py", "class A:\n    pass\n", 1),
            ("a.py", "class A:\n    'A.'\n    def f(self):\n        x = 1\n        return x\n", 3),
        ],
        [
            ("a.py", "def _f():\n    return 1\n"),
            ("a.py", "class P(Protocol):\n    'P.'\n    def f(self): ...\n"),
            ("a.py", "class P(Protocol):\n 'P'\n def f(): ...\nclass A:\n 'A.'\n def f():\n  x = 1\n  x\n"),
            ("a.py", "class A:\n    'A.'\n    def f(self):\n        return 1\n"),
        ],
    ),
    only_the_clock_module_reads_a_clock: (
        [
            ("a.py", "import time\nx = time.time()\n", 2),
            ("a.py", "from time import monotonic as m\nx = m\n", 2),
            ("a.py", "from datetime import datetime\nx = datetime.now()\n", 2),
            ("a/b.py", "import datetime as d\n\nx = d.datetime.utcnow()\n", 3),
        ],
        [("clock.py", "import time\nx = time.time()\n"), ("a.py", "def f(clock):\n    return clock.now()\n")],
    ),
    nothing_sleeps_without_a_way_to_wake_it: (
        [("a.py", "import time\ntime.sleep(1)\n", 2), ("a.py", "from time import sleep\nsleep(1)\n", 2)],
        [("cli/logs.py", "import time\ntime.sleep(1)\n"), ("a.py", "event.wait(1)\n")],
    ),
    the_engine_is_pure: (
        [
            ("engine/a.py", "import os\n", 1),
            ("engine/a.py", "from random import random\n", 1),
            ("engine/b/c.py", "def f():\n    import logging.handlers\n", 2),
            ("engine/a.py", "x = open('x')\n", 1),
        ],
        [("engine/a.py", "import heapq\nfrom ppacer.clock import Now\n"), ("dag/a.py", "import os\n")],
    ),
    functions_fit_a_screen: (
        [
            ("a.py", "\ndef f():\n" + "    x = 1\n" * 60, 2),
            ("a.py", "class A:\n  async def f():\n" + "    x = 1\n" * 60, 2),
        ],
        [("a.py", "def f():\n" + "    x = 1\n" * 59)],
    ),
    modules_have_one_subject: ([("a.py", "x = 1\n" * 501, 501)], [("a.py", "x = 1\n" * 500)]),
    only_the_edges_print: (
        [("a.py", "print(1)\n", 1), ("client.py", "print(1)\n", 1)],
        [("cli/a.py", "print(1)\n"), ("tasks.py", "print(1)\n"), ("a.py", '"""print(1)"""\n')],
    ),
    only_two_packages_speak_sql: (
        [
            ("a.py", "x = 'select a from b where c'\n", 1),
            ("a.py", "x = f'''\n  UPDATE {t} SET a = 1'''\n", 1),
            ("api/a.py", "import sqlite3\n", 1),
            ("a.py", "from sqlalchemy.engine import Engine\n", 1),
        ],
        [("store/a.py", "import sqlite3\nx = 'SELECT a FROM b'\n"), ("a.py", "x = 'the update sets it'\n")],
    ),
    nothing_is_left_for_later: ([("a.py", "x = 1\ny = 2  # TODO: more\n", 2)], [("a.py", "todos = 1\n")]),
    data_never_becomes_code: (
        [("a.py", "import pickle\n", 1), ("a.py", "x = eval('1')\n", 1), ("tasks/a.py", "exec('1')\n", 1)],
        [("a.py", "import os\nos.execv('a', [])\nspec.loader.exec_module(m)\n")],
    ),
    only_tasks_start_shells: (
        [("a.py", "run('ls', shell=True)\n", 1), ("a.py", "from os import system\nsystem('ls')\n", 2)],
        [("tasks/bash.py", "run('ls', shell=True)\n"), ("a.py", "run(['ls'], shell=False)\n")],
    ),
    every_exception_from_a_linter_has_a_code_and_a_reason: (
        [
            ("a.py", "x = 1  # noqa\n", 1),
            ("a.py", "x = 1  # noqa: E501\n", 1),
            ("a.py", "x = 1  # type: ignore\n", 1),
            ("a.py", "x = 1  # type: ignore[arg-type]\n", 1),
        ],
        [
            ("a.py", "x = 1  # noqa: E501 - a table\n"),
            ("a.py", "x = 1  # type: ignore[arg-type]  # typeshed is wrong\n"),
            ("a.py", "x = '# noqa'\n"),
        ],
    ),
}  # fmt: skip

CAUGHT = [(rule, *example) for rule, (bad, _) in EXAMPLES.items() for example in bad]
PASSED = [(rule, *example) for rule, (_, good) in EXAMPLES.items() for example in good]


@pytest.fixture(scope="module")
def package() -> list[Module]:
    return load(PACKAGE)


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: rule.__name__)
def test_ppacer_is_tidy(rule: Rule, package: list[Module]) -> None:
    if found := offences(rule, package):
        pytest.fail("\n".join(f"src/ppacer/{offence}" for offence in found), pytrace=False)


@pytest.mark.parametrize(("rule", "path", "text", "line"), CAUGHT)
def test_a_rule_catches(rule: Rule, path: str, text: str, line: int, tmp_path: Path) -> None:
    found = _offences_of(rule, path, text, tmp_path)
    assert [offence.split(": ")[0] for offence in found] == [f"{path}:{line}"]


@pytest.mark.parametrize(("rule", "path", "text"), PASSED)
def test_a_rule_lets_pass(rule: Rule, path: str, text: str, tmp_path: Path) -> None:
    assert _offences_of(rule, path, text, tmp_path) == []


def test_all_offences_of_all_files_are_reported(tmp_path: Path) -> None:
    _write(tmp_path, "b.py", "print(1)\n\nprint(2)\n")
    _write(tmp_path, "a/c.py", "print(3)\n")
    found = offences(only_the_edges_print, load(tmp_path))
    assert [offence.split(": ")[0] for offence in found] == ["a/c.py:1", "b.py:1", "b.py:3"]


def test_a_package_that_is_not_there_is_tidy(tmp_path: Path) -> None:
    assert [found for rule in EXAMPLES for found in offences(rule, load(tmp_path / "absent"))] == []


def _offences_of(rule: Rule, path: str, text: str, folder: Path) -> list[str]:
    _write(folder, path, text)
    return offences(rule, load(folder))


def _write(folder: Path, path: str, text: str) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
