"""Where compiler and runtime meet: compile a graph for this machine, bind buffers once, run a step by one native
call.
"""

from .host import host_target
from .runner import Engine, Runner, engine
from .session import Executable, Session, compile_graph

__all__ = ["Engine", "Executable", "Runner", "Session", "compile_graph", "engine", "host_target"]
