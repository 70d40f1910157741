# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bring your own log
#
# You have a table of which user interacted with which item, and when: orders, plays,
# clicks. This notebook goes from the file to a pretrained user encoder, checks the
# result of each step, and finds similar users. It takes about a minute on two CPU
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
import functools
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tensorflow as tf

import tfrs_barlow as tfrsb

tf.get_logger().setLevel("ERROR")
tf.keras.utils.set_random_seed(0)
folder = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. The table
#
# Set `TABLE` to your file (`.csv`, `.csv.gz`, `.tsv`, `.parquet`), and `COLUMNS` to the
# names of its columns. Training needs neither a category nor a title; here we use them
# for checks.
#
# Without a file, the notebook writes one for an invented shop. Set `DATASET` to
# `"ml-latest-small"` or `"ml-1m"` to download MovieLens from GroupLens instead.

# %% tags=["parameters"]
TABLE = None
COLUMNS = {
    "user_column": "customer",
    "item_column": "product",
    "time_column": "bought_at",
    "category_column": "departments",
    "title_column": "name",
}
DATASET = "synthetic"
NUM_USERS = 3_000  # Users of the synthetic log.
STEPS = 400

# %%
if TABLE is None:
    if DATASET == "synthetic":
        made_up = tfrsb.data.generate_synthetic_log(num_users=NUM_USERS)
    else:
        made_up = tfrsb.data.load_movielens(DATASET)
    rows = made_up.interactions.merge(made_up.items, on="item_id")
    TABLE = folder / "orders.csv"
    pd.DataFrame(
        {
            "customer": "c" + rows["user_id"].astype(str),
            "product": "p" + rows["item_id"].astype(str),
            "bought_at": pd.to_datetime(rows["timestamp"], unit="s"),
            "departments": rows["categories"].str.join("|"),
            "name": rows["title"],
        }
    ).to_csv(TABLE, index=False)
    display(pd.read_csv(TABLE, nrows=4))

# %% [markdown]
# ## 2. Read it
#
# Rows may come in any order. Ids are strings or integers; times are integers, dates or
# ISO strings. A row that cannot be read is an error that names it.

# %%
log = tfrsb.data.read_interactions(TABLE, **COLUMNS)
print(log)
log.items.head(3)

# %%
try:
    tfrsb.data.read_interactions(TABLE, **{**COLUMNS, "time_column": "name"})
except ValueError as error:
    print(str(error).removeprefix(f"{folder}/"))

# %% [markdown]
# ## 3. Look at it
#
# Three questions decide the settings.
#
# - **How long are histories?** `LENGTH` should cover most of them, or as much of the
#   past as is still relevant. Below about five items, two views have little in common.
# - **How rare are items?** An item in a handful of histories cannot be learned.
#   `filter_k_core` drops such items, and users with too few items.
# - **How skewed are categories?** If one category has nearly everything, a probe shows
#   nothing.

# %%
LENGTH = 50
per_user = log.interactions["user_id"].value_counts()
per_item = log.interactions["item_id"].value_counts()
figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(10.5, 2.9), layout="constrained"
)
left.hist(per_user.clip(upper=200), bins=40)
left.axvline(LENGTH, color="k", ls=":", label="LENGTH")
left.legend()
left.set(title="histories", xlabel="items (200 and more together)", ylabel="users")
middle.loglog(np.arange(1, len(per_item) + 1), per_item)
middle.axhline(5, color="k", ls=":", label="5 interactions")
middle.legend()
middle.set(title="items", xlabel="rank", ylabel="interactions")
log.items["categories"].explode().value_counts().iloc[:12][::-1].plot.barh(ax=right)
right.set(title="categories", ylabel="", xlabel="items")
plt.show()
log = tfrsb.data.filter_k_core(log, min_per_user=5, min_per_item=5)
print(log)

# %% [markdown]
# ## 4. Sequences
#
# There is one row of ids per user, in the order of time. The vocabulary turns your
# names into ids and back: 0 is padding, 1 the mask, 2 an unknown item, and items start
# at 3.
#
# We split users, not events: all results are for users that training did not see.

# %%
sequences, vocabulary = tfrsb.data.build_sequences(log)
split = tfrsb.data.split_users(len(sequences))
train = sequences.select(split.train)
print(sequences)
print(vocabulary.size, "ids, such as", vocabulary.tokens[:3].tolist())

# %% [markdown]
# ## 5. Pretrain, and watch
#
# Barlow Twins compares two damaged copies of each history and needs no labels. Its loss
# does not say how good the encoder is. So `OnlineProbe` fits a linear model on the
# encoder after every epoch, here for a user's favorite category. It can be anything
# that you know about users: pass a `DownstreamTask` with histories and one integer
# class each. The probe does not affect the training.
#
# `fit_resumable` resumes if the program is killed and started again.

# %%
categories = tfrsb.data.ItemCategories.from_log(log, vocabulary).most_specific(train)
favorite = tfrsb.evaluation.downstream_task("favorite_category", sequences, categories)
probe = tfrsb.callbacks.OnlineProbe(
    favorite.select(split.train), favorite.select(split.validation), length=LENGTH
)
encoder = tfrsb.layers.ItemPoolingEncoder(vocabulary.size, output_dim=64)
model = tfrsb.models.BarlowTwinsPretraining(
    encoder,
    views=tfrsb.layers.TwoViews([tfrsb.layers.RandomDrop(0.5)]),
    projector=tfrsb.layers.Projector([256, 64]),
    task=tfrsb.tasks.BarlowTwinsTask(off_diagonal_weight=0.05, name="barlow"),
)
model.compile(tf.keras.optimizers.Adam(3e-3))
batches = functools.partial(
    tfrsb.data.training_batches, train, batch_size=256, length=LENGTH
)
# After the probe, whose metrics it records.
record = tf.keras.callbacks.History()
tfrsb.models.fit_resumable(
    model,
    batches,
    steps=STEPS,
    steps_per_epoch=40,
    backup_dir=folder / "backup",
    callbacks=[probe, record],
    verbose=0,
)
history = record.history

# %%
known = favorite.select(split.train).labels
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
epochs = np.arange(1, len(history["barlow/excess"]) + 1)
left.plot(epochs, history["barlow/excess"])
left.set(title="excess: the loss above its floor", xlabel="epoch", ylim=(0, None))
right.plot(epochs, history["probe_accuracy"], label="linear probe")
right.axhline(
    (known == np.bincount(known[known >= 0]).argmax()).mean(),
    color="k",
    ls=":",
    label="always the most frequent",
)
right.set(title="favorite category, validation users", xlabel="epoch", ylim=(0, 1))
right.legend()
plt.show()

# %% [markdown]
# If the excess falls and the probe does not rise, try in this order: another weight of
# the redundancy term (`off_diagonal_weight`, a factor of 5 up and down), other views
# (stronger ones for long histories, weaker ones for short), more steps.
# `docs/callbacks.md` shows how to stop early.
#
# ## 6. The result to report
#
# If you use the probe to choose a setting, its validation accuracy is too good. Report
# the accuracy on test users.

# %%
metrics = tfrsb.evaluation.linear_probe(
    *(
        tfrsb.evaluation.LabeledEmbeddings(
            tfrsb.evaluation.embed_users(encoder, part.histories, length=LENGTH),
            part.labels,
        )
        for part in map(favorite.select, (split.train, split.validation, split.test))
    )
)
print(f"favorite category, test users: {metrics.accuracy:.2f}")

# %% [markdown]
# ## 7. Similar users
#
# This needs only histories: export the encoder, embed, and compare. The export takes
# products by your names, and histories of any length.

# %%
version = tfrsb.serving.export(
    encoder, folder / "customers", vocabulary=vocabulary, max_length=LENGTH
)
served = tfrsb.serving.load(version)


def embed(users):
    histories = [
        vocabulary.decode(row[row > 0]).tolist() for row in users.to_dense(LENGTH)
    ]
    embeddings = served.embed_ragged(
        tf.constant([item for row in histories for item in row]),
        tf.constant([len(row) for row in histories], tf.int64),
    )["embedding"]
    return tf.math.l2_normalize(embeddings - tf.reduce_mean(embeddings, 0), axis=1)


def describe(users):
    """The three most frequent categories of each user, and their latest items."""
    titles = log.items.set_index("item_id")["title"]
    for user in range(len(users)):
        one = users.select([user])
        ids = one.item_ids
        often = categories.membership[ids].sum(0)
        yield {
            "user": one.user_ids[0],
            "items": len(ids),
            "likes": ", ".join(
                f"{categories.names[k]} {often[k] / len(ids):.0%}"
                for k in np.argsort(-often)[:3]
            ),
            "latest": ", ".join(titles[vocabulary.decode(ids[-2:]).tolist()]),
        }


test = sequences.select(split.test)
everybody, asked = embed(train), embed(test)
for user in range(3):
    similarities = tf.linalg.matvec(everybody, asked[user]).numpy()
    nearest = np.argsort(-similarities)[:4]
    table = pd.DataFrame(
        [*describe(test.select([user])), *describe(train.select(nearest))]
    )
    table.insert(0, "similarity", [np.nan, *similarities[nearest]])
    display(table.round(2).fillna(""))

# %% [markdown]
# The first row of each table is a test user. The others are the training users with the
# closest embeddings. Their tastes are similar, though they need not share a single
# item.
#
# ## Where to go from here
#
# - A log that does not fit into memory: `tfrsb.data.scan_sequences` and
#   `write_sequences`, in `docs/data.md`.
# - Is it better than your model? `python -m tfrs_barlow.study --data=your.csv` compares
#   it with a dual encoder of TFRS: see `docs/study.md`.
# - `add_to_existing_tfrs_model.ipynb`: how to add it to your model.
