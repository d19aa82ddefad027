"""Revisions of data sets on the hub: noticed, remembered, and unknown offline."""

from types import SimpleNamespace

import datasets
import huggingface_hub
import numpy as np
import pytest

from convsmith.data.dataset import load
from convsmith.system.folders import cache_folder
from helpers.sources import config, png


class Hub:
    """A hub with one data set, of which each revision has another brightness."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.revision: str | None = "a" * 40
        # The revision in the cache of `datasets`, which is what it reads offline.
        self.downloaded = self.revision
        self.reads: list[tuple[str | None, object]] = []
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", self.dataset_info)
        monkeypatch.setattr(datasets, "load_dataset", self.load_dataset)

    def dataset_info(self, hub_id: str, **_: object) -> SimpleNamespace:
        if self.revision is None:
            raise ConnectionError(f"Couldn't reach {hub_id!r}")
        return SimpleNamespace(sha=self.revision)

    def load_dataset(self, _: str, *, revision: str | None, download_mode: object) -> datasets.DatasetDict:
        self.reads.append((revision, download_mode))
        self.downloaded = revision or self.downloaded
        features = datasets.Features(
            {"img": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])}
        )
        shift = 10 * int(self.downloaded[0], 16)
        columns = {"img": [png(shift + i) for i in range(4)], "label": [0, 1] * 2}
        table = datasets.Dataset.from_dict(columns, features=features)
        return datasets.DatasetDict({"train": table, "test": table})

    def brightest(self, **values: bool) -> int:
        return int(np.asarray(load(config("somebody/pictures"), **values).train.images).max())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Hub:
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path_factory.mktemp("hub")))
    return Hub(monkeypatch)


def test_a_new_revision_is_noticed_and_read_once(hub: Hub) -> None:
    assert [hub.brightest(), hub.brightest()] == [103, 103]
    hub.revision = "b" * 40
    assert [hub.brightest(), hub.brightest()] == [113, 113]
    assert hub.reads == [("a" * 40, None), ("b" * 40, None)]


def test_offline_the_last_known_revision_is_used(hub: Hub) -> None:
    assert hub.brightest() == 103
    hub.revision = None
    assert hub.brightest() == 103
    assert len(hub.reads) == 1


def test_what_is_read_offline_is_not_taken_for_a_revision(hub: Hub) -> None:
    """Offline, the copy of `datasets` may have any revision: here an older one."""
    hub.revision = None
    assert hub.brightest() == 103
    hub.revision = "b" * 40
    assert hub.brightest() == 113
    hub.revision, hub.downloaded = None, "c" * 40
    assert hub.brightest() == 113
    assert hub.reads == [(None, None), ("b" * 40, None)]


def test_refresh_downloads_again(hub: Hub) -> None:
    hub.brightest()
    assert hub.brightest(refresh=True) == 103
    assert hub.reads[1] == ("a" * 40, datasets.DownloadMode.FORCE_REDOWNLOAD)


@pytest.mark.parametrize("text", ["", "[]", '{"hub_id": "other/set", "revision": "' + "a" * 40 + '"}'])
def test_a_damaged_record_of_the_revision_is_unknown(hub: Hub, text: str) -> None:
    hub.brightest()
    (record,) = (cache_folder() / "revisions").iterdir()
    record.write_text(text)
    hub.revision = None
    assert hub.brightest() == 103
    assert hub.reads == [("a" * 40, None), (None, None)]


def test_a_revision_that_is_no_commit_is_unknown(hub: Hub) -> None:
    hub.revision = "../../main"
    hub.downloaded = "a" * 40
    assert hub.brightest() == 103
    assert hub.reads == [(None, None)]
