"""The exported bundle behind HTTP: BentoML around ``vlp.runtime``, and a page for people. No torch."""
