"""The sample pictures of the service's page, drawn by the embedded data set's own renderer, with things to say of them.

    python scripts/samples.py        # writes service/samples/

They are the first scenes of a stream of their own, in order: no training, validation or test picture is among them,
and none was picked by how well a model does on it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

from vlp.data.scenes.captions import KindMix, captions
from vlp.data.scenes.codec import jpeg
from vlp.data.scenes.questions import questions, regions
from vlp.data.scenes.render import render
from vlp.data.scenes.world import sample, stream

OUT = Path("service/samples")
COUNT, SIDE, SEED, QUALITY = 24, 288, 11, 85
SOURCE = "Drawn by the embedded data set's renderer (scripts/samples.py); Apache-2.0, as this project."


def main(out: Path = OUT) -> None:
    """Draw the pictures and write their index."""
    out.mkdir(parents=True, exist_ok=True)
    entries = []
    for index in range(COUNT):
        scene = sample(stream(SEED, index, "sample"), SIDE)
        name = f"{index + 1:02d}.jpg"
        (out / name).write_bytes(jpeg(Image.fromarray(render(scene)), QUALITY))
        told = captions(stream(SEED, index, "captions"), scene, 3, KindMix())
        asked = questions(stream(SEED, index, "questions"), scene, 3)
        shown = regions(stream(SEED, index, "regions"), scene, 2)
        things = ", ".join(f"{thing.size} {thing.colour} {thing.shape}" for thing in scene.things)
        entries.append(
            {
                "file": name,
                "alt": f"A drawn scene: {things}",
                # A true statement, then one that is false, in turn; what there is to see comes first.
                "texts": [
                    text
                    for caption in sorted(told, key=lambda one: one.kind != "attribute")
                    for text in (caption.text, caption.negative or "")
                    if text
                ],
                "questions": [question.text for question in asked],
                "expressions": [region.expression for region in shown],
            }
        )
    text = json.dumps({"source": SOURCE, "samples": entries}, indent=1, ensure_ascii=False)
    (out / "index.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
