"""Captioning: what does the picture show, in words?"""

from vlp.tasks.captioning.task import Params, Task

__all__ = ["Params", "Task"]
