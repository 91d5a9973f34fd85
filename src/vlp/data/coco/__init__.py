"""COCO's annotation files: captions, questions, instances and referring expressions, and their masks."""
