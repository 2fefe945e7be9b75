"""Published weights by name: from the Hugging Face hub into the cache that all its libraries share.

huggingface_hub does the work (`pip install "swin-twice[hub]"`); it is imported only when needed. Its settings apply:
HF_ENDPOINT for a mirror, HF_HUB_CACHE for the cache, HF_HUB_OFFLINE=1, and the token of `hf auth login`.
"""

import errno
import hashlib
import re
import sys
import warnings
from pathlib import Path

from .check import listed, printable
from .files import IN_FOLDER, SUFFIXES
from .published import PUBLISHED

SETTINGS = ("config.json", "preprocessor_config.json")
_CACHE_CANT = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
_LONGEST = 1500


class HubError(OSError):
    """Weights that are neither in the cache nor to be had from the hub. One line: what came, and what to do."""

    def __init__(self, message):
        super().__init__(printable(" ".join(str(message).split()))[:_LONGEST])


def fetch(name, revision=None, cache_dir=None, local_files_only=False):
    """The folder that holds a published model's weights and settings, downloaded if need be → Path.

    name              a key of PUBLISHED, "owner/repository" on the hub, or a folder or file, which comes back as it is
    revision          branch, tag or commit; None: main
    cache_dir         None: huggingface_hub's, ~/.cache/huggingface/hub
    local_files_only  True: no network
    raises            ValueError for a name that is none of these; HubError
    warns             UserWarning where the hub can't be reached and what the cache has is used instead

    One file of weights is downloaded (or its shards), safetensors where the repository has it, and compared with the
    checksum that the hub gives.
    """
    if name in PUBLISHED:
        repo = PUBLISHED[name].repo
    elif Path(name).exists():
        return Path(name)
    elif re.fullmatch(r"[^/\s]+/[^/\s]+", repo := str(name)) is None:
        raise ValueError(f"{name!r}: expected a folder, owner/repository on the hub, or one of: {', '.join(PUBLISHED)}")
    try:
        import huggingface_hub as hub
        from huggingface_hub import constants, errors, utils  # noqa: F401, for hub.constants and so on
    except ImportError as error:
        raise HubError('it needs huggingface_hub: pip install "swin-twice[hub]"; or pass a folder') from error
    place = {"repo_id": repo, "revision": revision, "cache_dir": cache_dir}
    try:
        return _in_cache(hub, **place) if local_files_only else _download(hub, **place)
    except HubError:
        raise
    except Exception as error:  # what the connection, the server and the disk can do to it is of many types
        if refusal := _refusal(hub, error, repo, revision, cache_dir):
            raise HubError(f"{repo}: {refusal}") from error
        return _instead(hub, error, place, local_files_only)


def _download(hub, repo_id, revision, cache_dir):
    timeout = hub.constants.HF_HUB_ETAG_TIMEOUT
    info = hub.HfApi().model_info(repo_id, revision=revision, files_metadata=True, timeout=timeout)
    files = {file.rfilename: file for file in info.siblings}
    wanted = _wanted(repo_id, files)
    cached = {name: hub.try_to_load_from_cache(repo_id, name, cache_dir, info.sha) for name in wanted}
    missing = [name for name in wanted if not isinstance(cached[name], str)]
    if not missing:  # this records that `revision` is this commit, for when there is no network
        return Path(hub.hf_hub_download(repo_id, wanted[0], revision=revision, cache_dir=cache_dir)).parent
    megabytes = sum(files[name].size or 0 for name in missing) / 1e6
    if not hub.utils.are_progress_bars_disabled():
        print(
            f"{repo_id}: downloading {megabytes:,.1f} MB to {cache_dir or hub.constants.HF_HUB_CACHE}", file=sys.stderr
        )
    folder = hub.snapshot_download(repo_id, revision=revision, cache_dir=cache_dir, allow_patterns=wanted)
    if Path(folder).name != info.sha:  # somebody uploaded something just now
        return _download(hub, repo_id, revision, cache_dir)
    for name in missing:
        if files[name].lfs is not None:
            _check_sum(repo_id, Path(folder) / name, files[name].lfs.sha256)
    return Path(folder)


def _wanted(repo, names):
    """The settings, and the weights in one format."""
    settings = [name for name in names if name in SETTINGS]
    for weights in IN_FOLDER:
        if weights in names:
            stem, _, suffix = weights.removesuffix(".index.json").partition(".")
            shards = [name for name in names if re.fullmatch(rf"{stem}-\d+-of-\d+\.{suffix}", name)]
            return settings + [weights] + (shards if weights.endswith(".index.json") else [])
    lone = [name for name in names if "/" not in name and name.endswith(SUFFIXES)]
    lone = [name for name in lone if name.endswith(".safetensors")] or lone
    if len(lone) != 1:
        kinds = f"several: {listed(sorted(lone))}. Download one and pass its path" if lone else f"no {IN_FOLDER[0]}"
        raise HubError(f"{repo}: expected one file of weights, found {kinds}")
    return settings + lone


def _check_sum(repo, path, expected):
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == expected:
            return
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    raise HubError(f"{repo}: {path.name} came with another checksum than the hub's, and was deleted; try again")


def _in_cache(hub, repo_id, revision, cache_dir):
    folder = hub.snapshot_download(
        repo_id, revision=revision, cache_dir=cache_dir, local_files_only=True, allow_patterns=list(SETTINGS)
    )
    if not any(path.name.endswith((*SUFFIXES, ".index.json")) for path in Path(folder).iterdir()):
        raise FileNotFoundError(f"{folder} holds no weights")
    return Path(folder)


def _refusal(hub, error, repo, revision, cache_dir):
    """What the hub or the disk says no to, in words; "" where the cache may help."""
    if isinstance(error, hub.errors.GatedRepoError):
        return f"gated: accept its terms at {hub.constants.ENDPOINT}/{repo}, then log in with `hf auth login`"
    if isinstance(error, hub.errors.RepositoryNotFoundError):
        return "no such repository, or a private one: check the name; a private one needs `hf auth login`"
    if isinstance(error, hub.errors.RevisionNotFoundError):
        return f"it has no revision {revision!r}"
    if isinstance(error, hub.errors.HFValidationError):
        return f"not a name of the hub's: {error}"
    if getattr(error, "errno", None) in _CACHE_CANT:
        cache = cache_dir or hub.constants.HF_HUB_CACHE
        where = f"{error.filename or cache}: {error.strerror}"
        return f"{where}; the cache is {cache}: pass another cache_dir or set HF_HUB_CACHE"
    return ""


def _instead(hub, error, place, on_purpose):
    """What the cache has, where the hub couldn't be reached. Raises HubError that says what to do if it has nothing."""
    repo, cache = place["repo_id"], place["cache_dir"] or hub.constants.HF_HUB_CACHE
    on_purpose = on_purpose or isinstance(error, hub.errors.OfflineModeIsEnabled)
    reason = "offline, as asked" if on_purpose else f"it couldn't be fetched ({_brief(error)})"
    try:
        folder = _in_cache(hub, **place)
    except Exception as nothing:
        files = f"{SETTINGS[0]} and {IN_FOLDER[0]} of {hub.constants.ENDPOINT}/{repo}"
        raise HubError(
            f"{repo}: {reason}, and the cache {cache} lacks it: try again online, pass the cache_dir that has it, "
            f"or put {files} in a folder and pass its path"
        ) from nothing
    if not on_purpose:
        warnings.warn(f"{repo}: {reason}; the cache's copy is used, revision {folder.name[:7]}", stacklevel=4)
    return folder


def _brief(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
