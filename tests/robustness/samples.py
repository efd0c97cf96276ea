"""Models that others are made from by mutation."""

from tests.models import hostile, zoo
from tests.robustness import corpus

_LARGEST_BYTES = 20_000
_KINDS = (
    zoo.mlp, zoo.forest, zoo.strings, zoo.tokens, zoo.strict_columns, zoo.old_style, zoo.cnn, zoo.linear, zoo.dense,
    zoo.transformer, zoo.folded_attention, zoo.vit, zoo.lstm_batch_first, zoo.lstm_time_first, zoo.gru_time_first,
    zoo.two_by_two, zoo.batch_mean, zoo.batch_softmax, zoo.scalar_side, zoo.boosted, zoo.resized,
)  # fmt: skip


def taken():
    """Every kind of the zoo, and models that do harm for some inputs."""
    harmful = [made()[0] for made in (hostile.endless, hostile.endless_when_asked, hostile.killer)]
    harmful += [hostile.memory_bomb(op)[0] for op in ("ConstantOfShape", "Expand")]
    return [*(kind() for kind in _KINDS), *harmful]


def late_refused():
    """Of the corpus, what takes more than a look."""
    late = (held for held in corpus.ALL if held.row in (5, 11, 17) or held.name.startswith("nested beyond the"))
    return [held.make() for held in late]


def refused():
    """The corpus, but for its large files."""
    made = (held.make() for held in corpus.ALL if "limit" not in held.name)
    return [data for data in made if 0 < len(data) < _LARGEST_BYTES]
