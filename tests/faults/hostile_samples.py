"""What hostile_files.py tries: files that are meant to harm, sound ones, and mutants of these."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from mscl.config import ExperimentConfig
from mscl.finetune.classifier import Classifier, save_classifier
from mscl.models.config import ModelConfig
from mscl.models.encoders import untrained_encoder
from mscl.models.files import write_encoder
from mscl.models.weight_files import write_checkpoint
from tests.faults.in_process import command

TINY = ModelConfig(rgb_width=0.0625)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


def safetensors(header: bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def with_card(card: str) -> bytes:
    """A safetensors file with one tensor and any card."""
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    return safetensors(json.dumps({"__metadata__": {"card": card}, "a": tensor}).encode(), b"\0" * 4)


def whole_encoders(folder: Path) -> dict[str, Path]:
    """An export, and a checkpoint of this program, both sound."""
    encoder = untrained_encoder(TINY, seed=0)
    export = write_encoder(encoder, TINY, folder / "whole.safetensors", card={})
    model = {f"query_rgb.encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    state = {"format": 2, "step": 3, "model_config": TINY.model_dump_json(), "config": "{}", "model": model}
    write_checkpoint(folder / "whole.pt", state)
    return {"safetensors": export, "pt": folder / "whole.pt"}


def encoders(folder: Path, trace: Path) -> list[Path]:
    """Hostile files in the place of an encoder; `trace` is made where code of one runs."""
    whole = whole_encoders(folder)
    made: list[Path] = []

    def add(name: str, content: bytes) -> None:
        made.append(folder / name)
        made[-1].write_bytes(content)

    def saved(name: str, content: object, **how: Any) -> None:
        made.append(folder / name)
        torch.save(content, made[-1], **how)

    checkpoint, export = whole["pt"].read_bytes(), whole["safetensors"].read_bytes()
    state = torch.load(whole["pt"], weights_only=True)
    del state["mscl_digest"]
    model, weights = state["model_config"], state["model"]
    first = next(iter(weights))

    def changed(name: str, **values: Any) -> None:
        saved(f"{name}.pt", {**state, **values})

    add("empty.pt", b"")
    add("empty.safetensors", b"")
    add("text.pt", b"these are no weights\n" * 99)
    add("zeros.pt", b"\0" * 4096)
    add("pickle_bomb.pt", pickle.dumps(Bomb(trace)))
    add("pickle_bomb_in_dict.pt", pickle.dumps({"state_dict": Bomb(trace)}))
    saved("saved_bomb.pt", {"model": Bomb(trace)})
    saved("old_format_bomb.pt", {"model": Bomb(trace)}, _use_new_zipfile_serialization=False)
    saved("whole_network.pt", torch.nn.Linear(2, 2))
    saved("list.pt", [1, 2])
    saved("number.pt", 7)
    saved("text_object.pt", "text")
    saved("tensor.pt", torch.zeros(3))
    saved("no_keys.pt", {})
    saved("number_keys.pt", {1: torch.zeros(1)})
    saved("state_dict_is_a_list.pt", {"state_dict": [1]})
    saved("other_names.pt", {"a": torch.zeros(1)})
    saved("released_without_stem.pt", {"state_dict": {"recognizer.encoder_q.x": torch.zeros(1)}})
    saved("released_stem_is_text.pt", {"state_dict": {"recognizer.encoder_q.stem.0.weight": "x"}})
    huge = torch.zeros(1).expand(1 << 40)
    saved("released_stem_is_huge.pt", {"state_dict": {"recognizer.encoder_q.stem.0.weight": huge}})
    changed("settings_no_json", model_config="{")
    changed("settings_a_number", model_config=7)
    changed("settings_deep", model_config="[" * 100_000)
    changed("settings_long_number", model_config='{"rgb_width": ' + "9" * 5000 + "}")
    changed("settings_nan", model_config='{"rgb_width": NaN}')
    changed("settings_unknown_name", model_config='{"width": 1}')
    changed("settings_wide", model_config='{"rgb_width": 1e9}')
    changed("config_a_list", config="[]")
    changed("config_deep", config='{"a":' * 50_000)
    changed("config_nested_wrong", config='{"pretrain": {"augment": 3}}')
    changed("step_text", step="many")
    changed("step_nan", step=float("nan"))
    changed("step_inf", step=float("inf"))
    changed("model_a_list", model=[1])
    changed("model_of_text", model=dict.fromkeys(weights, "x"))
    changed("model_empty", model={})
    changed("model_nan", model={**weights, first: torch.full_like(weights[first], float("nan"))})
    changed("model_other_shape", model={**weights, first: weights[first][:1]})
    changed("model_whole_numbers", model={**weights, first: weights[first].int()})
    changed("model_complex", model={**weights, first: weights[first].to(torch.complex64)})
    changed("model_sparse", model={**weights, first: weights[first].to_sparse()})
    changed("input_no_json", encoder_input="{")
    changed("input_a_number", encoder_input=7)
    changed("no_step", model_config=model, step=None)
    for part in (1, 3, 30, 300, len(checkpoint) // 2, len(checkpoint) - 1):
        add(f"cut_at_{part}.pt", checkpoint[:part])
    for part in (1, 7, 8, 9, 300, len(export) - 1):
        add(f"cut_at_{part}.safetensors", export[:part])
    add("header_endless.safetensors", safetensors(b"{}", length=(1 << 63) - 1))
    add("header_longer_than_file.safetensors", safetensors(b"{}", length=1000))
    add("header_no_json.safetensors", safetensors(b"{{{{"))
    add("header_a_list.safetensors", safetensors(b"[]"))
    add("header_deep.safetensors", safetensors(b'{"a":' * 60_000))
    add("header_latin1.safetensors", safetensors('{"ä": 1}'.encode("latin-1")))
    add("header_empty.safetensors", safetensors(b"{}"))
    beyond = {"a": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 1 << 62]}}
    add("tensor_beyond_file.safetensors", safetensors(json.dumps(beyond).encode()))
    unknown = {"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}
    add("tensor_of_unknown_kind.safetensors", safetensors(json.dumps(unknown).encode(), b"\0" * 4))
    for name, card in {
        "list": "[]", "number": "7", "null": "null", "text": '"x"', "no_json": "{", "deep": "[" * 100_000,
        "long_number": '{"format": ' + "9" * 5000 + "}", "model_a_list": '{"model_config": []}',
        "model_unknown": '{"model_config": {"width": 1}}', "model_nan": '{"model_config": {"rgb_width": NaN}}',
        "classifier": '{"format": "mscl-classifier-1"}', "other_weights": '{"model_config": {}}', "nothing": "",
        "digest_gone": '{"mscl_digest": "none"}',
    }.items():  # fmt: skip
        add(f"card_{name}.safetensors", with_card(card))
    with zipfile.ZipFile(folder / "zip_of_text.pt", "w") as archive:
        archive.writestr("archive/data.pkl", "no pickle")
        archive.writestr("../../outside", "x")
    made.append(folder / "zip_of_text.pt")
    (folder / "folder.pt").mkdir()
    os.mkfifo(folder / "pipe.pt")
    (folder / "loop.pt").symlink_to("loop.pt")
    return [*made, folder / "folder.pt", folder / "pipe.pt", folder / "loop.pt", folder / "absent.pt"]


def presets(folder: Path, trace: Path) -> list[Path]:
    """Hostile configuration files."""
    contents: dict[str, bytes] = {
        "latin1": "data: {root: caf\xe9}".encode("latin-1"), "utf16": "clip: {length: 3}".encode("utf-16"),
        "zero_byte": b"data: {root: a\0b}", "list": b"- 1", "number": b"7", "own_base": b"base: own_base.yaml",
        "base_of_base": b"base: base_of_base2.yaml", "base_of_base2": b"base: base_of_base.yaml",
        "base_list": b"base: [demo]", "base_absent": b"base: absent.yaml", "base_overlay": b"base: knn",
        "deep": b"[" * 50_000, "deep_braces": b"{a: " * 5_000,
        "deep_block": b"".join(b" " * i + b"a:\n" for i in range(900)),
        "long_number": b"pretrain: {epochs: " + b"9" * 5000 + b"}",
        "long_hex": b"pretrain: {epochs: 0x" + b"f" * 5000 + b"}", "alias_of_itself": b"pretrain: &a {loss: *a}",
        "aliases": b"a: &a [" + b"x," * 99 + b"x]\nb: &b [" + b"*a," * 99 + b"*a]\ndata: [" + b"*b," * 99 + b"*b]",
        "python_call": f"data: {{root: !!python/object/apply:os.system ['touch {trace}']}}".encode(),
        "python_name": b"data: {root: !!python/name:os.system }", "unknown_tag": b"data: {root: !x y}",
        "twice": b"clip: {length: 1}\nclip: {length: 2}", "nan": b"pretrain: {optim: {lr: .nan}}",
        "unknown": b"nothing: {of: this}", "unknown_inside": b"clip: {lenght: 3}", "negative": b"clip: {length: -1}",
        "text_for_number": b"clip: {length: many}", "null": b"clip: {length: }", "section_null": b"clip:",
        "yes_for_number": b"clip: {length: yes}", "huge": b"#" * (2 << 20), "escape": b'data: {format: "\\e]0;x\\a"}',
        "date": b"clip: {length: 2026-01-01}", "key_list": b"? [1, 2]\n: 3", "key_number": b"1: 2",
        "set": b"clip: !!set {a}",
        "binary": b"data: {root: !!binary ////}", "null_root": b"data: {root: ~}",
    }  # fmt: skip
    for name, content in contents.items():
        (folder / f"{name}.yaml").write_bytes(content)
    (folder / "folder.yaml").mkdir()
    return [folder / f"{name}.yaml" for name in (*contents, "folder", "absent")]


def lists(folder: Path) -> list[Path]:
    """Hostile lists over two videos a.mp4 and b.mp4; folders that hold `v` and a list."""
    contents: dict[str, bytes] = {
        "unicode_digits.txt": "a.mp4 ²\nb.mp4 ①\n".encode(), "arabic_digits.txt": "a.mp4 ٣\nb.mp4 1\n".encode(),
        "long_field.csv": b"a.mp4,x\nb.mp4," + b"y" * (200 << 10) + b"\n",
        "long_number.txt": b"a.mp4 " + b"9" * 5000 + b"\n",
        "quote_open.csv": b'a.mp4,"run\nb.mp4,walk\n', "zero_bytes.csv": b"a.mp4,x\0\nb.mp4,y\n",
        "deep.json": b"[" * 200_000, "number.json": b"7", "cut.json": b'{"a": {"subset": "tra',
        "leaves_root.txt": b"../../../etc/passwd 0\na.mp4 1\n", "all_missing.txt": b"x.mp4 0\ny.mp4 1\n",
        "both.txt": b"a.mp4 0\na.mp4 1\nb.mp4 1\n", "empty.txt": b"", "only_blanks.txt": b" \n\t\n",
        "latin1.txt": "caf\xe9.mp4 0\n".encode("latin-1"), "utf16.txt": "a.mp4 0\nb.mp4 1\n".encode("utf-16"),
        "binary.txt": bytes(range(256)) * 40,
    }  # fmt: skip
    made = []
    for name, content in contents.items():
        place = folder / name.replace(".", "_")
        (place / "v").mkdir(parents=True)
        for video in ("a.mp4", "b.mp4"):
            (place / "v" / video).write_bytes(b"no video")
        (place / name).write_bytes(content)
        made.append(place / name)
    return made


def mutate(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut or put in."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) or 1)
        how = rng.randrange(4)
        if how == 0:
            data[place : place + 1] = bytes([data[place] ^ 1 << rng.randrange(8)])
        elif how == 1:
            del data[place:]
        elif how == 2:
            data[place:place] = rng.randbytes(rng.randint(1, 9))
        else:
            del data[place : place + rng.randint(1, 50)]
        data = data or bytearray(b"x")
    return bytes(data)


def whole_presets(folder: Path) -> list[Path]:
    """Sound configuration files: every setting of a preset, and one over another."""
    code, everything, _ = command("config", "demo")
    assert code == 0
    (folder / "all.yaml").write_text(everything)
    (folder / "short.yaml").write_text("base: demo\ndata: {root: v, classes: [a, b]}\npretrain: {epochs: 3}\n")
    return [folder / "all.yaml", folder / "short.yaml"]


def whole_classifier(folder: Path) -> Path:
    """A sound classifier file."""
    encoder, config = untrained_encoder(TINY, seed=0), ExperimentConfig()
    save_classifier(
        folder / "classifier.safetensors", Classifier(encoder, 2, dropout=0.5), classes=("run", "walk"), model=TINY,
        finetune=config.finetune, encoder_input=config.finetune.test_input(config.flow.recipe, max_segment_seconds=10),
    )  # fmt: skip
    return folder / "classifier.safetensors"


def whole_list(folder: Path, rng: random.Random) -> Path:
    """One of several sound lists over two files a.mp4 and b.mp4 that are no videos."""
    contents = {
        "train.csv": '"a.mp4","the ""run"", fast"\r\n"b.mp4","walk"\r\n',
        "train.txt": "# mine\na.mp4 shaking hands\nb.mp4 running\n",
        "header.csv": "path;split;class\na.mp4;train;run\nb.mp4;test;walk\n",
        "kinetics.csv": '"label","youtube_id","time_start","time_end","split"\n"run","a","1","11","train"\n',
        "something-something-v2-train.json": '[{"id": "a", "label": "x", "template": "Moving [something]"}]',
    }
    (folder / "v").mkdir()
    for video in ("a.mp4", "b.mp4"):
        (folder / "v" / video).write_bytes(b"no video")
    name = rng.choice(sorted(contents))
    (folder / name).write_text(contents[name])
    return folder / name


def mutant(path: Path, rng: random.Random) -> Path:
    """The file with a few bytes changed."""
    content = path.read_bytes()
    while (changed := mutate(content, rng)) == content:
        pass
    path.write_bytes(changed)
    return path
