"""The compiler: a flat pipeline of named passes from a graph and a target to a program.

Pure: no device, file or environment.
"""
