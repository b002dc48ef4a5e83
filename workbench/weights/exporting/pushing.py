"""An export goes to the Hugging Face hub: only when it is asked for by name, and only after its certificate."""

from pathlib import Path

from workbench.errors import RunError, UsageError


def require_pushable(repository: str) -> None:
    """Raise UsageError, before anything is written, where `repository` is no name or the hub is switched off."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise UsageError(f"{repository!r} is no name of a repository; write OWNER/NAME.") from None
    if constants.HF_HUB_OFFLINE:
        raise UsageError("HF_HUB_OFFLINE is set, so that nothing can be uploaded; leave --push out, or unset it.")


def push_folder(folder: Path, repository: str) -> str:
    """Upload `folder` to a repository, which is made private where it is not there yet; returns its address.

    Raises RunError where the hub cannot be reached or refuses; the folder stays where it is.
    """
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi()
    try:
        address = hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export with its certificate")
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise RunError(
            f"The export is whole and in {folder}, but {repository} could not be reached or refused it ({reason}); log "
            f"in with `hf auth login`, then: hf upload {repository} {folder}"
        ) from error
    return str(address)
