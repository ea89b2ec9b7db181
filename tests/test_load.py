"""Importing a file of dags: what it defines, or what is wrong with it."""

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ppacer.errors import LoadError
from ppacer.load import is_loading, load_registry

Write = Callable[..., Path]

DAG = """
    from ppacer.dag import Dag, Registry, task
    @task
    def a(): ...
    with Dag("one") as one:
        a()
"""


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "dags.py") -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(textwrap.dedent(text), "utf-8")
        return file

    return write


def test_all_dags_and_registries_at_top_level_are_found(write: Write) -> None:
    file = write(DAG + "    again = one\n    reg = Registry([Dag('two'), one])\n    three = Dag('three')\n")
    assert list(load_registry(file)) == ["one", "two", "three"]
    assert list(load_registry(str(file))) == ["one", "two", "three"]


def test_the_file_itself_is_read_and_no_bytecode_of_an_earlier_one(write: Write) -> None:
    file = write(DAG)
    before = file.stat()
    assert list(load_registry(file)) == ["one"]
    write(DAG.replace("one", "two"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # edited within the same second
    assert list(load_registry(file)) == ["two"]
    assert {path.name for path in file.parent.iterdir()} == {"dags.py"}


def test_a_dag_imported_from_a_neighbour_is_found(write: Write) -> None:
    write(DAG, "neighbour_of_dags.py")
    assert list(load_registry(write("from neighbour_of_dags import one"))) == ["one"]


def test_two_files_with_one_name_do_not_meet(write: Write) -> None:
    first, second = write(DAG, "x/dags.py"), write(DAG.replace("one", "two"), "y/dags.py")
    assert list(load_registry(first)) == ["one"]
    assert list(load_registry(second)) == ["two"]


def test_any_name_of_a_file_will_do(write: Write) -> None:
    assert list(load_registry(write(DAG, "my dags-2.txt"))) == ["one"]


def test_the_file_knows_that_it_is_not_the_main_program(write: Write) -> None:
    knows = (
        "    assert __name__ != '__main__'\n    from ppacer.load import is_loading\n    yes = is_loading()\n"
    )
    file = write(DAG + knows)
    load_registry(file)
    module = next(m for m in sys.modules.values() if getattr(m, "__file__", None) == str(file))
    assert module.yes is True
    assert not is_loading()


def test_dataclasses_and_late_annotations_work(write: Write) -> None:
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    load_registry(write(f"{head}@dataclass\nclass P:\n    x: int = 1\n{textwrap.dedent(DAG)}"))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"there is no file .*nowhere\.py"):
        load_registry(tmp_path / "nowhere.py")


def test_a_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="directory"):
        load_registry(tmp_path)


def test_a_file_without_dags_is_told(write: Write) -> None:
    with pytest.raises(LoadError, match="defines no dag"):
        load_registry(write("x = 1"))


def test_two_dags_with_one_id_are_told(write: Write) -> None:
    with pytest.raises(LoadError, match="'one' is used twice"):
        load_registry(write(DAG + "    other = Dag('one')\n"))


def error_of(file: Path) -> LoadError:
    with pytest.raises(LoadError) as caught:
        load_registry(file)
    assert "importlib" not in caught.value.traceback
    assert "ppacer/load.py" not in caught.value.traceback
    return caught.value


def test_an_exception_comes_with_the_users_own_traceback(write: Write) -> None:
    error = error_of(write("def f():\n    return 1 / 0\n\nf()\n"))
    assert "does not import: ZeroDivisionError: division by zero" in str(error)
    assert "\n" not in str(error)
    lines = error.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith('dags.py", line 4, in <module>')
    assert [line for line in lines if line.startswith("  File")][-1].endswith("line 2, in f")
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_a_syntax_error_is_told_with_its_line(write: Write) -> None:
    error = error_of(write("x = 1\ndef f(:\n"))
    assert "SyntaxError" in str(error)
    assert "dags.py" in error.traceback
    assert "line 2" in error.traceback


def test_an_error_in_a_neighbour_is_told_where_it_is(write: Write) -> None:
    write("def g():\n    raise KeyError('x')\ng()\n", "broken_neighbour.py")
    error = error_of(write("import broken_neighbour\n"))
    assert 'broken_neighbour.py", line 2, in g' in error.traceback
    assert 'dags.py", line 1' in error.traceback


def test_a_missing_module_is_told(write: Write) -> None:
    assert "No module named 'no_such_thing'" in str(error_of(write("import no_such_thing\n")))


def test_a_dag_that_cannot_be_is_told_at_the_users_line(write: Write) -> None:
    error = error_of(write("from ppacer.dag import Dag\nd = Dag('no spaces')\n"))
    assert "no spaces" in str(error)
    assert error.traceback.splitlines()[1].endswith('dags.py", line 2, in <module>')
    assert "ppacer/dag" not in error.traceback


def test_a_file_that_exits_does_not_import(write: Write) -> None:
    assert "SystemExit" in str(error_of(write("import sys\nsys.exit(0)\n")))


def test_chained_errors_are_shown_without_machinery(write: Write) -> None:
    error = error_of(
        write(
            "try:\n    import no_such_thing\nexcept ImportError as e:\n    raise RuntimeError('x') from e\n"
        )
    )
    assert "direct cause" in error.traceback


def test_an_interrupt_is_no_error_of_the_file(write: Write) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_registry(write("raise KeyboardInterrupt\n"))
    assert not is_loading()


def test_a_file_that_failed_can_be_mended(write: Write) -> None:
    error_of(write("1/0"))
    assert list(load_registry(write(DAG))) == ["one"]
