# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Add Barlow Twins to a TFRS model
#
# You have a `tfrs.Model` that predicts the next item from a history. You know the next
# items of some users and the histories of many more. With Barlow Twins the query tower
# also learns from those. You can add the loss to yours, or pretrain with it first. This
# notebook shows what each adds to your code. It takes about two minutes on two CPU
# cores.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
# In Colab, upload this notebook (File, Upload notebook), and upload the wheel to the
# files of the session: `make package` writes it to `dist/`. Elsewhere, run the notebook
# in a checkout.

# %%
import importlib.util
import os
import pathlib
import subprocess
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TFRS needs Keras 2.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
if importlib.util.find_spec("tfrs_barlow") is None:
    wheels = [str(path) for path in pathlib.Path().glob("tfrs_barlow-*.whl")]
    command = [sys.executable, "-m", "pip", "install", "-q", *(wheels or [".."])]
    subprocess.run(command, check=True)

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_recommenders as tfrs

import tfrs_barlow as tfrsb

tf.get_logger().setLevel("ERROR")

# %% [markdown]
# ## 1. Data
#
# The synthetic log needs no network. Set `DATASET` to `"ml-latest-small"` or `"ml-1m"`
# to download MovieLens from GroupLens. We pretend to know the next items of one user in
# ten.

# %% tags=["parameters"]
DATASET = "synthetic"
NUM_USERS = 3_000  # Users of the synthetic log.
LABELED = 0.1  # The share of training users whose next items are known.
EPOCHS = 25  # An epoch has 20 steps.
PRETRAINING_STEPS = 400
LENGTH = 30

# %%
if DATASET == "synthetic":
    log = tfrsb.data.generate_synthetic_log(num_users=NUM_USERS)
else:
    log = tfrsb.data.load_movielens(DATASET)
sequences, vocabulary = tfrsb.data.build_sequences(log, min_length=5)
split = tfrsb.data.split_users(len(sequences))
everybody = sequences.select(split.train)
labeled = sequences.select(split.train[: round(LABELED * len(split.train))])
test_users = sequences.select(np.concatenate([split.validation, split.test]))

labels = tfrsb.data.training_batches(labeled, batch_size=128, length=LENGTH)
histories = tfrsb.data.training_batches(everybody, batch_size=256, length=LENGTH)
test = tf.data.Dataset.from_tensor_slices(
    {
        "history": test_users.without_last().to_dense(LENGTH),
        "label": test_users.item_from_end(1),
    }
).batch(256)
print(len(labeled), "users with next items,", len(everybody), "with histories")
labels.element_spec

# %% [markdown]
# ## 2. The model you have
#
# It is plain TFRS: an embedding and a GRU for the history, an embedding for the next
# item, and `tfrs.tasks.Retrieval`.


# %%
class NextItem(tfrs.Model):
    """Predicts the next item of a history."""

    def __init__(self):
        super().__init__()
        self.query_tower = tf.keras.Sequential(
            [
                tf.keras.layers.Embedding(vocabulary.size, 32, mask_zero=True),
                tf.keras.layers.GRU(64),
            ]
        )
        self.candidate_tower = tf.keras.layers.Embedding(vocabulary.size, 64)
        items = tf.data.Dataset.range(tfrsb.data.FIRST_ITEM_ID, vocabulary.size)
        self.task = tfrs.tasks.Retrieval(
            metrics=tfrs.metrics.FactorizedTopK(
                items.batch(256).map(self.candidate_tower), ks=(10, 100)
            )
        )

    def compute_loss(self, features, training=False):
        return self.task(
            self.query_tower(features["history"]),
            self.candidate_tower(features["label"]),
            compute_metrics=not training,
        )


TOP_10 = "val_factorized_top_k/top_10_categorical_accuracy"
TOP_100 = "val_factorized_top_k/top_100_categorical_accuracy"


def train(model, batches):
    model.compile(tf.keras.optimizers.Adam(3e-3))
    return model.fit(
        batches, epochs=EPOCHS, steps_per_epoch=20, validation_data=test, verbose=0
    ).history


tf.keras.utils.set_random_seed(0)
runs = {"your model": train(NextItem(), labels)}

# %% [markdown]
# ## 3. Together with your loss
#
# Add three things:
#
# 1. **Histories.** A batch gets a second column of histories, from users with or
#    without labels.
# 2. **A `BarlowTwinsPretraining` around your query tower.** It makes two views of each
#    history, and has the projector and the task. Its weights and metrics become those
#    of your model.
# 3. **A term in `compute_loss`.** `tfrs.tasks.Retrieval` *sums* its loss over the
#    batch, and Barlow Twins averages, so multiply the weight by the batch size.

# %%
both = tf.data.Dataset.zip((labels, histories)).map(
    lambda known, any_user: {**known, "others": any_user["history"]}  # 1
)


def pretraining(query_tower, column):
    return tfrsb.models.BarlowTwinsPretraining(
        query_tower,
        views=tfrsb.layers.TwoViews([tfrsb.layers.RandomDrop(0.5)]),
        projector=tfrsb.layers.Projector([128, 128]),
        task=tfrsb.tasks.BarlowTwinsTask(off_diagonal_weight=0.05, name="barlow"),
        history_column=column,
    )


class NextItemWithBarlowTwins(NextItem):
    """The same model, which also learns from histories without labels."""

    def __init__(self):
        super().__init__()
        self.barlow_twins = pretraining(self.query_tower, "others")  # 2

    def compute_loss(self, features, training=False):
        loss = super().compute_loss(features, training)
        if training:
            extra = self.barlow_twins.compute_loss(features, True)  # 3
            loss += 0.003 * 128 * extra
        return loss


tf.keras.utils.set_random_seed(0)
joint = train(NextItemWithBarlowTwins(), both)
runs["together with your loss"] = joint
pd.DataFrame(joint).filter(regex="^barlow/").iloc[[0, -1]].T.round(3)

# %% [markdown]
# `excess` should fall and `effective_rank` rise. If one of them does not move, the
# weight is too small. If your own metric gets worse, the weight is too large.
# `tfrsb.models.JointModel` does all this, if you do not need your own model.
#
# ## 4. Before your loss
#
# Pretrain the tower on histories alone, then train your model as usual. Your model does
# not change: `compile` and `fit` only start from other weights.

# %%
tf.keras.utils.set_random_seed(0)
model = NextItem()
pretrained = pretraining(model.query_tower, "history")
pretrained.compile(tf.keras.optimizers.Adam(3e-3))
pretrained.fit(histories, epochs=1, steps_per_epoch=PRETRAINING_STEPS, verbose=0)
runs["before your loss"] = train(model, labels)

# %% [markdown]
# In two programs, call `pretrained.save_weights(path)` in the first and
# `tfrsb.models.warm_start(model.query_tower, path)` in the second.
# `tfrsb.optimizers.discriminative` gives the pretrained tower a separate learning rate.
#
# ## 5. Results

# %%
figure, panels = plt.subplots(1, 2, figsize=(9.5, 3.3), layout="constrained")
for axes, (metric, k) in zip(panels, ((TOP_10, 10), (TOP_100, 100)), strict=True):
    for name, history in runs.items():
        axes.plot(np.arange(1, EPOCHS + 1), history[metric], label=name)
    axes.axhline(k / len(vocabulary), color="k", ls=":", label="chance")
    axes.set(title=f"next item among the best {k}", xlabel="epoch", ylim=(0, None))
panels[0].legend(fontsize=8)
plt.show()
pd.DataFrame(
    {
        name: {"best top 10": max(run[TOP_10]), "best top 100": max(run[TOP_100])}
        for name, run in runs.items()
    }
).T.round(3)

# %% [markdown]
# Both ways do better with the same labels. This is an illustration, not a result: it
# has one seed of a synthetic log, picks the best epoch on the test users, and uses a
# weight found by trial. Ten times that weight made the model worse. With your data,
# choose weight and epoch on validation users.
#
# ## Where to go from here
#
# - `docs/existing_pipelines.md`: the same for TFRS's own tutorials, line by line. Views
#   need integers with 0 as padding: with a `StringLookup`, make them after the lookup
#   and before the embedding.
# - `docs/study.md`: when it helps, on MovieLens and Yelp.
# - `serving.ipynb`: how to serve the trained towers.
