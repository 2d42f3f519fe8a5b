"""encoders["alias"]: built once a process, rebuilt when the setting changes, clear when wrong."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import ImproperlyConfigured

from cardigan_reco.encoders import Encoders, encoders
from cardigan_reco.encoders.dummy import DummyEncoder
from cardigan_reco.exceptions import EncoderError

DUMMY = "cardigan_reco.encoders.dummy.DummyEncoder"


class SlowEncoder(DummyEncoder):
    """Takes so long to build that threads meet."""

    built = 0

    def __init__(self) -> None:
        time.sleep(0.05)
        type(self).built += 1
        super().__init__(4)


def configure(settings, **entries):
    settings.CARDIGAN_RECO = {
        "ENCODERS": {
            alias: {"BACKEND": backend, "OPTIONS": options}
            for alias, (backend, options) in entries.items()
        }
    }


def test_an_alias_is_built_once_with_its_options(settings):
    configure(settings, default=(DUMMY, {"dimensions": 7}), copies=(DUMMY, {}))
    assert encoders["default"].dimensions == 7
    assert encoders["copies"].dimensions == 64
    assert encoders["default"] is encoders["default"]
    assert encoders.aliases() == ["default", "copies"]


def test_threads_share_one_encoder(settings):
    configure(settings, default=(f"{__name__}.SlowEncoder", {}))
    SlowEncoder.built = 0
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: id(encoders["default"]), range(32)))
    assert len(found) == SlowEncoder.built == 1


def test_the_setting_is_read_again_when_it_changes(settings):
    configure(settings, default=(DUMMY, {"dimensions": 7}))
    before = encoders["default"]
    configure(settings, default=(DUMMY, {"dimensions": 8}))
    assert encoders["default"].dimensions == 8
    assert before.dimensions == 7


def test_another_key_of_the_setting_keeps_the_encoders(settings):
    configure(settings, default=(DUMMY, {"dimensions": 7}))
    before = encoders["default"]
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "BATCH_SIZE": 5}
    assert encoders["default"] is before


def test_without_a_setting_the_bundled_network_is_the_default(settings):
    settings.CARDIGAN_RECO = {}
    assert encoders["default"].dimensions == 512


def test_an_unknown_alias_is_told_the_choices(settings):
    configure(settings, default=(DUMMY, {}), copies=(DUMMY, {}))
    with pytest.raises(ImproperlyConfigured) as caught:
        encoders["clipp"]
    assert str(caught.value) == (
        "Encoder 'clipp' is not defined in CARDIGAN_RECO['ENCODERS']. Choices are: default, copies."
    )


@pytest.mark.parametrize(
    ("backend", "options", "message"),
    [
        ("cardigan_reco.encoders.dummy.Dumy", {}, r"which can't be imported \(Module"),
        ("nowhere.Encoder", {}, "which can't be imported .*dotted path of an Encoder class"),
        ("dummy", {}, "which can't be imported"),
        ("collections.OrderedDict", {}, "which is no Encoder class. Derive it from"),
        ("cardigan_reco.encoders.base.fingerprint", {}, "which is no Encoder class"),
        (DUMMY, {"dimension": 3}, "unexpected keyword argument 'dimension'. Choices are: dimens"),
        (
            "cardigan_reco.encoders.torch.TorchEncoder",
            {"size": 1},
            "Choices are: weights, sha256, device, batch_size, threads.",
        ),
    ],
)
def test_a_wrong_entry_is_explained(settings, backend, options, message):
    configure(settings, default=(backend, options))
    with pytest.raises(ImproperlyConfigured, match=message):
        encoders["default"]


def test_a_value_that_the_backend_refuses_is_its_own_error(settings):
    configure(settings, default=(DUMMY, {"dimensions": 1}))
    with pytest.raises(EncoderError, match="Use 2 or more"):
        encoders["default"]


def test_a_failed_build_is_tried_again(settings, tmp_path):
    path = tmp_path / "later.safetensors"
    configure(settings, default=("cardigan_reco.encoders.torch.TorchEncoder", {"weights": path}))
    handler = Encoders()
    with pytest.raises(EncoderError, match="can't be read"):
        handler["default"]
    from cardigan_reco.encoders import bundle

    path.write_bytes(bundle.BUNDLED.read_bytes())
    assert handler["default"].dimensions == 512
