"""One file a task: how its graphs answer a request."""
