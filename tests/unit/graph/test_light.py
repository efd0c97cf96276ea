import numpy as np
import pytest

from assayd.graph.programs import programs_of
from tests.models import light
from tests.models.params import LIGHT
from tests.models.run import session


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_model_answers_like_a_network_and_opens(name):
    model = light.light_model(name)
    programs = programs_of(model)
    assert programs.opened is not None, programs.reason
    (source,) = programs.signature.inputs
    assert (source.shape, source.batch_axis, source.batch_extent) == ((3, 224, 224), 0, 1)

    pictures = light.images(3, seed=7)
    plain = session(programs.plain)
    alone = np.concatenate([plain.run(None, {source.name: picture[None]})[0] for picture in pictures])
    del plain
    together = session(programs.opened).run(None, {source.name: pictures})[0]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5 * np.abs(alone).max())

    scores = alone.reshape(3, -1)
    spread = np.ptp(scores, axis=0).max()
    assert spread > 0.2 * scores.max()  # answers differ between pictures
    assert scores.max() < 0.9 or name == "densenet121"  # no saturated softmax; densenet121 ends in logits
    assert scores.max() < 20


def test_the_batch_mean_makes_rows_interact():
    programs = programs_of(light.with_batch_mean_subtracted(light.light_model("squeezenet")))
    assert programs.opened is programs.plain
    (source,) = programs.signature.inputs
    pictures = light.images(2, seed=7)
    run = session(programs.opened)
    together = run.run(None, {source.name: pictures})[0]
    alone = run.run(None, {source.name: pictures[:1]})[0]
    assert np.abs(together[:1] - alone).max() > 0.01 * np.abs(alone).max()
