"""Classification: which of the data's labels does a record have?"""

from vlp.tasks.classification.task import Params, Task

__all__ = ["Params", "Task"]
