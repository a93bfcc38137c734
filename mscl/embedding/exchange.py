"""Encoders given to others and got from them: a folder, or a repository on the Hugging Face hub, with a page."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from mscl.embedding.export import export_encoder
from mscl.embedding.export_formats import ENDINGS
from mscl.errors import CheckpointError, UserError, one_line
from mscl.models.files import EXPORT_NAME
from mscl.models.hub import hub_folder, hub_library, is_hub_name, repository
from mscl.models.weight_files import read_safetensors
from storage.atomic import digest_file, publish, staged_path, write_atomic
from storage.user_paths import user_path
from storage.workspace import Workspace

PAGE_NAME = "README.md"


def push_encoder(source: str, place: str, *, workspace: Workspace, public: bool = False) -> str:
    """Put an encoder into a folder or, as `hub:owner/name`, on the hub; returns what was done.

    Args:
        source: as in `export_encoder`.
        place: a folder, which is made if it is absent, or a name on the hub.
        public: whether a repository that is new is for everybody.

    Raises:
        UserError: the folder has an encoder or a page already; no name of the hub; `huggingface_hub` is not installed.
        CheckpointError: the encoder cannot be read, or the hub does not take it.
    """
    if not is_hub_name(place):
        folder = user_path(place)
        if (folder / PAGE_NAME).exists():
            raise _in_the_way(folder / PAGE_NAME)
        _write(source, folder, workspace)
        return f"wrote {folder / EXPORT_NAME} and {PAGE_NAME}; read it with pretrain.encoder={place}"
    repo, revision = repository(place)
    library = hub_library(place)
    with tempfile.TemporaryDirectory(prefix="mscl-push-") as folder_name:
        _write(source, Path(folder_name), workspace)
        try:
            address = library.create_repo(repo, private=not public, exist_ok=True)
            library.upload_folder(
                repo_id=repo, folder_path=folder_name, revision=revision, commit_message="Push an encoder of mscl"
            )
        except Exception as error:  # whatever the library and its HTTP client raise
            raise CheckpointError(
                f"{place} did not take the encoder: {one_line(error)}; check the name, the network and HF_TOKEN"
            ) from error
    return f"pushed to {address}; read it with pretrain.encoder={place}"


def pull_encoder(place: str, out: Path) -> Path:
    """Copy the encoder of a folder or of the hub to `out`, checked against its digest; returns `out`.

    Raises:
        UserError: `out` is there already, or has another ending.
        CheckpointError: no encoder of `mscl push` there, a hub that does not answer, or a file that is damaged.
    """
    if out.exists():
        raise UserError(f"{out} is there already; give another name, or remove it")
    if out.suffix != ENDINGS["safetensors"]:
        raise UserError(f"{out} is to be a file that ends in {ENDINGS['safetensors']}; give a name that ends so")
    path = (hub_folder(place) if is_hub_name(place) else user_path(place)) / EXPORT_NAME
    if not path.is_file():
        raise CheckpointError(f"{place} has no {EXPORT_NAME}; give a place that `mscl push` wrote")
    read_safetensors(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, path.read_bytes())
    return out


def _write(source: str, folder: Path, workspace: Workspace) -> None:
    """The encoder, then its page; of a push that was killed between them the same one writes the page.

    Raises:
        UserError: another encoder is there.
    """
    existed, final = folder.exists(), folder / EXPORT_NAME
    folder.mkdir(parents=True, exist_ok=True)
    staged = staged_path(final)
    try:
        staged.unlink(missing_ok=True)  # in containers a killed process may have had the number of this one
        export_encoder(source, staged, workspace=workspace)
        if final.exists() and digest_file(final) != digest_file(staged):
            raise _in_the_way(final)
        _, card = read_safetensors(staged)
        publish(staged, final)
        write_atomic(folder / PAGE_NAME, page(card).encode())
    except BaseException:
        staged.unlink(missing_ok=True)
        if not existed:
            shutil.rmtree(folder)
        raise


def _in_the_way(path: Path) -> UserError:
    return UserError(f"{path} is there already; give another folder, or remove it")


def page(card: dict[str, Any]) -> str:
    """The page of an encoder, in Markdown, as the hub shows it."""
    titles = {
        "encoder_input": "What its videos go through", "contract": "Which clips it takes", "scores": "Scores",
        "lineage": "What it was made from", "recipe": "Settings of its training",
    }  # fmt: skip
    parts = [
        "---\nlibrary_name: mscl-pipeline\npipeline_tag: video-classification\ntags: [video, motion]\n---",
        f"# A video encoder\n\n{card['tensor']}; {card['feature_dim']} features a clip.",
        f'```python\nimport mscl\n\nencoder = mscl.load_encoder("{EXPORT_NAME}")\n'
        'features = mscl.embed(["video.mp4"], encoder).features_ND\n```',
        *(
            f"## {titles[name]}\n\n```json\n{json.dumps(said, indent=1)}\n```"
            for name in titles
            if (said := card.get(name))
        ),
    ]
    return "\n\n".join(parts) + "\n"
