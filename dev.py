"""The one door for a newcomer and for CI: `python3 dev.py demo|test|check|bench|prove [arguments]`.

Needs Python 3.11 and nothing else. It makes `.venv` beside this file, with uv when that is there, otherwise
with venv and pip, and remembers what it installed, so that every later call starts at once.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an old Python must get as far as this sentence: no match, no :=
    sys.exit(f"ppacer needs Python 3.11 or newer; this is {sys.version.split()[0]} ({sys.executable}).")

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / "python"
STAMP = VENV / "installed.json"
INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")

# What an installation is made of: when one of them has changed, it is made again.
INPUTS = ("pyproject.toml", "hatch_build.py", "package.json", "package-lock.json")

# What a caller's shell may have set for another project and would lead python, pip or uv astray.
STRANGERS = ["PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "PIP_USER", "PIP_TARGET"]
STRANGERS += ["PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_PYTHON", "UV_SYSTEM_PYTHON", "UV_PYTHON"]
STRANGERS += ["PYTHONDONTWRITEBYTECODE"]  # half a second for each start of ppacer

# The tests in parts, each with fresh workers: the first two fork the parent of task processes from the worker
# itself, which is not safe where some other test has left a thread. Clusters leave many.
PARTS: tuple[tuple[float, tuple[str, ...]], ...] = (
    # workers for each core, because many tests wait; paths
    (2, ("tests/executor",)),
    (2, ("tests/app",)),
    (1, ("tests/cluster",)),  # each worker starts clusters
    (1.5, ("tests", "--ignore=tests/executor", "--ignore=tests/app", "--ignore=tests/cluster")),
)

# What takes an hour or more: the same tests as in `test`, in their long form.
PROOFS = (
    # name, tests, what makes them long
    ("simulator", "tests/sim", {"PPACER_SIM_STEPS": "10000000", "PPACER_SIM_MUTANTS": "all"}),
    (
        "crashes",
        "tests/crash",
        {"PPACER_CRASH_KILLS": "200", "PPACER_POWER_CUTS": "4000", "PPACER_MACHINES_SECONDS": "120"},
    ),
    ("fuzzing", "tests/api/test_fuzzing.py", {"PPACER_FUZZ_SECONDS": "300"}),
)

USAGE = """usage: python3 dev.py COMMAND [arguments]

  demo   run example dags with the web page on http://127.0.0.1:9321 (arguments go to `ppacer demo`)
  test   run the tests on all cores (arguments go to pytest, paths from the root of the repository)
  check  run ruff, mypy, import-linter and tidy; `check --fix` lets ruff repair and format first
  bench  print the benchmarks beside their budgets; of some parts: `bench http pages`
  prove  run the long forms of simulator, crash and fuzzing tests, or of those named: `prove crashes`
"""


def main(arguments: list[str]) -> int:
    """Run one command; the result is the exit code."""
    command, rest = (arguments[0] if arguments else ""), arguments[1:]
    for name in STRANGERS:
        os.environ.pop(name, None)
    if command in ("test", "prove"):  # a seed of the simulator is the same story in every process
        os.environ.setdefault("PYTHONHASHSEED", "0")
    if command == "demo":
        ensure_installed("run")
        return become(BIN / "ppacer", "demo", *rest)
    if command == "test":
        ensure_installed("dev")
        os.chdir(ROOT)
        if rest:
            return become(PYTHON, *pytest(1), *rest)
        return max([subprocess.call([str(PYTHON), *pytest(share), *paths]) for share, paths in PARTS])
    if command == "check" and rest in ([], ["--fix"]):
        ensure_installed("dev")
        return check(fix=bool(rest))
    if command == "bench":
        ensure_installed("dev")
        os.chdir(ROOT)
        return become(PYTHON, "-m", "bench", *rest)
    if command == "prove" and {*rest} <= {name for name, *_ in PROOFS}:
        ensure_installed("dev")
        os.chdir(ROOT)
        return prove(rest)
    if command in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    print(USAGE, end="", file=sys.stderr)
    return 2


def become(program: Path, *arguments: str) -> int:
    """Turn this process into the program, so that signals and the exit code are the program's own."""
    command = [str(program), *arguments]
    sys.stdout.flush()
    if os.name != "nt":  # execv there returns to the shell before the program ends
        os.execv(command[0], command)
    return subprocess.call(command)


def pytest(workers_per_core: float) -> list[str]:
    """What follows `python` to run tests on all cores."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return ["-m", "pytest", "-n", str(round(cores * workers_per_core)), "--dist", "worksteal"]


def check(*, fix: bool) -> int:
    """Run all tools at once; one line for each, and the output of those that failed."""
    python = str(PYTHON)
    code = [name for name in ("src", "dev.py", "bench", "tests", "examples") if (ROOT / name).exists()]
    tools = {
        "ruff check": [python, "-m", "ruff", "check", "."],
        "ruff format": [python, "-m", "ruff", "format", "--check", "."],
        "mypy": [python, "-m", "mypy", *code],
        "import-linter": [str(BIN / "lint-imports")],
        "tidy": [python, "-m", "pytest", "-q", "--no-header", "tests/test_tidy.py"],
    }
    if fix:
        output_of([python, "-m", "ruff", "check", "--fix", "."])
        output_of([python, "-m", "ruff", "format", "."])
    failed = False
    with ThreadPoolExecutor() as pool:
        for name, (status, output) in zip(tools, pool.map(output_of, tools.values()), strict=True):
            print(f"{name:14} {'FAILED' if status else 'ok'}", flush=True)
            if status:
                failed = True
                print(output.rstrip() + "\n", flush=True)
    return int(failed)


def prove(names: list[str]) -> int:
    """Run the proofs one after the other, and print a line for each; the exit code tells whether all held."""
    lines = []
    for name, tests, sizes in PROOFS:
        if names and name not in names:
            continue
        began = time.monotonic()
        status = subprocess.call([str(PYTHON), *pytest(1), tests], env={**os.environ, **sizes})
        minutes = (time.monotonic() - began) / 60
        sizes_text = ", ".join(f"{key}={value}" for key, value in sizes.items())
        lines.append((status, f"{name:12} {'FAILED' if status else 'ok':8} {minutes:6.1f} min  {sizes_text}"))
    print("\n".join(line for _, line in lines))
    return max(status for status, _ in lines)


def ensure_installed(level: str) -> None:
    """Make or mend `.venv`; `level` is "run" for the dependencies alone or "dev" for the tools as well.

    The stamp is removed first and written last: without it an installation was interrupted and starts anew.
    """
    wanted = {
        "level": level,
        "project": hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in INPUTS)).hexdigest(),
        "python": sys.version,
        "root": str(ROOT),  # the scripts in .venv name it, so a moved or copied folder needs new ones
    }
    if satisfied(wanted):
        return
    with only_one():
        if satisfied(wanted):  # by the one we waited for
            return
        found = read_stamp()
        STAMP.unlink(missing_ok=True)
        if found.get("level") == "dev":
            wanted["level"] = "dev"
        if all(found.get(key) == wanted[key] for key in ("python", "root")):
            say("Updating .venv ...")
        else:
            say("Making .venv (once, about 30 s) ...")
            make_venv()
        install(".[dev]" if wanted["level"] == "dev" else ".")
        STAMP.write_text(json.dumps(wanted), "utf-8")


def satisfied(wanted: dict[str, str]) -> bool:
    """Whether `.venv` already holds at least what is wanted."""
    found = read_stamp()
    return PYTHON.exists() and found in (wanted, {**wanted, "level": "dev"})


def read_stamp() -> dict[str, str]:
    """What the last complete installation was; empty when there was none."""
    try:
        return dict(json.loads(STAMP.read_text("utf-8")))
    except (OSError, ValueError):
        return {}


@contextmanager
def only_one() -> Iterator[None]:
    """Hold a lock on the repository's folder: two terminals, one installation."""
    if sys.platform == "win32":  # no flock there
        yield
        return
    import fcntl

    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def make_venv() -> None:
    """An empty `.venv` of the Python that runs this file, even when that one is itself inside `.venv`."""
    shutil.rmtree(VENV, ignore_errors=True)
    base = getattr(sys, "_base_executable", None) or sys.executable
    if shutil.which("uv"):
        uv("venv", "--no-project", "--python", base, str(VENV))
    elif output_of([base, "-m", "venv", str(VENV)])[0]:
        # Debian and Ubuntu without the package python3-venv: there is venv, but no pip to put into it.
        must([base, "-m", "venv", "--clear", "--without-pip", str(VENV)])
        fetch_pip()


def install(what: str) -> None:
    """Install the project, editable, into `.venv`."""
    if shutil.which("uv"):
        uv("pip", "install", "--python", str(PYTHON), "--editable", what)
    else:
        must([str(PYTHON), "-m", "pip", "install", "--quiet", "--editable", what])


def uv(*arguments: str) -> None:
    """Run uv, a second time without its cache: the cache is in HOME, which may be read-only."""
    if output_of(["uv", "--quiet", *arguments])[0]:
        must(["uv", "--quiet", "--no-cache", *arguments])


def fetch_pip() -> None:
    """Put the newest pip that fits into `.venv`, from the index: a wheel of pip can install itself."""
    import html
    from urllib.parse import urldefrag, urljoin

    page_url = f"{INDEX}/pip/"
    link = re.compile(r'<a\s([^>]*?)href="([^"]+)"([^>]*)>\s*(pip-([\d.]+)-py3-none-any\.whl)\s*</a>')
    wheels = []
    for before, href, after, name, version in link.findall(download(page_url).decode()):
        needs = re.search(r'requires-python=">=\s*3\.(\d+)', html.unescape(before + after))
        if needs is None or int(needs[1]) <= sys.version_info.minor:
            wheels.append(([int(part) for part in version.split(".")], name, html.unescape(href)))
    if not wheels:
        sys.exit(f"{page_url} offers no pip for this Python; install Debian's python3-venv and try again.")
    _, name, href = max(wheels)
    url, digest = urldefrag(urljoin(page_url, href))
    content = download(url)
    if digest.startswith("sha256=") and hashlib.sha256(content).hexdigest() != digest[7:]:
        sys.exit(f"{url} arrived damaged; try again.")
    with TemporaryDirectory() as folder:
        wheel = Path(folder, name)
        wheel.write_bytes(content)
        must([str(PYTHON), str(wheel / "pip"), "install", "--quiet", "--no-index", str(wheel)])


def download(url: str) -> bytes:
    """The content behind a URL, or the end of this program with a sentence."""
    import ssl
    from urllib.request import urlopen

    try:
        context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
        with urlopen(url, timeout=30, context=context) as answer:
            return bytes(answer.read())
    except OSError as error:
        sys.exit(
            f"Cannot reach {url} ({getattr(error, 'reason', error)}).\n"
            "The first start downloads the dependencies: connect to the network, or set HTTPS_PROXY or "
            "PIP_INDEX_URL, then run the same command again."
        )


def must(command: list[str]) -> None:
    """Run a step of the installation, or end this program: it was the network, or else here is the output."""
    status, output = output_of(command)
    if status and re.search("connect|resol|network|timed out|retr", output, re.IGNORECASE):
        download(f"{INDEX}/pip/")  # ends here when the index is out of reach
    if status:
        sys.exit(f"{output.rstrip()}\n`{' '.join(command)}` failed with exit code {status}.")


def output_of(command: list[str]) -> tuple[int, str]:
    """Run a command in the root of the repository: its exit code, and all it wrote."""
    done = subprocess.run(
        command, cwd=ROOT, text=True, errors="replace", check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def say(line: str) -> None:
    """One line for the person who waits, beside the output proper."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
