"""Analyses of models and layers: benchmarks, costs, experiments behind tables, robustness, capsule views."""
