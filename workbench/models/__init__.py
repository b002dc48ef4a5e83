"""Who is studied: the catalog, the one way to open a model, and the named places inside it."""

from workbench.models.batches import Batch, Layout, current_layout, needs_whole_rows, whole_rows
from workbench.models.catalog import CatalogEntry, find_entry
from workbench.models.chat import post_instruction_length, render, token_rows
from workbench.models.head import Head
from workbench.models.loading import open_model
from workbench.models.site import STREAMS, WRITERS, Site
from workbench.models.subject import Subject
from workbench.models.writers import Writer, matrices, writers, writers_of_folder

__all__ = [
    "STREAMS",
    "WRITERS",
    "Batch",
    "CatalogEntry",
    "Head",
    "Layout",
    "Site",
    "Subject",
    "Writer",
    "current_layout",
    "find_entry",
    "matrices",
    "needs_whole_rows",
    "open_model",
    "post_instruction_length",
    "render",
    "token_rows",
    "whole_rows",
    "writers",
    "writers_of_folder",
]
