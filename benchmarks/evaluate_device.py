"""Run `evaluate` in several processes on one GPU; they share the rows of one output folder.

    python benchmarks/evaluate_device.py CONFIG.json --data DIR ... --out DIR [--run RUN] [--zero-run RUN]

CONFIG.json holds fields of `EvaluateConfig`. For machines without the command line's dependencies.
"""

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path

import torch

from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.report_text import text_table
from anomalyhybrid.evaluation.result_files import read_result
from anomalyhybrid.recipes.evaluation.run import evaluate

STARTED = time.monotonic()


def announce(text: str) -> None:
    print(f"{time.monotonic() - STARTED:6.1f} {text}", flush=True)


def work(given: argparse.Namespace, config: EvaluateConfig) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // given.processes))  # else each takes all cores' worth
    evaluate(
        given.data,
        given.out,
        run=given.run,
        zero_run=given.zero_run,
        config=config,
        cache=given.cache,
        announce=announce,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", default="shipped")
    parser.add_argument("--zero-run", default="shipped")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--cache", type=Path, default=None)
    given = parser.parse_args()
    values = json.loads(given.config.read_text())
    config = EvaluateConfig(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(given, config)) for _ in range(given.processes)]
    for worker in workers:
        worker.start()
        time.sleep(0.5)  # so that they do not all wait for the same first set
    for worker in workers:
        worker.join()
    for path in sorted(given.out.glob("table_*.json")):
        print(text_table(read_result(path)))


if __name__ == "__main__":
    main()
