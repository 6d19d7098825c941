"""Puts a folder of weights with its model card on the Hugging Face hub; only this module imports huggingface_hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ablate.core.errors import SpecError, missing_extra
from ablate.ingredients.other_cell import WEIGHTS

NEEDED = (WEIGHTS, "README.md")


def push(folder: Path, repository: str, private: bool = False) -> str:
    """Upload a folder that `export` or `convert` wrote; its address.

    Raises:
        SpecError: no such folder, no such name of a repository, no token, or `private` for a repository that is public.
        OSError: what the hub or the network refuses.
    """
    if absent := [name for name in NEEDED if not (folder / name).is_file()]:
        raise SpecError(
            f"{folder}: has no {absent[0]}: `export` and `convert` write folders that can be pushed"
        )
    if importlib.util.find_spec("huggingface_hub") is None:
        raise missing_extra("push", "huggingface")
    import huggingface_hub as hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise SpecError(f"{repository!r}: no name of a repository: {' '.join(str(error).split())}") from None
    if not (token := hub.get_token()):
        raise SpecError(
            "push needs a token of the hub with the right to write: set HF_TOKEN, or run `hf auth login`"
        )
    api = hub.HfApi(token=token, library_name="ablate")
    try:
        name = api.create_repo(repository, private=private, exist_ok=True).repo_id
        if private and not api.repo_info(name).private:
            raise SpecError(
                f"push --private: {name} exists and is public: name another one, or make it private"
            )
        commit = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message=f"Upload {folder.resolve().name}"
        )
    except HfHubHTTPError as error:
        raise OSError(f"{repository}: the hub refused: {' '.join(str(error).split())[:200]}") from None
    return str(commit.commit_url)
