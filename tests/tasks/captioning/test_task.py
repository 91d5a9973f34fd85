"""Captioning on a few real scenes: it learns, it looks, and neither batch nor padding changes what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from support import models, scenes
from vlp.data.loading import Plans, Prepared, loader, pad
from vlp.params import parse
from vlp.tasks.captioning import Params, Task
from vlp.tasks.captioning.task import DecodingParams
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit

SIZES = {"hidden": 32, "layers": 2, "heads": 2, "intermediate": 64}
CONTRACT = ("cider", "bleu4", "faithful_share")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 60))


def task(prepared: Prepared, steps: int = 1, decoder: dict[str, Any] | None = None, **more: Any) -> Task:
    seed_everything(0)
    section = {
        "training": models.recipe(steps).model_dump(mode="json"),
        "captions_per_image": 4,
        "decoder": SIZES if decoder is None else decoder,
        "evaluation_batch_size": 4,
        **more,
    }
    return Task(parse(Params, section, "tasks.captioning"), models.model(prepared), prepared).eval()


def train(made: Task, prepared: Prepared, steps: int) -> list[dict[str, float]]:
    split = prepared.split("train")
    history = fit(made, loader(split, made.collate, Plans(len(split), 8, steps, 0), seed=0), made.params.training)
    made.calibrate(prepared.split("validation"), seed=0)
    return history.rows


@pytest.fixture(scope="module")
def trained(prepared: Prepared) -> Task:
    made = task(prepared, 60)
    rows = train(made, prepared, 60)
    assert rows[-1]["captioning_loss"] < rows[0]["captioning_loss"] - 1.0
    return made.eval()  # in training mode an image's features depend on its batch


def grids(made: Task, prepared: Prepared, rows: range) -> torch.Tensor:
    with torch.no_grad():
        return made.model.image_encoder(prepared.split("train").images(rows)).tokens


def test_kinds_that_are_left_out_are_not_learnt_unless_an_image_has_no_others(prepared: Prepared) -> None:
    made, split = task(prepared, leave_out=("negation", "count")), prepared.split("train")
    for row in range(len(split)):
        entries = split.values("captions", row)
        others = [entry["ids"] for entry in entries if entry["kind"] not in ("negation", "count")]
        assert [ids.tolist() for ids in made._learnt(split, row)] == others and others
    every = tuple({str(entry["kind"]) for row in range(len(split)) for entry in split.values("captions", row)})
    assert len(task(prepared, leave_out=every)._learnt(split, 0)) == len(split.values("captions", 0))


def test_a_kind_that_the_data_lacks_is_refused_before_training(prepared: Prepared, tmp_path: Path) -> None:
    train = prepared.split("train")
    task(prepared, leave_out=("negation",)).prepare(train, seed=0)
    with pytest.raises(ValueError, match=r"leave_out: no caption .* kind 'negatoin'; did you mean 'negation'\?"):
        task(prepared, leave_out=("negatoin",)).prepare(train, seed=0)
    with pytest.raises(ValueError, match=r"kind 'zzz'; there is attribute, "):
        task(prepared, leave_out=("zzz",)).prepare(train, seed=0)
    nameless = Prepared(scenes.prepare(tmp_path, 10))
    made = task(nameless, leave_out=("negation",))
    for split in ("train", "validation", "test"):
        kinds, start = made._kinds_of(nameless.split(split))
        made._kinds[split] = (np.full(len(kinds), ""), start)
    made.prepare(nameless.split("train"), seed=0)  # as the parameters of other data ask for


def test_what_it_writes_is_said_in_the_words_of_the_data(trained: Task, prepared: Prepared) -> None:
    train = prepared.split("train")
    known = {
        word
        for row in range(len(train))
        for entry in train.values("captions", row)
        for word in str(entry["text"]).split()
    }
    written = trained.write(train)
    assert len(written) == len(train) and all(written)
    assert np.mean([word in known for text in written for word in text.split()]) > 0.9


def test_a_blanked_image_changes_what_is_said(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    texts = pad([np.array(test.ids("captions", "ids", row)[0]) for row in range(4)], range(4), prepared.pad_id)
    with torch.no_grad():
        images = test.images(range(4))
        seen, blank = (
            trained.decoder(trained.model.image_encoder(each).tokens, texts.input_ids, texts.image_index)
            for each in (images, torch.full_like(images, 128))
        )
    assert (seen - blank).abs().max() > 0.1
    assert len(set(trained.write(test, blank=True))) == 1


def test_batch_size_and_padding_do_not_change_a_logit(trained: Task, prepared: Prepared) -> None:
    ids = [np.array(prepared.split("train").ids("captions", "ids", row)[0]) for row in range(4)]
    grid = grids(trained, prepared, range(4))
    together = pad(ids, range(4), prepared.pad_id)
    with torch.no_grad():
        logits = trained.decoder(grid, together.input_ids, together.image_index)
        for row, each in enumerate(ids):
            alone = trained.decoder(grid[row : row + 1], torch.tensor(each[None].astype(np.int64)), torch.tensor([0]))
            torch.testing.assert_close(logits[row, : len(each)], alone[0], atol=1e-4, rtol=1e-4)


def test_an_image_is_described_alike_in_any_batch(trained: Task, prepared: Prepared) -> None:
    together = trained.generate(grids(trained, prepared, range(4)))
    for row in range(4):
        alone = trained.generate(grids(trained, prepared, range(row, row + 1)))[0]
        assert together[row, : len(alone)].tolist() == alone.tolist()
        assert set(together[row, len(alone) :].tolist()) <= {prepared.pad_id}


def test_its_words_are_as_likely_in_any_batch(trained: Task, prepared: Prepared) -> None:
    begin = torch.tensor([prepared.split("train").ids("captions", "ids", 0)[0][:1].tolist()] * 4)
    with torch.no_grad():
        together, _ = trained.decoder.begin(grids(trained, prepared, range(4)), begin)
        for row in range(4):
            alone, _ = trained.decoder.begin(grids(trained, prepared, range(row, row + 1)), begin[:1])
            torch.testing.assert_close(together[row], alone[0], atol=1e-4, rtol=1e-4)


def test_the_cache_gives_what_the_whole_text_gives(trained: Task, prepared: Prepared) -> None:
    ids = torch.tensor([prepared.split("train").ids("captions", "ids", row)[0][:5].tolist() for row in range(3)])
    grid = grids(trained, prepared, range(3))
    with torch.no_grad():
        whole = trained.decoder(grid, ids, torch.arange(3))
        logits, cache = trained.decoder.begin(grid, ids[:, :1])
        for place in range(5):
            torch.testing.assert_close(logits, whole[:, place], atol=1e-4, rtol=1e-4)
            if place < 4:
                logits, cache = trained.decoder.step(ids[:, place + 1 : place + 2], cache)


def test_beams_find_what_is_at_least_as_likely_and_sampling_varies_with_the_seed(
    trained: Task, prepared: Prepared
) -> None:
    grid = grids(trained, prepared, range(6))

    def likelihood(ids: torch.Tensor) -> float:
        begin = torch.full((len(ids), 1), trained.begin_id)
        with torch.no_grad():
            scores = trained.decoder(grid, torch.cat([begin, ids[:, :-1]], 1), torch.arange(len(ids))).log_softmax(-1)
        chosen = scores.gather(2, ids[..., None]).squeeze(2)
        return float((chosen * (ids != prepared.pad_id)).sum())

    greedy, beam = trained.generate(grid), trained.generate(grid, DecodingParams(strategy="beam", beams=4))
    assert likelihood(beam) >= likelihood(greedy) - 1e-3
    test, nucleus = prepared.split("test"), DecodingParams(strategy="nucleus")
    first = trained.write(test, decoding=nucleus, seed=1)
    assert first == trained.write(test, decoding=nucleus, seed=1) != trained.write(test, decoding=nucleus, seed=2)


def test_special_tokens_are_never_written(trained: Task, prepared: Prepared) -> None:
    found = trained.generate(grids(trained, prepared, range(8)), DecodingParams(strategy="nucleus", temperature=5.0))
    ended = (found == trained.end_id).cumsum(1) > 0
    assert not np.isin(found[~ended].numpy(), list(prepared.special_ids)).any()


def test_its_metrics_have_the_names_of_the_contract_and_baselines_beside(trained: Task, prepared: Prepared) -> None:
    found = trained.evaluate(prepared.split("test"), seed=0, resamples=100)
    for name in CONTRACT:
        low, high = found.metrics[f"{name}_ci95"]
        assert low <= found.metrics[name] <= high
        for other in ("nucleus", "blank", "nearest", "nearest_by_colour", "most_common"):
            low, high = found.metrics[f"{other}_{name}_ci95"]
            assert low <= found.metrics[f"{other}_{name}"] <= high
    assert len(found.predictions) == found.metrics["images"] == 9
    assert np.mean([row["faithful"] for row in found.predictions]) == found.metrics["faithful_share"]
    for cut in ("faithful_share_by_kind", "faithful_share_by_objects", "cider_by_objects", "cider_by_words"):
        assert sum(each["size"] for each in found.metrics[cut].values()) == 9


def test_what_is_saved_comes_back_and_says_the_same(trained: Task, prepared: Prepared, tmp_path: Path) -> None:
    trained.save(tmp_path)
    again, test = Task.load(tmp_path, prepared), prepared.split("test")
    assert again.write(test) == trained.write(test)
    assert again.decision == trained.decision
    assert trained.params.decoder.config is None


def test_an_image_without_a_caption_is_refused_by_name(tmp_path: Path) -> None:
    bare = Prepared(scenes.prepare(tmp_path, 10, captions=0))
    made = task(bare)
    with pytest.raises(ValueError, match=r"record 'scenes-000000' has no caption"):
        made.collate(bare.split("train"), [0], np.random.default_rng(0))
    with pytest.raises(ValueError, match="has no caption to compare with"):
        made.evaluate(bare.split("test"), seed=0, resamples=100)


def test_records_without_a_caption_are_counted_and_refused_before_training(tmp_path: Path) -> None:
    some = Prepared(scenes.prepare(tmp_path, 10, bare=2))
    with pytest.raises(ValueError, match=r"2 of 7 records of the split 'train' have no caption.*min_captions"):
        task(some).prepare(some.split("train"), seed=0)


def test_only_what_is_used_is_trained(prepared: Prepared) -> None:
    learning = {name.split(".")[0] for name, each in task(prepared).named_parameters() if each.requires_grad}
    assert learning == {"model", "decoder"}
    frozen = task(prepared, train_image_encoder=False)
    assert {name.split(".")[0] for name, each in frozen.named_parameters() if each.requires_grad} == {"decoder"}


@pytest.fixture(scope="module")
def published(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 as others save it: its own vocabulary, tied embeddings, no cross-attention."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("gpt2")
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 128}
    GPT2LMHeadModel(GPT2Config(vocab_size=77, bos_token_id=None, eos_token_id=None, **sizes)).save_pretrained(folder)
    return folder


def test_a_local_language_model_writes_with_the_image_as_prefix(
    prepared: Prepared, published: Path, tmp_path: Path
) -> None:
    made = task(prepared, 12, {"path": str(published), "look": "prefix", "new_vocabulary": True})
    made.warm_start({})
    own = GPT2LMHeadModel.from_pretrained(published)
    layer = made.decoder.language_model.transformer.h[0].mlp.c_fc.weight
    assert torch.equal(layer, own.transformer.h[0].mlp.c_fc.weight)
    rows = train(made, prepared, 12)
    assert rows[-1]["captioning_loss"] < rows[0]["captioning_loss"] - 0.1
    made.save(tmp_path)
    again, test = Task.load(tmp_path, prepared), prepared.split("test")
    assert again.write(test) == made.write(test)


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ({"look": "prefix"}, "a vocabulary of 77, but the data's tokenizer has"),
        ({"new_vocabulary": True}, "has no cross-attention; set look: prefix"),
    ],
)
def test_a_local_model_that_does_not_fit_is_refused(
    prepared: Prepared, published: Path, decoder: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        task(prepared, decoder={"path": str(published), **decoder})


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ({}, "hidden, layers, heads and intermediate, or path, are needed"),
        ({"path": "x", "hidden": 8}, "has its own sizes"),
        ({**SIZES, "heads": 3}, "not a multiple of heads"),
    ],
)
def test_sizes_that_make_no_decoder_are_refused(prepared: Prepared, decoder: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(prepared, decoder=decoder)


def test_an_encoder_that_is_not_trained_stays_as_it_is(prepared: Prepared) -> None:
    made = task(prepared, train_image_encoder=False)
    before = {name: value.clone() for name, value in made.model.image_encoder.state_dict().items()}
    train(made, prepared, 2)
    assert all(torch.equal(value, before[name]) for name, value in made.model.image_encoder.state_dict().items())
