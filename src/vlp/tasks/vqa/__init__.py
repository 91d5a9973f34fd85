"""Visual question answering: which of the known answers is right?"""

from vlp.tasks.vqa.task import Params, Task

__all__ = ["Params", "Task"]
