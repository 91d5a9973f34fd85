"""Image–text matching: is this text true of this image?"""

from vlp.tasks.matching.task import Params, Task

__all__ = ["Params", "Task"]
