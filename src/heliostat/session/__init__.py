"""Where compiler and runtime meet: compile a graph for this machine, bind buffers once, run a step by one native
call.
"""

from .host import host_target
from .session import Executable, Session, compile_graph

__all__ = ["Executable", "Session", "compile_graph", "host_target"]
