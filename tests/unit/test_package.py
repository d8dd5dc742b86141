"""The package as users get it: its names, its imports, its wheel."""

import importlib
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

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
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    if subprocess.run([*pip, "--version"], check=False, capture_output=True).returncode != 0:
        uv = subprocess.run(["uv", "--version"], check=False, capture_output=True)
        if uv.returncode != 0:
            pytest.skip("neither pip nor uv is there to build with")
        subprocess.run(["uv", "build", "-q", "--wheel", "-o", str(tmp_path), str(ROOT)], check=True)
    else:
        subprocess.run([*pip, "wheel", "--no-deps", "-w", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert "refusion/py.typed" in names
        assert not [name for name in names if name.startswith(("tests", "samples"))]
        venv.create(tmp_path / "clean", with_pip=False, symlinks=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        site_packages = tmp_path / "clean" / "lib" / version / "site-packages"
        archive.extractall(site_packages)
    # Its dependencies are those of this environment; the package itself is the one in the wheel.
    msgspec = Path(importlib.import_module("msgspec").__file__ or "").parents[1]
    (site_packages / "dependencies.pth").write_text(f"{msgspec}\n")
    code = "import refusion; print(refusion.__file__)"
    python = tmp_path / "clean" / "bin" / "python"
    done = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True)
    assert str(site_packages) in done.stdout


def test_every_public_name_says_what_it_is() -> None:
    undocumented = [
        f"{package}.{name}"
        for package in PACKAGES
        for name, value in vars(importlib.import_module(package)).items()
        if not name.startswith("_") and callable(value) and not (getattr(value, "__doc__", None) or "").strip()
    ]
    assert undocumented == []
