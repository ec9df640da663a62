"""Measures the hot verification path, beside its floor and its peers, in one run."""
