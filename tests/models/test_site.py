"""Sites: a name for every place, and nothing else."""

import pytest

from workbench.errors import UsageError
from workbench.models import STREAMS, Site, Subject


@pytest.mark.parametrize("stream", STREAMS)
def test_every_stream_is_a_hook_of_every_architecture(tiny: Subject, stream: str) -> None:
    point = Site(0, stream).hook_point(tiny.bridge)
    assert any(point is hook for hook in tiny.bridge.hook_dict.values())


def test_a_site_reads_back_what_it_writes() -> None:
    site = Site(12, "attn_out")
    assert Site.parse(str(site)) == site


@pytest.mark.parametrize("text", ["12", "12.nowhere", "resid_pre", "-1.resid_pre", "3.embed", ""])
def test_what_is_not_a_site_is_an_error(text: str) -> None:
    with pytest.raises(UsageError):
        Site.parse(text)


def test_a_layer_that_is_not_there_is_an_error(llama: Subject) -> None:
    with pytest.raises(UsageError, match=r"No site 31.resid_pre in llama; it has layers 0-2"):
        llama.check_site(Site(31, "resid_pre"))
