"""Kill processes of a set at random moments and start them again: is the set the one that nobody stopped?

    python benchmarks/kill_and_restart.py [--kills 20] [--seed 0] [--out docs/results/kill_and_restart.json]

The reference is made by one process. Then two processes (`generate --shard K/2 --resume`) make the set together; at
random moments one of them is ended with SIGKILL and started again, and whenever a set is finished it is compared byte
for byte with the reference (all files, hidden ones too) and begun anew, until so many kills have hit a process. The
data are rendered parts of 128 pixels. Each kill is counted by what the process was doing: starting (before its first
row), making images, or after its last row.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from results import write_result

from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.generation.manifest import MANIFEST
from anomalyhybrid.generation.shards import SHARDS, Shard

SIZE, SHARES, DEFECTS, NORMALS, BATCH = 128, 2, 24, 8, 2


def words(data: Path, out: Path, cache: Path, *more: str) -> list[str]:
    settings = ["--count", str(DEFECTS), "--normals", str(NORMALS), "--batch-size", str(BATCH), *more]
    paths = ["--data", str(data), "--base-set", str(data), "--out", str(out), "--cache", str(cache)]
    return [sys.executable, "-m", "anomalyhybrid", "generate", "shipped", *paths, *settings]


def start(command: list[str]) -> subprocess.Popen:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)


def finish(process: subprocess.Popen) -> None:
    """Wait for a process that nobody ends.

    Raises:
        RuntimeError: It failed.
    """
    told = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(f"code {process.returncode}: {told.decode()[-2000:]}")


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


def differing(one: Path, other: Path) -> list[str]:
    """Files that two folders do not have alike."""
    both = files(one) & files(other)
    _, differ, errors = filecmp.cmpfiles(one, other, sorted(both), shallow=False)
    return sorted((files(one) ^ files(other)) | {*differ, *errors})


def state(out: Path, shard: Shard) -> str:
    """What the process of a shard is doing."""
    part = out / shard.part
    if (out / shard.complete).is_file() or (out / MANIFEST).is_file():
        return "after_its_last_row"
    return "making" if part.is_file() and part.stat().st_size else "starting"


class Set:
    """A set that two processes make, of which some are killed."""

    def __init__(self, command: list[str], out: Path) -> None:
        self.command, self.out = command, out
        self.shards = [Shard(number=number, of=SHARES) for number in range(1, SHARES + 1)]
        self.running = {shard: self._started(shard) for shard in self.shards}

    def _started(self, shard: Shard) -> subprocess.Popen:
        return start([*self.command, "--resume", "--shard", str(shard)])

    def kill(self, shard: Shard, after_s: float) -> str | None:
        """End a shard's process and start it again; what it was doing, None where it had ended by itself."""
        process, until = self.running[shard], time.monotonic() + after_s
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        doing = state(self.out, shard)
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            return None
        process.communicate()
        self.running[shard] = self._started(shard)
        return doing

    def finish(self) -> None:
        for process in self.running.values():
            finish(process)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    moments, killed, at = random.Random(given.seed), Counter[str](), []
    different: list[str] = []
    sets = 0
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder), Path(folder) / "cache"
        data = root / "data"
        write_dataset(data, product="nut", product_seed=2, seed=5, train_good=6, defects_per_kind=1, size=SIZE)
        started = time.monotonic()
        finish(start(words(data, root / "whole", cache)))
        alone = time.monotonic() - started
        while killed.total() < given.kills:
            out = root / f"set-{sets}"
            making = Set(words(data, out, cache), out)
            for _ in range(moments.randint(1, 4)):
                delay, shard = moments.uniform(0, alone), moments.choice(making.shards)
                doing = making.kill(shard, delay) if killed.total() < given.kills else None
                if doing is not None:
                    killed[doing] += 1
                    at.append({"set": sets, "shard": str(shard), "after_s": round(delay, 2), "doing": doing})
            making.finish()
            different += [f"set {sets}: {name}" for name in differing(root / "whole", out)]
            assert not (out / SHARDS).exists()
            sets += 1
            print(f"{sets} sets, {killed.total()} kills {dict(killed)}, {len(different)} differing files", flush=True)
    result = {
        "benchmark": "kill_and_restart",
        "seed": given.seed,
        "images": DEFECTS + NORMALS,
        "image_side": SIZE,
        "processes": SHARES,
        "one_process_s": round(alone, 1),
        "sets": sets,
        "kills": killed.total(),
        "killed_while": dict(sorted(killed.items())),
        "differing_files": different,
        "moments": at,
    }
    print(json.dumps({name: value for name, value in result.items() if name != "moments"}, indent=2))
    if given.out:
        write_result(given.out, result)


if __name__ == "__main__":
    main()
