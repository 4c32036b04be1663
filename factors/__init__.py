"""Factors: named numbers that may explain how hard a sample is to unlearn.

A module sets `FAMILIES`. `pre` families see the base model only and are computed once a sample;
`post` families see the unlearned models of a chunk. An optional family is measured only where it is
asked for by its name.
Other people's come by the entry points `indelible.factors`, and the user's own as
`module:package.module:FAMILY`.
"""

from factors.family import (
    HISTORIES,
    REGISTRY,
    columns,
    described,
    every,
    families,
    provider,
    refuse_ambiguous,
)

__all__ = [
    "HISTORIES",
    "REGISTRY",
    "columns",
    "described",
    "every",
    "families",
    "provider",
    "refuse_ambiguous",
]
