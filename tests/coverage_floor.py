"""Fails when the tests leave more than a few lines of the central packages unvisited."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FLOOR = 95.0
PACKAGES = ("refusion/compute", "refusion/states", "refusion/remote", "refusion/rpc/protocol")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)], check=True)
        files = json.loads(report.read_text())["files"]
    failed = False
    for package in PACKAGES:
        summaries = [file["summary"] for name, file in files.items() if f"{package}/" in name.replace("\\", "/")]
        statements = sum(summary["num_statements"] for summary in summaries)
        covered = sum(summary["covered_lines"] for summary in summaries)
        percent = 100.0 * covered / statements if statements else 0.0
        print(f"coverage of {package}: {percent:.1f} % (floor {FLOOR:.0f} %)")
        failed |= percent < FLOOR
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
