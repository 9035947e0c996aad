"""A graph of ONNX operators as it is built: arithmetic on its values adds operators to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from metarobot import __version__
from metarobot.adaptation.rewards import LARGEST_REWARD

OPSET, IR_VERSION = 18, 8
"""Those of ONNX 1.13, of December 2022; checked with onnxruntime 1.20 and 1.32."""
_TRUTHS = ("Less", "LessOrEqual", "Greater", "IsNaN", "And", "Or", "Not")
"""Operators whose result is true or false."""


class Graph:
    """A control step of N robots; all that comes in and goes out are doubles (N, X).

    What is remembered is a state: it comes in as ``state_NAME`` and goes out as ``next_NAME``.
    Every state is zeros before the first step of all, whatever it begins with: a graph holds what
    that is, and knows the first step by the state ``started``.
    """

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: dict[str, int] = {}
        self._states: dict[str, int] = {}
        self._kept: dict[str, Value] = {}
        self._outputs: dict[str, int] = {}
        self._is_taken: Value | None = None

    # What comes in and goes out.

    def input(self, name: str, size: int) -> Value:
        """Return what comes in under a name, (N, X)."""
        self._inputs[name] = size
        return Value(self, name, np.dtype(np.float64))

    def output(self, name: str, value: Value, size: int) -> None:
        """Let a value (N, X) go out under a name."""
        self._add("Identity", [value.to(np.float64).name], [name])
        self._outputs[name] = size

    def state(self, name: str, first: np.ndarray) -> Value:
        """Return what `keep` has kept under a name in the step before, (N, X).

        Args:
            name: Its name.
            first: What it begins with, (X,), in the type of the state.
        """
        self._states[name] = len(first)
        value = Value(self, f"state_{name}", np.dtype(np.float64)).to(first.dtype)
        return self.where(self.is_new, first, value) if first.any() else value

    def keep(self, name: str, value: Value) -> None:
        """Keep a state for the next step."""
        self._kept[name] = value

    def observation(self, size: int) -> Value:
        """Return what the robots show, (N, X).

        A robot that shows a number that is not finite takes no step: its states stay as they are.
        """
        seen = self.input("observation", size)
        finite = seen.apply("Abs") <= float(np.finfo(np.float64).max)  # not so for NaN
        self._is_taken = finite.to(np.float64).reduced("ReduceMin") > 0.5
        return seen

    @cached_property
    def reward(self) -> Value:
        """What the step before has earned, (N, 1); NaN where `act` would refuse it."""
        reward = self.input("reward", 1)
        return self.where(reward.apply("Abs") <= LARGEST_REWARD, reward, np.nan)

    def where_taken(self, value: Value, other: Any) -> Value:
        """Choose a value where a robot takes a step; elsewhere take the other."""
        return value if self._is_taken is None else self.where(self._is_taken, value, other)

    @cached_property
    def is_new(self) -> Value:
        """Whether this is a robot's first step of all, (N, 1)."""
        self._states["started"] = 1
        started = Value(self, "state_started", np.dtype(np.float64))
        self.keep("started", started.apply("Max", 1.0))
        return started < 0.5

    @cached_property
    def begins(self) -> Value:
        """Whether a robot's episode begins, (N, 1)."""
        return (self.input("begins", 1) > 0.5) | self.is_new

    # What is computed.

    def constant(self, array: Any) -> Value:
        """Return an array of the graph's own, in its type."""
        array, name = np.ascontiguousarray(array), f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return Value(self, name, array.dtype)

    def apply(self, operator: str, *operands: Any, **attributes: Any) -> Value:
        """Add an operator, and return its result, in the type of the last value among the operands.

        Args:
            operator: Its name in ONNX.
            *operands: Values, arrays, and numbers, which take the type of the result.
            **attributes: What else it is told.
        """
        dtype = [operand.dtype for operand in operands if isinstance(operand, Value)][-1]
        names = [self._as_value(operand, dtype).name for operand in operands]
        name = f"value_{len(self._nodes)}"
        self._add(operator, names, [name], **attributes)
        return Value(self, name, np.dtype(bool) if operator in _TRUTHS else dtype)

    def concat(self, *parts: Value, axis: int = 1) -> Value:
        """Join values along an axis."""
        return self.apply("Concat", *parts, axis=axis)

    def where(self, condition: Value, chosen: Any, other: Any) -> Value:
        """Choose where a condition holds; elsewhere take the other."""
        return self.apply("Where", condition, chosen, other)

    def nth_least(self, value: Value, number: int) -> Value:
        """Return the least element but number - 1 others of each row, (N, 1) for (N, X)."""
        name = f"value_{len(self._nodes)}"
        operands = [value.name, self.constant(np.array([number])).name]
        self._add("TopK", operands, [name, f"{name}_places"], axis=1, largest=0)
        return Value(self, name, value.dtype).split(number - 1, 1)[1]

    def _add(
        self, operator: str, operands: list[str], results: list[str], **attributes: Any
    ) -> None:
        # Named: the optimiser of onnxruntime 1.20 names what it makes of nodes after them.
        node = helper.make_node(operator, operands, results, name=results[0], **attributes)
        self._nodes.append(node)

    def _as_value(self, operand: Any, dtype: np.dtype) -> Value:
        if isinstance(operand, Value):
            return operand
        return self.constant(
            operand if isinstance(operand, np.ndarray) else np.array(operand, dtype)
        )

    # The whole.

    def model(self, name: str, facts: Mapping[str, Any]) -> onnx.ModelProto:
        """Return the model, checked.

        Args:
            name: What it is called.
            facts: What is told beside it, each as JSON.
        """
        for state, size in self._states.items():
            before = Value(self, f"state_{state}", np.dtype(np.float64))
            kept = self.where_taken(self._kept[state].to(np.float64), before)
            self.output(f"next_{state}", kept, size)
        states = {f"state_{state}": size for state, size in self._states.items()}
        inputs = [_tensor(*each) for each in (self._inputs | states).items()]
        outputs = [_tensor(*each) for each in self._outputs.items()]
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
        model = helper.make_model(
            graph,
            producer_name="metarobot",
            producer_version=__version__,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        texts = {key: json.dumps(value, allow_nan=False) for key, value in facts.items()}
        helper.set_model_props(model, texts)
        onnx.checker.check_model(model, full_check=True)
        return model


class Value:
    """A tensor in a graph; its arithmetic is NumPy's."""

    __array_ufunc__ = None  # so that array @ value asks this class

    def __init__(self, graph: Graph, name: str, dtype: np.dtype) -> None:
        self.graph, self.name, self.dtype = graph, name, dtype

    def apply(self, operator: str, *others: Any, **attributes: Any) -> Value:
        """Apply an operator to this and others; see `Graph.apply`."""
        return self.graph.apply(operator, self, *others, **attributes)

    def __add__(self, other: Any) -> Value:
        return self.apply("Add", other)

    def __sub__(self, other: Any) -> Value:
        return self.apply("Sub", other)

    def __mul__(self, other: Any) -> Value:
        return self.apply("Mul", other)

    def __truediv__(self, other: Any) -> Value:
        return self.apply("Div", other)

    def __matmul__(self, other: Any) -> Value:
        return self.apply("MatMul", other)

    def __rmatmul__(self, other: np.ndarray) -> Value:
        return self.graph.apply("MatMul", other, self)

    def __and__(self, other: Any) -> Value:
        return self.apply("And", other)

    def __or__(self, other: Any) -> Value:
        return self.apply("Or", other)

    def __invert__(self) -> Value:
        return self.apply("Not")

    def __lt__(self, other: Any) -> Value:
        return self.apply("Less", other)

    def __le__(self, other: Any) -> Value:
        return self.apply("LessOrEqual", other)

    def __gt__(self, other: Any) -> Value:
        return self.apply("Greater", other)

    def to(self, dtype: Any) -> Value:
        """Return the same numbers in another type."""
        if self.dtype == dtype:
            return self
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return Value(self.graph, self.apply("Cast", to=kind).name, np.dtype(dtype))

    def between(self, low: Any, high: Any) -> Value:
        """Return the nearest numbers within bounds, which may be arrays."""
        return self.apply("Max", low).apply("Min", high)

    def split(self, *sizes: int, axis: int = 1) -> list[Value]:
        """Return consecutive parts of these sizes."""
        ends = np.cumsum([0, *sizes])
        bounds = [(ends[i : i + 1], ends[i + 1 : i + 2]) for i in range(len(sizes))]
        return [self.apply("Slice", *pair, np.array([axis])) for pair in bounds]

    def reshaped(self, *shape: int) -> Value:
        """Return the same numbers in another shape; 0 keeps a dimension."""
        return self.apply("Reshape", np.array(shape))

    def reduced(self, operator: str, axis: int = 1) -> Value:
        """Reduce an axis to one element, by ReduceSum and the like."""
        return self.apply(operator, np.array([axis]))

    def layer(self, layer: tuple[np.ndarray, np.ndarray]) -> Value:
        """Return x W + b."""
        weight, bias = layer
        return self @ weight + bias

    def tanh(self) -> Value:
        """Return the hyperbolic tangent."""
        return self.apply("Tanh")

    def times_each(self, other: Value) -> Value:
        """Multiply every element of (N, I) with every one of (N, J): (N, I J)."""
        column, row = (
            self.apply("Unsqueeze", np.array([2])),
            other.apply("Unsqueeze", np.array([1])),
        )
        return (column * row).reshaped(0, -1)


def _tensor(name: str, size: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, ["robots", size])
