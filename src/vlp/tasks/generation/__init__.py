"""Text-to-image generation: a picture of what this text says."""

from vlp.tasks.generation.task import Params, Task

__all__ = ["Params", "Task"]
