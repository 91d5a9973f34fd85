"""When, where and again: Prefect flows over the DVC graph, gated promotion, rollback.

DVC owns what runs. A flow reads its graph and never lists a stage by hand; it works through the commands and public
interfaces of DVC, git, GTO and BentoML and the JSON that the stages write, and imports no training library.
"""
