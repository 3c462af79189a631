"""What a window, a rule or an alert is about: the kinds of subject and of meter level."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class SubjectKind(IntEnum):
    """Name the kinds of subject; the number travels in columns called `subject_kind`."""

    SITE = 1
    HALL = 2
    ROW = 3
    RACK = 4
    NODE = 5
    GPU = 6
    FEED = 7
    PANEL = 8
    UPS_GROUP = 9
    UTILITY = 10
    JOB = 11
    METER = 12


class MeterLevel(IntEnum):
    """Name where in the power tree a meter sits; the number travels in the column `level`."""

    UTILITY = 1
    GENERATOR = 2
    UPS = 3
    PANEL = 4
    FEED = 5
    RACK_INPUT = 6
    SHELF = 7
    NODE = 8
    COOLING = 9


GPUS_A_NODE = 256
"""Room for the GPUs of one node in the ids of kind GPU; the facility file allows 64."""


def gpu_subject(node: Any, gpu: Any) -> Any:
    """Return the id of the kind GPU for the slot `gpu` of a node; of integers, columns or expressions.

    A GPU is a slot (rack, node, index), so it has no id of its own to be given out: the node's says it.
    """
    return node * GPUS_A_NODE + gpu


def gpu_place(subject: Any) -> tuple[Any, Any]:
    """Return (node id, index) of a GPU's id; the inverse of `gpu_subject`."""
    return subject // GPUS_A_NODE, subject % GPUS_A_NODE
