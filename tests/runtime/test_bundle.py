"""A bundle is read whole or refused, and the refusal names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.bundles import write_toy_bundle
from vlp.runtime.bundle import BundleError, read
from vlp.runtime.choice import exact

EXACT = "matching/score.npz"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    write_toy_bundle(root / "bundle", root / "work")
    return root / "bundle"


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def edit_manifest(bundle: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text())
    edit(manifest)
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def test_a_bundle_says_what_it_holds(bundle: Path) -> None:
    found = read(bundle)
    assert found.tasks["matching"].decision == {"threshold": 0.5}
    image = found.tasks["matching"].parts["image"].inputs[0]
    assert (image.name, image.type, image.shape) == ("images", "uint8", ("images", 16, 16, 3))
    assert found.params["image"] == {"size": 16}
    assert set(found.files) == {
        "lineage.json",
        "matching/image.onnx",
        "matching/score.onnx",
        "metrics.json",
        "params.json",
        "tokenizer/tokenizer.json",
    }


@pytest.mark.parametrize("name", ["bundle.json", "matching/score.onnx", "tokenizer/tokenizer.json", "params.json"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: missing"):
        read(bundle)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere: no such folder"):
        read(tmp_path / "nowhere")


def test_a_cut_file_is_named_even_without_hashing(bundle: Path) -> None:
    path = bundle / "matching/image.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"image.onnx: \d+ bytes, \d+ expected"):
        read(bundle, verify=False)


def test_one_flipped_bit_is_found(bundle: Path) -> None:
    path = bundle / "matching/image.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    read(bundle, verify=False)
    with pytest.raises(BundleError, match=r"image\.onnx: damaged"):
        read(bundle)


def test_a_bundle_of_another_format_is_refused(bundle: Path) -> None:
    edit_manifest(bundle, lambda manifest: manifest.update(format=2))
    with pytest.raises(BundleError, match="format 2, this version reads 1"):
        read(bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname"])
def test_a_file_outside_the_bundle_is_refused(bundle: Path, name: str) -> None:
    edit_manifest(bundle, lambda manifest: manifest["files"].update({name: {"bytes": 1, "sha256": ""}}))
    with pytest.raises(BundleError, match="lies outside the bundle"):
        read(bundle)


def test_a_graph_that_the_table_does_not_vouch_for_is_refused(bundle: Path) -> None:
    edit_manifest(bundle, lambda manifest: manifest["files"].pop("matching/score.onnx"))
    with pytest.raises(BundleError, match=r"matching/score.onnx is not in its table"):
        read(bundle)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 1, "files": [], "tasks": {}}', "\xff"])
def test_a_manifest_that_is_none_is_refused(bundle: Path, text: str) -> None:
    (bundle / "bundle.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match=r"bundle\.json"):
        read(bundle)


def test_outputs_in_32_bits_are_read_and_vouched_for_as_graphs_are(bundle: Path) -> None:
    plain = read(bundle)
    assert exact(plain, plain.tasks["matching"].parts["score"]) is None
    np.savez(bundle / "matching" / "score.npz", logit=np.array([1.5, -2.0], np.float32))
    edit_manifest(bundle, lambda manifest: manifest["tasks"]["matching"]["parts"]["score"].update(exact=EXACT))
    with pytest.raises(BundleError, match=r"matching/score\.npz is not in its table"):
        read(bundle)
    size = (bundle / EXACT).stat().st_size
    edit_manifest(bundle, lambda manifest: manifest["files"].update({EXACT: {"bytes": size, "sha256": ""}}))
    found = read(bundle, verify=False)
    assert [array.tolist() for array in exact(found, found.tasks["matching"].parts["score"]) or []] == [[1.5, -2.0]]
    for spoilt in (b"no archive", b""):
        (bundle / EXACT).write_bytes(spoilt)
        with pytest.raises(BundleError, match=r"score\.npz: not the outputs of matching/score\.onnx"):
            exact(found, found.tasks["matching"].parts["score"])
    np.savez(bundle / EXACT, other=np.zeros(2))
    with pytest.raises(BundleError, match=r"score\.npz: not the outputs of matching/score\.onnx"):
        exact(found, found.tasks["matching"].parts["score"])
