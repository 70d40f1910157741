# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Serve a user tower
#
# This notebook exports a trained model, asks it for recommendations, also for users
# without a history, adds new items without training, and measures the speed. It takes
# about a minute on two CPU cores.
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
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tensorflow as tf

import tfrs_barlow as tfrsb

tf.get_logger().setLevel("ERROR")
tf.keras.utils.set_random_seed(0)
models = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. A model
#
# Any two towers work. Here the query tower is pretrained with Barlow Twins, then
# trained on next items with a candidate tower. Set `DATASET` to `"ml-latest-small"` or
# `"ml-1m"` to download MovieLens from GroupLens.

# %% tags=["parameters"]
DATASET = "synthetic"
NUM_USERS = 2_000  # Of the synthetic log.
STEPS = 200
LENGTH = 50

# %%
if DATASET == "synthetic":
    log = tfrsb.data.generate_synthetic_log(num_users=NUM_USERS)
else:
    log = tfrsb.data.load_movielens(DATASET)
# Films by their titles, which are easier to read than numbers.
titles = log.items.drop_duplicates("title").set_index("item_id")["title"]
log = tfrsb.data.read_interactions(
    log.interactions.assign(film=log.interactions["item_id"].map(titles)).dropna(),
    user_column="user_id",
    item_column="film",
    time_column="timestamp",
)
sequences, vocabulary = tfrsb.data.build_sequences(log)
batches = tfrsb.data.training_batches(sequences, batch_size=256, length=LENGTH)

encoder = tfrsb.layers.ItemPoolingEncoder(
    vocabulary.size, output_dim=64, pooling="mean"
)
pretraining = tfrsb.models.BarlowTwinsPretraining(
    encoder, projector=tfrsb.layers.Projector([256, 64])
)
pretraining.compile(tf.keras.optimizers.Adam(3e-3))
pretraining.fit(batches, epochs=1, steps_per_epoch=STEPS, verbose=0)

candidate_tower = tf.keras.layers.Embedding(vocabulary.size, 64)
recommender = tfrsb.models.DualEncoder(encoder, candidate_tower)
recommender.compile(tf.keras.optimizers.Adam(3e-3))
recommender.fit(batches, epochs=1, steps_per_epoch=STEPS, verbose=0)
print(log)

# %% [markdown]
# ## 2. Export
#
# The export contains the vocabulary, so it takes and returns films by their names. It
# recommends by `popularity` to users without a history.

# %%
counts = np.bincount(sequences.item_ids, minlength=vocabulary.size)
version = tfrsb.serving.export(
    encoder,
    models / "films",
    vocabulary=vocabulary,
    candidates=candidate_tower,
    popularity=counts[tfrsb.data.FIRST_ITEM_ID :],
    max_length=LENGTH,
)
print(sorted(path.name for path in (models / "films").iterdir()))
print(sorted(path.name for path in version.iterdir()))

# %% [markdown]
# `1` is a SavedModel: loading it needs only TensorFlow, in any language.
# `models.config` and `batching_parameters.txt` are for TensorFlow Serving.
#
# ## 3. Recommend
#
# `load` first checks every file against its checksum.

# %%
model = tfrsb.serving.load(version)


def show(answer):
    return pd.DataFrame(
        {
            "films": [
                ", ".join(i.decode() for i in row if i) for row in answer["ids"].numpy()
            ],
            "best score": answer["scores"].numpy()[:, 0].round(2),
            "cold start": answer["cold_start"].numpy(),
        }
    )


ann, bob = (
    vocabulary.decode(row[row > 0]).tolist() for row in sequences.to_dense(5)[[0, 2]]
)
print("ann has watched", ", ".join(ann))
print("bob has watched", ", ".join(bob))
with pd.option_context("display.max_colwidth", None):
    display(show(model.recommend([ann, bob], k=4)))

# %% [markdown]
# Films already watched are left out. You can exclude more, for one user or for all, and
# `k` may differ from row to row.

# %%
best = model.recommend([ann, bob], k=1)["ids"].numpy()[:, 0]
answer = model.recommend([ann, bob], k=[2, 4], excluded=[[best[0]], [best[1]]])
with pd.option_context("display.max_colwidth", None):
    display(show(answer))

# %% [markdown]
# A user without a history, or with only unknown films, gets the popular films, and the
# response is flagged. There is never a NaN.

# %%
with pd.option_context("display.max_colwidth", None):
    display(show(model.recommend([["", ""], ["a film nobody knows", ""]], k=4)))
    display(show(model.similar_items([ann[0]], k=4)))

# %% [markdown]
# ## 4. New items
#
# A film comes out today. If you have an embedding for it, `replace_candidates` writes
# version 2 with the same tower, without the program that trained it. A running server
# loads the new version by itself. Here the new film gets the mean embedding of the
# films that ann has watched.

# %%
embeddings = candidate_tower(
    tf.range(tfrsb.data.FIRST_ITEM_ID, vocabulary.size)
).numpy()
place = vocabulary.encode(ann) - tfrsb.data.FIRST_ITEM_ID
newcomer = embeddings[place].mean(axis=0, keepdims=True)
second = tfrsb.serving.replace_candidates(
    models / "films",
    items=[*vocabulary.tokens, "The Newcomer"],
    candidates=np.concatenate([embeddings, newcomer]),
    popularity=[*counts[tfrsb.data.FIRST_ITEM_ID :], 0],
)
latest = tfrsb.serving.load(second)
with pd.option_context("display.max_colwidth", None):
    display(show(latest.similar_items(["The Newcomer"], k=4)))

# %% [markdown]
# ## 5. Is the export intact?
#
# `load` refuses an export with a changed, missing or additional file.

# %%
variables = next((second / "variables").glob("*.data*"))
content = variables.read_bytes()
variables.write_bytes(content[:-1] + b"!")
try:
    tfrsb.serving.load(second)
except tfrsb.serving.CorruptExportError as error:
    print(str(error).replace(str(models), "..."))
variables.write_bytes(content)
print("and restored:", tfrsb.serving.verify(second).description.candidates, "films")

# %% [markdown]
# ## 6. How fast?
#
# These are seconds of the machine that ran this notebook, which was busy with other
# work. Measure on your own machine. `python -m benchmarks.serving` measures a million
# items.

# %%
histories = [
    vocabulary.decode(row[row > 0]).tolist() for row in sequences.to_dense(LENGTH)[:256]
]
sizes = [1, 4, 16, 64, 256]
milliseconds = []
for size in sizes:
    asked = tf.ragged.constant(histories[:size]).to_tensor()  # Padded with "".
    model.recommend(asked, k=10)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        model.recommend(asked, k=10)
        times.append(1_000 * (time.perf_counter() - start))
    milliseconds.append(np.median(times))
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.loglog(sizes, milliseconds, "o-", label="a request")
axes.loglog(sizes, np.array(milliseconds) / sizes, "o-", label="a history of it")
axes.set_xticks(sizes, sizes)
axes.set_xticks([], minor=True)
axes.set(xlabel="histories in a request", ylabel="milliseconds")
axes.legend()
plt.show()

# %% [markdown]
# ## 7. Behind a server
#
# `docs/serving.md` has the commands for TensorFlow Serving, REST and gRPC, and explains
# batching. `python -m tfrs_barlow.serving` answers the same requests from Python,
# without a container.
