"""Robustness to distribution shift and adversarial attacks."""
