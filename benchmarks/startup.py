"""How long `anomalyhybrid --help` and `import anomalyhybrid` take, each in a fresh process.

    python benchmarks/startup.py [--repeats 5] [--out docs/results/startup.json]

The least of the repeats counts, beside that of an empty Python process, which is the floor. Modules that must not be
loaded by either are looked for, and the slowest imports are named.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from results import write_result

HEAVY = ("torch", "torchvision", "transformers", "cv2", "openvino", "onnxruntime", "gradio", "jinja2")
HELP = "from anomalyhybrid.cli.main import main; main(['--help'])"
PROGRAMS = {"python": "pass", "import_anomalyhybrid": "import anomalyhybrid", "help": HELP}
TARGETS = {"import_anomalyhybrid": 0.3, "help": 0.5}


def seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def loaded(code: str) -> list[str]:
    """Those of `HEAVY` that a program loads."""
    asked = f"{code}\nimport sys; sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    return done.stderr.split()


def slowest_imports(code: str, count: int = 8) -> dict[str, float]:
    """Modules with the longest own import time in milliseconds."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], check=True, capture_output=True, text=True)
    rows = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line]
    own = {name.strip(): int(self_us) / 1e3 for self_us, _, name in rows if self_us.strip().isdigit()}
    return dict(sorted(own.items(), key=lambda item: -item[1])[:count])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(given.repeats):
        for name, code in PROGRAMS.items():
            taken[name].append(seconds(code))
    best = {name: min(values) for name, values in taken.items()}
    result = {
        "benchmark": "startup",
        "python": sys.version.split()[0],
        "load_before": round(load, 2),
        "repeats": given.repeats,
        "targets": TARGETS,
        "seconds": {name: round(value, 3) for name, value in best.items()},
        "floor_s": round(best["python"], 3),
        "heavy_modules_loaded": {name: loaded(PROGRAMS[name]) for name in TARGETS},
        "slowest_imports_ms": {name: slowest_imports(PROGRAMS[name]) for name in TARGETS},
        "reached": {name: best[name] < target for name, target in TARGETS.items()},
    }
    print(json.dumps(result, indent=2))
    if given.out:
        write_result(given.out, result)


if __name__ == "__main__":
    main()
