"""Text-prompted segmentation: which pixels does this expression name?"""

from vlp.tasks.segmentation.task import Params, Task

__all__ = ["Params", "Task"]
