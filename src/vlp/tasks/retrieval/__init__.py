"""Retrieval: which text belongs to this image, and which image to this text?"""

from vlp.tasks.retrieval.task import Params, Task

__all__ = ["Params", "Task"]
