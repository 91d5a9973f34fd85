"""The stages of ``dvc.yaml``, each thin: read parameters, call one room, write outs."""
