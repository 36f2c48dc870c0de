"""Heliostat: a tensor compiler in Python with a local LLM engine on top of it. Nothing heavy is imported here."""

__version__ = "0.1.0"
