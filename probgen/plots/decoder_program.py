"""A decoder as a list of plain operations with its weights, which a page runs without torch."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.fx import Interpreter

from probgen.capture.traced_function import first_line, traced
from probgen.plots.page import packed

aten: Any = torch.ops.aten

# Operations that only move numbers: where each one goes is found by moving their places.
MOVES = {"view", "_unsafe_view", "reshape", "t", "transpose", "permute", "select", "slice", "squeeze"}
MOVES |= {"unsqueeze", "expand", "unbind", "split", "alias", "detach", "clone", "flatten"}
MAPS = {name: name for name in ("sigmoid", "tanh", "relu", "silu", "exp", "expm1", "log", "log1p", "abs")}
MAPS |= {name: name for name in ("neg", "sqrt", "asinh", "reciprocal", "softplus", "elu", "leaky_relu")}
MAPS["log_sigmoid_forward"] = "log_sigmoid"
PAIRS = {name: name for name in ["add", "sub", "mul", "div", "pow", "lt", "gt", "le", "ge", "eq"]}
PAIRS |= {"maximum": "max", "minimum": "min"}
DEFAULTS = {"softplus": (1.0, 20.0), "elu": (1.0, 1.0, 1.0), "leaky_relu": (0.01,)}


class Held(NamedTuple):
    """A value of the program: its number, and the shape that it has in torch."""

    at: int
    shape: torch.Size


class NotPlain(ValueError):
    """What a page cannot run."""


def program(function: Callable[[Tensor], Tensor], code: Tensor) -> dict[str, Any]:
    r"""Return the operations that take one code to its picture, and all constants, for JSON.

    Value 0 is the code, and operation i makes value i + 1. Weights are in float32.

    Args:
        function: codes (n, d) to pictures (n, \*pixels), row by row.
        code: an example, shape (1, d).

    Raises:
        NotPlain: where the function has an operation that a page does not know, such as a convolution.
    """
    try:
        graph = traced(lambda z: (function(z),), (code,), still=True)
    except Exception as error:
        raise NotPlain(f"the decoder cannot be written down: {first_line(error)}") from error
    graph.graph.eliminate_dead_code()
    translator = _Translator(graph)
    try:
        (result,) = translator.run(Held(0, code.shape))
    except NotPlain as error:
        raise NotPlain(str(error).splitlines()[0]) from None  # without what torch adds of the graph
    if not isinstance(result, Held):
        raise NotPlain("the decoder does not look at its code")
    floats = np.concatenate([np.zeros(0, "<f4"), *translator.floats])
    places = np.concatenate([np.zeros(0, "<i4"), *translator.places])
    return {
        "ops": translator.ops,
        "result": result.at,
        "floats": packed(floats, "f4"),
        "places": packed(places, "i4"),
    }


class _Translator(Interpreter):
    """Runs a graph on held values, and writes down what is done to them."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__(graph)
        self.ops: list[dict[str, Any]] = []
        self.floats: list[np.ndarray] = []
        self.places: list[np.ndarray] = []
        self.known: dict[tuple[str, bytes], int] = {}
        self.composed: dict[str, Callable[..., Held]] = {
            "where": self._where,
            "rsub": lambda x, y: self._pair("sub", y, x),
            "clamp": self._clamp,
            "sum": self._sum,
            "amax": self._amax,
            "_softmax": lambda x, dim, half: self._softmax(x, dim),
            "logsumexp": self._logsumexp,
            "addmm": lambda bias, x, y: self._linear(x, y, bias),
            "mm": self._linear,
            "mv": lambda x, y: self._take_shape(self._linear(x, y[:, None]), x.shape[:1]),
        }

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not any(isinstance(part, Held) for part in _flat((*args, *kwargs.values()))):
            return super().call_function(target, args, kwargs)
        if target is operator.getitem:
            return args[0][args[1]]
        name = target.overloadpacket.__name__
        if name in MOVES:
            return self._moved(target, args, kwargs)
        if name in ("zeros_like", "ones_like", "full_like"):
            value = {"zeros_like": 0.0, "ones_like": 1.0}.get(name, args[-1])
            return torch.full(args[0].shape, float(value))
        if name in MAPS:
            numbers = tuple(float(a) for a in args[1:])
            numbers += DEFAULTS.get(name, ())[len(numbers) :]
            found = self._map(MAPS[name], args[0], *numbers)
            return (found, None) if name == "log_sigmoid_forward" else found
        if name in PAIRS and kwargs.get("alpha", 1) == 1 and not kwargs.get("rounding_mode"):
            return self._pair(PAIRS[name], *args[:2])
        method = self.composed.get(name)
        if method is None or kwargs:
            raise NotPlain(f"the decoder has an operation that a page does not know, {name}")
        return method(*args)

    # The operations of a page.

    def _add_op(self, shape: torch.Size, **op: Any) -> Held:
        self.ops.append(op)
        return Held(len(self.ops), shape)

    def _stored(self, array: np.ndarray, store: list[np.ndarray]) -> int:
        """Put numbers in a store, once, and return where they begin."""
        key = array.dtype.str, array.tobytes()
        if key not in self.known:
            self.known[key] = sum(map(len, store))
            store.append(array)
        return self.known[key]

    def _constant(self, value: Any) -> int:
        array = torch.as_tensor(value).detach().cpu().float().reshape(-1).numpy()
        return self._stored(array.astype("<f4"), self.floats)

    def _held(self, value: Any) -> Held:
        if isinstance(value, Held):
            return value
        tensor = torch.as_tensor(value)
        at = self._constant(tensor)
        return self._add_op(tensor.shape, op="constant", at=at, n=tensor.numel())

    def _take(self, x: Held, index: Tensor) -> Held:
        flat = index.reshape(-1)
        if len(flat) == x.shape.numel() and bool((flat == torch.arange(len(flat))).all()):
            return Held(x.at, index.shape)
        begin = self._stored(flat.numpy().astype("<i4"), self.places)
        return self._add_op(index.shape, op="take", x=x.at, at=begin, n=len(flat))

    def _map(self, name: str, x: Held, *numbers: float) -> Held:
        return self._add_op(x.shape, op="map", f=name, x=x.at, numbers=list(numbers))

    def _moved(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0]
        places = torch.arange(x.shape.numel()).reshape(x.shape)
        moved = target(places, *args[1:], **{k: v for k, v in kwargs.items() if k != "memory_format"})
        if isinstance(moved, Tensor):
            return self._take(x, moved)
        return tuple(self._take(x, part) for part in moved)

    def _expanded(self, x: Any, shape: torch.Size) -> Held:
        held = self._held(x)
        return self._take(held, torch.arange(held.shape.numel()).reshape(held.shape).expand(shape))

    def _pair(self, name: str, x: Any, y: Any) -> Held:
        shapes = [v.shape if isinstance(v, (Held, Tensor)) else torch.Size() for v in (x, y)]
        shape = torch.broadcast_shapes(*shapes)
        first, second = self._expanded(x, shape), self._expanded(y, shape)
        return self._add_op(shape, op="pair", f=name, x=first.at, y=second.at)

    def _where(self, which: Any, x: Any, y: Any) -> Held:
        parts = (which, x, y)
        shapes = [v.shape if isinstance(v, (Held, Tensor)) else torch.Size() for v in parts]
        shape = torch.broadcast_shapes(*shapes)
        c, a, b = (self._expanded(part, shape).at for part in parts)
        return self._add_op(shape, op="where", c=c, x=a, y=b)

    def _clamp(self, x: Held, low: float | None = None, high: float | None = None) -> Held:
        x = x if low is None else self._pair("max", x, low)
        return x if high is None else self._pair("min", x, high)

    def _reduce(self, name: str, x: Held, dims: Any, keep: bool = False) -> Held:
        axes = sorted({d % len(x.shape) for d in (dims if isinstance(dims, (list, tuple)) else [dims])})
        kept = [d for d in range(len(x.shape)) if d not in axes]
        places = torch.arange(x.shape.numel()).reshape(x.shape).permute(*kept, *axes)
        out = torch.Size([1 if d in axes else n for d, n in enumerate(x.shape) if keep or d not in axes])
        laid = self._take(x, places)
        width = x.shape.numel() // max(out.numel(), 1)
        return self._add_op(out, op="reduce", f=name, x=laid.at, n=out.numel(), width=width)

    def _sum(self, x: Held, dims: Any, keep: bool = False) -> Held:
        return self._reduce("sum", x, dims, keep)

    def _amax(self, x: Held, dims: Any, keep: bool = False) -> Held:
        return self._reduce("max", x, dims, keep)

    def _softmax(self, x: Held, dim: int) -> Held:
        e = self._map("exp", self._pair("sub", x, self._amax(x, [dim], True)))
        return self._pair("div", e, self._sum(e, [dim], True))

    def _logsumexp(self, x: Held, dims: Any, keep: bool = False) -> Held:
        top = self._amax(x, dims, True)
        total = self._sum(self._map("exp", self._pair("sub", x, top)), dims, True)
        found = self._pair("add", self._map("log", total), top)
        return found if keep else self._take_shape(found, self._amax(x, dims).shape)

    def _linear(self, x: Any, y: Any, bias: Tensor | None = None) -> Held:
        if not isinstance(x, Held) or isinstance(y, Held) or isinstance(bias, Held):
            raise NotPlain("the decoder multiplies by a matrix that depends on the code")
        at = -1 if bias is None else self._constant(bias)
        m, n = y.shape
        rows = x.shape[0]
        weight = self._constant(y.T)
        return self._add_op(torch.Size([rows, n]), op="linear", x=x.at, w=weight, b=at, n=n, m=m, rows=rows)

    def _take_shape(self, x: Held, shape: torch.Size) -> Held:
        return Held(x.at, shape)


def _flat(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if isinstance(value, (list, tuple)) and not isinstance(value, Held):
            found += _flat(value)
        else:
            found.append(value)
    return found
