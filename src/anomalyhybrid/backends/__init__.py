"""Runtimes other than PyTorch for the networks on a CPU (ADR-017)."""
