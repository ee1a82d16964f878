"""Benchmark of networks and layers: parameters, multiply-adds, time and memory."""
