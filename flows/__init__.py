"""When, where and again: Prefect flows over the DVC graph, gated promotion, rollback.

DVC owns what runs. A flow reads its graph and never lists a stage by hand; it works through the ``dvc``, ``git``, ``gto``
and ``bentoml`` commands and public interfaces and the JSON that the stages write, and imports no training library.
"""
