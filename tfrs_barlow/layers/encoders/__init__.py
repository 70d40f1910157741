"""Encoders of user sequences: query towers from item ids or item embeddings."""

from tfrs_barlow.layers.encoders.attention_pooling import AttentionPoolingEncoder
from tfrs_barlow.layers.encoders.base import SequenceEncoder
from tfrs_barlow.layers.encoders.convolution import ConvolutionEncoder
from tfrs_barlow.layers.encoders.gru import GRUEncoder
from tfrs_barlow.layers.encoders.hashed_embedding import HashedEmbedding
from tfrs_barlow.layers.encoders.mean_pooling import MeanPoolingEncoder
from tfrs_barlow.layers.encoders.table_memory import TableMemory
from tfrs_barlow.layers.encoders.transformer import TransformerEncoder

__all__ = [
    "AttentionPoolingEncoder",
    "ConvolutionEncoder",
    "GRUEncoder",
    "HashedEmbedding",
    "MeanPoolingEncoder",
    "SequenceEncoder",
    "TableMemory",
    "TransformerEncoder",
]
