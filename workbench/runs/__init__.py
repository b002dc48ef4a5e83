"""What happened: progress while it runs, fingerprints, manifests, and the folders that keep them."""

from workbench.runs.files import cache_root, read_json, runs_root, write_figure, write_json, write_text, writing
from workbench.runs.fingerprint import digest_file, digest_json, digest_tensors, remembered_digest, versions
from workbench.runs.folder import RunFolder, list_runs
from workbench.runs.manifest import RunManifest
from workbench.runs.progress import note, reporting, track
from workbench.runs.reporters import Silent, stderr_reporter

__all__ = [
    "RunFolder",
    "RunManifest",
    "Silent",
    "cache_root",
    "digest_file",
    "digest_json",
    "digest_tensors",
    "list_runs",
    "note",
    "read_json",
    "remembered_digest",
    "reporting",
    "runs_root",
    "stderr_reporter",
    "track",
    "versions",
    "write_figure",
    "write_json",
    "write_text",
    "writing",
]
