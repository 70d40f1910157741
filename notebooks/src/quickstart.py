# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Barlow Twins for recommenders, in ten minutes
#
# You have many histories of what users watched or bought, and few labels. This notebook
# trains a user encoder on the histories alone, looks at what it has learned, and serves
# it. It takes two to three minutes on two CPU cores.
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
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.manifold import TSNE

import tfrs_barlow as tfrsb

tf.get_logger().setLevel("ERROR")
tf.keras.utils.set_random_seed(0)

# %% [markdown]
# ## 1. Histories
#
# The synthetic log needs no network. Set `DATASET` to `"ml-1m"` or `"ml-latest-small"`
# to download MovieLens from GroupLens. The numbers in the text are for the synthetic
# log.

# %% tags=["parameters"]
DATASET = "synthetic"
NUM_USERS = 3_000  # Users of the synthetic log.
EPOCHS = 12
STUDY_PASSES = 60.0  # How often a model of section 7 sees each user.
LENGTH = 50  # The most recent items of a history that the encoder reads.

# %%
if DATASET == "synthetic":
    log = tfrsb.data.generate_synthetic_log(num_users=NUM_USERS)
else:
    log = tfrsb.data.load_movielens(DATASET)
sequences, vocabulary = tfrsb.data.build_sequences(log, min_length=5)
train, validation, test = (
    sequences.select(users) for users in tfrsb.data.split_users(len(sequences))
)
titles = log.items.set_index("item_id")["title"]
print(log)

# %% [markdown]
# A history is a row of item ids, the oldest first. These are the latest items of one
# user:

# %%
last_items = train.to_dense(8)[:1]
log.items.set_index("item_id").loc[vocabulary.decode(last_items[0]).tolist()]

# %% [markdown]
# ## 2. Two views
#
# Barlow Twins damages every history twice, at random. Here each view keeps a piece of
# 60 % of the history and hides 30 % of that piece. The encoder must embed both views
# alike, so it must learn what the items of a user have in common.

# %%
views = tfrsb.layers.TwoViews(
    [tfrsb.layers.RandomCrop(0.6), tfrsb.layers.RandomMask(0.3)], seed=1
)


def names(ids):
    shown = {tfrsb.data.PADDING_ID: "", tfrsb.data.MASK_ID: "(hidden)"}
    return [
        shown.get(i) if i in shown else titles[vocabulary.decode([i])[0]] for i in ids
    ]


first, second = views(tf.constant(last_items), training=True)
pd.DataFrame(
    {
        "history": names(last_items[0]),
        "one view": names(first.numpy()[0]),
        "the other view": names(second.numpy()[0]),
    }
)

# %% [markdown]
# ## 3. An untrained encoder
#
# An encoder turns a history into one vector. To see what the vector contains, we fit a
# linear model that predicts each user's favorite category from it, and count how often
# it is right for test users. We do so before the training, to compare.

# %%
encoder = tfrsb.layers.ItemPoolingEncoder(
    vocabulary.size, output_dim=64, pooling="mean"
)
model = tfrsb.models.BarlowTwinsPretraining(
    encoder,
    views=views,
    projector=tfrsb.layers.Projector([256, 64]),
    task=tfrsb.tasks.BarlowTwinsTask(off_diagonal_weight=0.05, name="barlow"),
)
categories = tfrsb.data.ItemCategories.from_log(log, vocabulary).most_specific(train)


def embed(users):
    return tfrsb.evaluation.embed_users(encoder, users, length=LENGTH)


def accuracy():
    return tfrsb.evaluation.linear_probe(
        *(
            tfrsb.evaluation.LabeledEmbeddings(embed(users), categories.favorite(users))
            for users in (train, validation, test)
        )
    ).accuracy


def correlation():
    """Returns the cross-correlation of two views of the test users."""
    histories = tf.constant(test.to_dense(LENGTH))
    first, second = (
        model.projector(encoder(view), training=True)
        for view in views(histories, training=True)
    )
    return tfrsb.losses.cross_correlation_matrix(first, second).numpy()


before = {
    "accuracy": accuracy(),
    "users": embed(test),
    "correlation": correlation(),
}
print(f"favorite category, untrained: {before['accuracy']:.2f}")

# %% [markdown]
# ## 4. Pretrain
#
# Pretraining uses no labels. `excess` is the part of the loss that training can reduce:
# the loss minus its floor, which is the smallest value that batch size and dimension
# allow. Here the floor is 0, but with more features than rows in a batch it can be in
# the thousands.

# %%
batches = tfrsb.data.training_batches(train, batch_size=256, length=LENGTH)
model.compile(tf.keras.optimizers.Adam(3e-3))
history = model.fit(batches, epochs=EPOCHS, steps_per_epoch=40, verbose=0).history
pd.DataFrame(history).filter(like="barlow/").iloc[[0, -1]].T.round(3)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
epochs = np.arange(1, EPOCHS + 1)
left.plot(epochs, history["barlow/invariance"], label="invariance: views differ")
left.plot(
    epochs,
    0.05 * np.array(history["barlow/redundancy"]),
    label="0.05 x redundancy: features repeat",
)
left.plot(epochs, history["barlow/excess"], "k", label="excess: both, minus the floor")
left.plot(epochs, history["barlow/floor"], "k:", label="floor")
left.set(title="the loss falls", xlabel="epoch", ylim=(0, None))
left.legend(fontsize=8)
right.plot(epochs, history["barlow/effective_rank"])
right.axhline(64, color="k", ls=":")
right.set(title="effective rank: of 64 features", xlabel="epoch", ylim=(0, 68))
plt.show()

# %% [markdown]
# The plot on the right is the one to watch. An encoder that embeds all users alike
# would agree with itself perfectly, and its rank would fall to 1. That is collapse.
#
# ## 5. The cross-correlation matrix
#
# The matrix has the correlation of every feature of one view with every feature of the
# other, for the test users. The loss drives it to the identity: each feature agrees
# with itself (the diagonal), and different features do not correlate (the rest). With
# 300 users, chance alone leaves about ±0.05 there.

# %%
matrices = {"untrained": before["correlation"], "Barlow Twins": correlation()}
figure, panels = plt.subplots(1, 2, figsize=(7.5, 3.6), layout="constrained")
for axes, (title, matrix) in zip(panels, matrices.items(), strict=True):
    picture = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    others = np.abs(matrix[~np.eye(len(matrix), dtype=bool)]).mean()
    axes.set_title(
        f"{title}\ndiagonal {np.diag(matrix).mean():.2f}, others ±{others:.2f}"
    )
figure.colorbar(picture, ax=panels, shrink=0.8, label="correlation")
plt.show()

# %% [markdown]
# ## 6. What the encoder has learned
#
# Each point is a test user. t-SNE places it by the embedding, and the color is the
# favorite category, which neither t-SNE nor the encoder has seen. After training, users
# with the same taste are neighbors.

# %%
favorite = categories.favorite(test)
frequent = np.argsort(-np.bincount(favorite[favorite >= 0]))[:8]
figure, panels = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
maps = {"untrained": before["users"], "Barlow Twins": embed(test)}
for axes, (title, users) in zip(panels, maps.items(), strict=True):
    x, y = TSNE(metric="cosine", init="pca", random_state=0).fit_transform(users).T
    others = ~np.isin(favorite, frequent)
    axes.scatter(x[others], y[others], s=6, color="lightgrey", label="others")
    for number, category in enumerate(frequent):
        liked = favorite == category
        axes.scatter(
            x[liked],
            y[liked],
            s=14,
            color=plt.colormaps["tab10"](number),
            label=categories.names[category],
        )
    axes.set(title=title, xticks=[], yticks=[])
figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=8)
plt.show()

# %%
print(f"favorite category: {before['accuracy']:.2f} before, {accuracy():.2f} after")

# %% [markdown]
# ## 7. When does it help?
#
# It helps when labels are scarce. `run_study` trains the same encoder in several ways,
# and then fits a linear model on the labels of more and more users. *Barlow Twins* uses
# all histories and no labels. The *dual encoder* is TFRS's retrieval model: one is
# trained on the next items of labeled users only, the other on those of all users.
# *Untrained* has random weights.

# %%
config = tfrsb.study.StudyConfig(
    methods=("random", "dual_encoder_few", "dual_encoder", "barlow_twins"),
    tasks=("favorite_category",),
    protocols=("frozen",),
    label_fractions=(0.02, 0.1, 0.5, 1.0),
    seeds=(0, 1),
    encoder="mean_pooling",
    embedding_dim=32,
    output_dim=64,
    projector=(256, 64),
    length=LENGTH,
    learning_rate=3e-3,
    encoder_passes=STUDY_PASSES,
)
rows = tfrsb.study.run_study(
    log, config, tempfile.mkdtemp(), dataset=DATASET, verbose=False
)
gains = tfrsb.study.gains(rows, method="barlow_twins", baseline="dual_encoder_few")
gains[["label_fraction", "value", "baseline", "gain", "standard_error"]].round(2)

# %%
labels = {
    "barlow_twins": "Barlow Twins",
    "dual_encoder": "dual encoder, all next items",
    "dual_encoder_few": "dual encoder, labeled users only",
    "random": "untrained",
}
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.3), layout="constrained")
for method, label in labels.items():
    part = (
        rows[rows["method"] == method].groupby("label_fraction")["test_accuracy"].mean()
    )
    left.plot(100 * part.index, part, "o-", label=label)
left.set(title="favorite category, accuracy", ylim=(0, 1.25))
left.set_yticks(np.arange(0, 1.1, 0.2))
left.legend(fontsize=8, loc="upper left")
right.errorbar(
    100 * gains["label_fraction"],
    100 * gains["gain"],
    yerr=100 * gains["standard_error"],
    fmt="o-",
)
right.axhline(0, color="k", lw=0.8)
right.set(title="gain over the dual encoder, labeled users only, %")
shares = [100 * fraction for fraction in config.label_fractions]
for axes in (left, right):
    axes.set(xscale="log", xlabel="labeled users, %")
    axes.set_xticks(shares, [f"{share:g}" for share in shares], minor=False)
    axes.set_xticks([], minor=True)
plt.show()

# %% [markdown]
# The fewer labels there are, the more pretraining gains. A dual encoder trained on the
# next items of all users comes close, because it has read the same histories. If you
# may use those next items, it is the one to beat. Two seeds of a synthetic log prove
# nothing: `docs/study.md` has MovieLens and Yelp.
#
# ## 8. Serve
#
# To recommend items, the encoder becomes the query tower of a dual encoder, which we
# train on next items for a short time. The projector is not needed any more.

# %%
candidate_tower = tf.keras.layers.Embedding(vocabulary.size, 64)
recommender = tfrsb.models.DualEncoder(encoder, candidate_tower)
recommender.compile(tf.keras.optimizers.Adam(3e-3))
recommender.fit(batches, epochs=1, steps_per_epoch=20 * EPOCHS, verbose=0)

counts = np.bincount(train.item_ids, minlength=vocabulary.size)
version = tfrsb.serving.export(
    encoder,
    pathlib.Path(tempfile.mkdtemp()) / "films",
    vocabulary=vocabulary,
    candidates=candidate_tower,
    popularity=counts[tfrsb.data.FIRST_ITEM_ID :],
    max_length=LENGTH,
)
sorted(path.name for path in version.iterdir())

# %% [markdown]
# This is a SavedModel. TensorFlow Serving loads it without this package. It takes
# histories with the item names of the log, and leaves out items already seen.

# %%
served = tfrsb.serving.load(version)
asked = [vocabulary.decode(row).tolist() for row in test.to_dense(6)[:3]]
answer = served.recommend(asked, k=5)
for seen, recommended in zip(asked, answer["ids"].numpy(), strict=True):
    print("has watched:   ", ", ".join(titles[seen]))
    print("is recommended:", ", ".join(titles[recommended]), end="\n\n")

# %% [markdown]
# ## Where to go from here
#
# - `bring_your_own_log.ipynb`: the same for your own table.
# - `add_to_existing_tfrs_model.ipynb`: Barlow Twins together with
#   `tfrs.tasks.Retrieval`.
# - `docs/concepts.md`: the ideas. `docs/study.md`: when they help, on real data.
