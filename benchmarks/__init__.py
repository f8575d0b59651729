"""Throughput, latency and quality of the main job on this machine: ``python -m benchmarks``."""
