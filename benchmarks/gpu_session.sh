#!/usr/bin/env bash
# One lease of a GPU machine, in parts: the shipped generator, the main job of issue 2
# three ways, the ablation of views and loss, or depth level and hybrids (issue 4) on two GPUs side by side.
#   V=<vgg16 file> OUT=<folder> START=<generator> bash benchmarks/gpu_session.sh general
#   V=<vgg16 file> OUT=<folder> DATA="<folder> ..." bash benchmarks/gpu_session.sh job
#   V=<vgg16 file> OUT=<folder> DATA=<folder> bash benchmarks/gpu_session.sh ablation
#   V=<vgg16 file> OUT=<folder> HELICONIUS=<folder> bash benchmarks/gpu_session.sh side_by_side
# `depth` and `hybrids` are also parts of their own, for one GPU.
# START goes on from a generator instead of from a small-size run. Sizes and minutes can be set through the
# environment; SRC is another source folder; the defaults are those of the runs in docs/log.md.
set -u
export PYTHONPATH=${SRC:-src} PYTHONUNBUFFERED=1
P=python3; [ -x .venv/bin/python ] && P=.venv/bin/python
T=${T:-/tmp/session}; mkdir -p "$T"
ship() { $P -m anomalyhybrid.recipes.shipped_generator "$@"; }
say() { echo "$(date +%T) $*"; }
tail_of() { tail -c "${2:-900}" "$1"; echo; }

general() {
  local weights=src/anomalyhybrid/weights start=${START:-}
  say render; ship render --scenes "$T/pairs.npz" --count "${SCENES:-1600}" --workers "${WORKERS:-16}" --size "${S2:-256}" || exit 1
  if [ -z "$start" ]; then
    say general, small
    ship train --scenes "$T/pairs.npz" --students $weights --out "$T/general_small" --size "${S1:-128}" --minutes "${M1:-1.3}" \
      --steps "${STEPS:-20000}" --batch-size 32 --view-block 8 --vgg-weights "$V" > "$T/general_small.log" 2>&1
    tail_of "$T/general_small.log"; start="$T/general_small/generator.safetensors"
  fi
  say general
  ship train --scenes "$T/pairs.npz" --students $weights --out "$T/general" --size "${S2:-256}" --minutes "${M2:-6.3}" \
    --steps "${STEPS:-20000}" --batch-size "${B:-16}" --view-block 8 --start "$start" --vgg-weights "$V" > "$T/general.log" 2>&1
  tail_of "$T/general.log"
  cp "$T/general/generator.safetensors" "$T/general/journal.jsonl" "$OUT/"
  cp "$(ls "$T"/general/samples/*.png | tail -1)" "$OUT/general.png"
}

main_job() { $P "${SRC:-src}/../benchmarks/main_job.py" --data $DATA --vgg-weights "$V" --count "${COUNT:-1000}" --probed "${PROBED:-64}" \
  --size "${S2:-256}" --steps "${STEPS:-20000}" --batch-size "${B:-16}" "$@"; }
keep() {
  cp "$T/$1/contact.png" "$OUT/$1.png"
  tail_of "$T/$1.log" 2600
  (cd "$T" && tar czf "$OUT/logs.tar.gz" ./*.log ./*/figures.json ./*/run/journal.jsonl) 2> /dev/null
}
await() { while kill -0 "$1" 2> /dev/null && [ ! -e "$2" ]; do sleep 1; done; }

job() {
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"  # several processes, each with writing threads of its own
  say few-shot, training, beside the shipped generator, generating
  main_job --out "$T/shipped" --run shipped > "$T/shipped.log" 2>&1 & local shipped=$!
  main_job --out "$T/few" --few-shot --base-split all --minutes "${MF:-3.7}" > "$T/few.log" 2>&1 & local few=$!
  await $few "$T/few/set/dataset.json"
  cp "$T/few/run/generator.safetensors" "$OUT/few.safetensors"
  say few-shot, generating, beside zero-shot, training
  main_job --out "$T/zero" --minutes "${MZ:-2.2}" > "$T/zero.log" 2>&1 & local zero=$!
  wait $shipped; keep shipped
  wait $few; keep few
  await $zero "$T/zero/set/dataset.json"; cp "$T/zero/run/generator.safetensors" "$OUT/zero.safetensors"
  say zero-shot, generating
  wait $zero; keep zero
  say done
}

ablation() {
  local variants="default weak strong shared no_edits paper_loss" name
  for name in $variants; do
    $P benchmarks/ablation_views.py $name --data "${DATA%% *}" --out "$T/$name" --vgg-weights "$V" --size "${S1:-128}" \
      --steps "${STEPS:-2000}" --minutes "${MA:-3.7}" > "$T/$name.log" 2>&1 &
  done
  wait
  for name in $variants; do tail -1 "$T/$name.log"; cp "$T/$name/grid.png" "$OUT/$name.png"; done
  (cd "$T" && tar czf "$OUT/ablation.tar.gz" ./*/figures.json ./*/journal.jsonl)
}

gather_logs() {
  # patterns are expanded in $T alone
  (cd "$T" && tar czf "$OUT/$1.part" $(ls ${@:2} 2> /dev/null)) && mv "$OUT/$1.part" "$OUT/$1"
}
keep_depth() {
  gather_logs depth.tar.gz 'depth_*.log' sister/journal.jsonl depth/figures.json depth/detection.json depth/training.png
}
keep_hybrids() { gather_logs hybrids.tar.gz 'hybrids_*.log' '*/run/journal.jsonl'; }

depth() {
  local bench="$P benchmarks/depth_parts.py" scenes="$T/depth_scenes.npz"
  say depth, rendering
  $bench render --scenes "$scenes" --count "${DEPTH_SCENES:-1600}" --size "${S2:-256}" --workers "${WORKERS:-20}" \
    > "$T/depth_render.log" 2>&1 || { tail_of "$T/depth_render.log"; return 1; }
  say depth, training
  $bench train --scenes "$scenes" --out "$T/sister" --minutes "${MD:-2.5}" --steps "${STEPS:-20000}" --batch-size "${B:-16}" \
    --view-block 8 --vgg-weights "$V" > "$T/depth_train.log" 2>&1
  tail_of "$T/depth_train.log"; cp "$T/sister/generator.safetensors" "$OUT/sister.safetensors" || return 1
  say depth, measuring and detecting
  $bench measure --scenes "$scenes" --run "$T/sister" --out "$T/depth" --count "${PAIRS:-100}" > "$T/depth_measure.log" 2>&1 &
  local measuring=$!
  $bench detect --scenes "$scenes" --run "$T/sister" --out "$T/depth" --samples "${SAMPLES:-4000}" --pairs "${DEFECTS:-500}" \
    --seconds "${DETECT_SECONDS:-230}" ${DETECT:---graph} > "$T/depth_detect.log" 2>&1 &
  local detecting=$!
  wait $measuring; say depth, measured; cp "$T/depth/pairs.png" "$OUT/depth.png"; tail_of "$T/depth_measure.log" 3000; keep_depth
  while kill -0 $detecting 2> /dev/null; do sleep 5; keep_depth; done
  say depth, detected; tail_of "$T/depth_detect.log" 6000; keep_depth
}

hybrids() {
  local bench="$P benchmarks/hybrids_heliconius.py"
  local common="--data $HELICONIUS --size ${S2:-256} --steps ${STEPS:-20000} --batch-size ${B:-16} --minutes ${MH:-2.5}"
  say hybrids, training
  $bench train $common --out "$T/heliconius" --vgg-weights "$V" --cache "$T/cache" > "$T/hybrids_train.log" 2>&1
  tail_of "$T/hybrids_train.log"; cp "$T/heliconius/run/generator.safetensors" "$OUT/heliconius.safetensors" || return 1
  say hybrids, generating beside the training without the unseen  # measured later, from the generator, on a CPU
  { $bench generate --run "$T/heliconius/run" --data "$HELICONIUS" --out "$T/hybrids" --count "${HYBRIDS:-2}" \
      --sheet "$T/hybrids.png" --cache "$T/cache" > "$T/hybrids_generate.log" 2>&1
    cp "$T/hybrids.png" "$OUT/hybrids.png"; say hybrids, generated; tail_of "$T/hybrids_generate.log"; keep_hybrids; } &
  local generating=$!
  $bench train $common --out "$T/left_out" --vgg-weights "$V" --cache "$T/cache" --leave-out H.e.favorinus H.e.phyllis \
    H.m.amaryllis H.m.malleti H.m.melpomeneFG > "$T/hybrids_left_out.log" 2>&1
  tail_of "$T/hybrids_left_out.log"
  cp "$T/left_out/run/generator.safetensors" "$OUT/heliconius_left_out.safetensors"
  wait $generating; keep_hybrids; say hybrids, done
}

potholes() {
  local bench="$P benchmarks/depth_potholes.py" common="--data $POTHOLES --size ${S2:-256} --cache $T/cache"
  say potholes, training
  $bench train $common --out "$T/potholes_run" --minutes "${MP:-2.5}" --batch-size "${B:-16}" --vgg-weights "$V" \
    > "$T/potholes_train.log" 2>&1
  tail_of "$T/potholes_train.log"; cp "$T/potholes_run/generator.safetensors" "$OUT/potholes.safetensors" || return 1
  say potholes, generating
  $bench generate $common --run "$T/potholes_run" --out "$T/potholes_set" --count "${POTHOLE_PAIRS:-300}" \
    --seconds "${POTHOLE_SECONDS:-45}" > "$T/potholes_generate.log" 2>&1
  tail_of "$T/potholes_generate.log"; say potholes, measuring
  $bench measure $common --set "$T/potholes_set" --out "$T/potholes" ${LPIPS:-} ${POTHOLE_DETECT:---graph} \
    > "$T/potholes_measure.log" 2>&1
  tail_of "$T/potholes_measure.log" 3000; say potholes, done
}

# Other parts for the second GPU, such as potholes, follow hybrids there: AFTER_HYBRIDS="part ...".
side_by_side() {
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"
  (export CUDA_VISIBLE_DEVICES=0; depth) > "$T/side_depth.log" 2>&1 & local first=$!
  (export CUDA_VISIBLE_DEVICES=1; for part in hybrids ${AFTER_HYBRIDS:-}; do $part; done) > "$T/side_hybrids.log" 2>&1
  wait $first
  cat "$T/side_depth.log" "$T/side_hybrids.log"
}

for part in "$@"; do $part; done
ls -la "$OUT"
