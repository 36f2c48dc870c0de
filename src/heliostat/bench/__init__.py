"""Measuring on this machine: limits, models, ops and formats, beside a peer in alternating runs."""
