"""The package as users get it: its names, its imports, its wheel."""

import importlib
import os
import subprocess
import sys
import typing
import venv
import zipfile
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
SNAPSHOT = ROOT / "tests" / "data" / "exports.txt"
PACKAGES = (
    "refusion",
    "refusion.cli",
    "refusion.compute",
    "refusion.errors",
    "refusion.remote",
    "refusion.rpc",
    "refusion.rpc.formats",
    "refusion.rpc.http",
    "refusion.rpc.protocol",
    "refusion.rpc.transports",
    "refusion.states",
    "refusion.testing",
)


def exports() -> str:
    lines: list[str] = []
    for package in PACKAGES:
        module = importlib.import_module(package)
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and (package == "refusion" or type(value).__name__ != "module")
        ]
        chosen = (name for name in names if type(getattr(module, name)).__name__ != "module" and name != "Final")
        lines += [f"{package}.{name}" for name in sorted(chosen)]
    return "\n".join(lines) + "\n"


def test_the_public_names_are_those_of_the_snapshot() -> None:
    """Run with UPDATE_EXPORTS=1 to take a new snapshot, and look at what has changed in it."""
    if os.environ.get("UPDATE_EXPORTS"):
        SNAPSHOT.write_text(exports())
    assert exports() == SNAPSHOT.read_text()


def test_importing_the_package_loads_no_third_party_package_but_msgspec() -> None:
    code = (
        "import sys, msgspec; before = set(sys.modules); import refusion; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    foreign = set(output.split()) - set(sys.stdlib_module_names) - {"refusion"}
    assert {name for name in foreign if not name.startswith("_")} == set()


def test_a_wheel_can_be_built_installed_and_imported(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    wheel = tmp_path / done.stdout.strip().splitlines()[-1]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "refusion/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "samples"))]
    required = {line.split()[1].partition(">")[0] for line in metadata.splitlines() if line.startswith("Requires-Dist")}
    assert {"msgspec", "websockets", "xxhash"} <= required

    venv.create(tmp_path / "clean", with_pip=True, symlinks=True)
    python = tmp_path / "clean" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--no-deps", wheel]
    subprocess.run(install, check=True)
    # Its dependencies are those of this environment; the package itself is the installed one.
    site_packages = next((tmp_path / "clean" / "lib").glob("python*/site-packages"))
    (site_packages / "dependencies.pth").write_text(str(Path(msgspec.__file__).parents[1]) + "\n")
    code = "import refusion; print(refusion.__file__)"
    done = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True)
    assert str(site_packages) in done.stdout


def test_every_public_name_says_what_it_is() -> None:
    undocumented = [
        f"{package}.{name}"
        for package in PACKAGES
        for name, value in vars(importlib.import_module(package)).items()
        # The alias of a type says it in the string behind it.
        if not name.startswith("_")
        and callable(value)
        and typing.get_origin(value) is None
        and not (getattr(value, "__doc__", None) or "").strip()
    ]
    assert undocumented == []
