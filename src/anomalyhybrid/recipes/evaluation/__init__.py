"""`anomalyhybrid evaluate`: the paper's tables on any data, our images beside honest baselines."""
