"""From a log to written sequences on a cluster, by Apache Beam.

    python -m examples.prepare_with_beam --log='log/*.csv' --output=sequences \
        --user_column=who --item_column=song --time_column=when

All other flags are those of Beam: they say where the pipeline runs. By default it runs
on this machine, and with `--runner` on Dataflow, Flink or Spark (see docs/data.md). The
files equal those that `tfrsb.data.write_sequences` writes for the same log.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tfrs_barlow as tfrsb


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the pipeline that the command line describes."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.prepare_with_beam",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # Otherwise a flag of Beam could be taken for an abbreviation of one of these.
        allow_abbrev=False,
    )
    parser.add_argument("--log", required=True, help="the files; * and ? match")
    parser.add_argument("--output", required=True, help="the folder to write")
    for name in ("user_column", "item_column", "time_column"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--min_length", type=int, default=1)
    parser.add_argument("--length", type=int, help="events of a user to keep")
    parser.add_argument("--shards", type=int)
    parser.add_argument("--hot_key_fanout", type=int)
    flags, beam_flags = parser.parse_known_args(arguments)
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ImportError(
            "This example needs Apache Beam: pip install 'tfrs-barlow[beam]'"
        ) from error
    tfrsb.data.write_sequences_with_beam(
        flags.log,
        flags.output,
        user_column=flags.user_column,
        item_column=flags.item_column,
        time_column=flags.time_column,
        min_length=flags.min_length,
        length=flags.length,
        shards=flags.shards,
        hot_key_fanout=flags.hot_key_fanout,
        options=PipelineOptions(beam_flags),
    )


if __name__ == "__main__":
    main()
