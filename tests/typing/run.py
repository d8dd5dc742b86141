"""Checks the types that users see: completeness of the public API, and that four type checkers agree about it.

`accepted.py` has to pass in mypy, pyright, ty and pyrefly. Each line of `refused.py` that is marked `# error`
has to be refused by each of them, and no other line.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BIN = Path(sys.executable).parent


def run(*command: object, python: Path | None = None) -> tuple[int, str]:
    environment = dict(os.environ)
    if python is not None:
        # As in an activated environment: some questions are answered for the Python on the path alone.
        environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
        environment["VIRTUAL_ENV"] = str(python.parents[1])
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    return done.returncode, done.stdout + done.stderr


def installed_copy(folder: Path) -> Path:
    """Return the Python of an environment that has the package as users have it: installed, not editable."""
    venv.create(folder, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site_packages = folder / "lib" / version / "site-packages"
    shutil.copytree(ROOT / "src" / "refusion", site_packages / "refusion")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def check_completeness(python: Path) -> bool:
    _, output = run(BIN / "basedpyright", "--verifytypes", "refusion", "--ignoreexternal", python=python)
    score = re.search(r"Type completeness score: ([\d.]+)%", output)
    is_complete = score is not None and float(score.group(1)) == 100.0
    print(f"type completeness: {score.group(1) if score else '?'} %")
    if not is_complete:
        print(output)
    return is_complete


def checkers(python: Path, file: Path) -> dict[str, tuple[int, str]]:
    return {
        "mypy": run(BIN / "mypy", "--strict", "--no-error-summary", "--python-executable", sys.executable, file),
        "pyright": run(BIN / "basedpyright", "--pythonpath", python, "--level", "error", file),
        "ty": run(BIN / "ty", "check", "--python", python.parents[1], "--output-format", "concise", file),
        "pyrefly": run(
            BIN / "pyrefly", "check", "--python-interpreter-path", python, "--output-format", "min-text", file
        ),
    }


def check_accepted(python: Path) -> bool:
    is_fine = True
    for name, (status, output) in checkers(python, HERE / "accepted.py").items():
        print(f"{name}: accepted.py {'passes' if status == 0 else 'FAILS'}")
        if status != 0:
            print(output)
            is_fine = False
    return is_fine


def check_refused(python: Path) -> bool:
    file = HERE / "refused.py"
    wanted = {number for number, line in enumerate(file.read_text().splitlines(), 1) if line.endswith("# error")}
    is_fine = True
    for name, (_, output) in checkers(python, file).items():
        found = {int(number) for number in re.findall(r"refused\.py:(\d+)", output)}
        print(f"{name}: refused.py {'is refused where it should be' if found == wanted else 'FAILS'}")
        if found != wanted:
            print(f"not refused: {sorted(wanted - found)}, refused for nothing: {sorted(found - wanted)}")
            print(output)
            is_fine = False
    return is_fine


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        python = installed_copy(Path(folder) / "venv")
        results = [check_completeness(python), check_accepted(python), check_refused(python)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
