#!/usr/bin/env bash
# One lease of a GPU machine: the shipped generator, then the main job of issue 2 three ways.
#   V=<vgg16 file> DATA="<folder> ..." OUT=<folder> bash benchmarks/gpu_session.sh
# START=<generator file> goes on from it instead of from a small-size run; ONLY=general stops after the generator.
# Sizes and minutes can be set through the environment; the defaults are those of the run in docs/log.md.
set -u
export PYTHONPATH=src PYTHONUNBUFFERED=1
P=python3; [ -x .venv/bin/python ] && P=.venv/bin/python
T=${T:-/tmp/session}; mkdir -p "$T"; W=src/anomalyhybrid/weights
ship() { $P -m anomalyhybrid.recipes.shipped_generator "$@"; }
say() { echo "$(date +%T) $*"; }
tail_of() { tail -c 900 "$1"; echo; }

say render; ship render --scenes "$T/pairs.npz" --count "${SCENES:-1600}" --workers "${WORKERS:-16}" --size "${S2:-256}" || exit 1
if [ -z "${START:-}" ]; then
  say general, small
  ship train --scenes "$T/pairs.npz" --students $W --out "$T/general_small" --size "${S1:-128}" --minutes "${M1:-1.3}" \
    --steps "${STEPS:-20000}" --batch-size "${B:-32}" --view-block 8 --vgg-weights "$V" > "$T/general_small.log" 2>&1
  tail_of "$T/general_small.log"; START="$T/general_small/generator.safetensors"
fi
say general
ship train --scenes "$T/pairs.npz" --students $W --out "$T/general" --size "${S2:-256}" --minutes "${M2:-1.9}" \
  --steps "${STEPS:-20000}" --batch-size "${B:-32}" --view-block 8 --start "$START" --vgg-weights "$V" > "$T/general.log" 2>&1
tail_of "$T/general.log"
[ "${ONLY:-}" = general ] && { cp "$T/general/generator.safetensors" "$T/general/journal.jsonl" "$OUT/"; cp "$(ls "$T"/general/samples/*.png | tail -1)" "$OUT/general.png"; exit 0; }
cp "$T/general/generator.safetensors" $W/generator.safetensors
cp "$T/general/generator.safetensors" "$OUT/general.safetensors"
cp "$(ls "$T"/general/samples/*.png | tail -1)" "$OUT/general.png"

job() { $P benchmarks/main_job.py --data $DATA --vgg-weights "$V" --count "${COUNT:-1000}" --probed "${PROBED:-64}" \
  --size "${S2:-256}" --steps "${STEPS:-20000}" --batch-size "${B:-32}" "$@"; }
keep() { cp "$T/$1/contact.png" "$OUT/$1.png"; [ -f "$T/$1/run/generator.safetensors" ] && cp "$T/$1/run/generator.safetensors" "$OUT/$1.safetensors"; tail_of "$T/$1.log"; }
say few-shot, training
job --out "$T/few" --few-shot --base-split all --minutes "${MF:-2.0}" > "$T/few.log" 2>&1 & FEW=$!
while kill -0 $FEW 2> /dev/null && [ ! -e "$T/few/set/dataset.json" ]; do sleep 1; done
say few-shot, generating, beside zero-shot, training
job --out "$T/zero" --minutes "${MZ:-1.1}" > "$T/zero.log" 2>&1 & ZERO=$!
wait $FEW; keep few
say shipped, generating
job --out "$T/shipped" --run shipped > "$T/shipped.log" 2>&1 & SHIPPED=$!
wait $ZERO; keep zero
wait $SHIPPED; keep shipped
say done
(cd "$T" && tar czf "$OUT/logs.tar.gz" ./*.log ./*/figures.json ./*/journal.jsonl ./*/run/journal.jsonl) 2> /dev/null
ls -la "$OUT"
