"""Codebooks of the shipped formats: data, kept apart from the declarations that use them."""
