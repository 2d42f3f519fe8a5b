"""Arithmetic on shader values: Blender's math nodes, written as Python expressions."""

from __future__ import annotations

from bpy.types import NodeSocket, ShaderNodeTree


class Expression:
    """A number that the renderer works out at each point of a surface."""

    def __init__(self, tree: ShaderNodeTree, socket: NodeSocket) -> None:
        self.tree = tree
        self.socket = socket

    def _apply(self, operation: str, *operands: Expression | float) -> Expression:
        node = self.tree.nodes.new("ShaderNodeMath")
        node.operation = operation
        for place, operand in zip(node.inputs, operands, strict=False):
            if isinstance(operand, Expression):
                self.tree.links.new(operand.socket, place)
            else:
                place.default_value = operand
        return Expression(self.tree, node.outputs[0])

    def __add__(self, other: Expression | float) -> Expression:
        return self._apply("ADD", self, other)

    __radd__ = __add__

    def __sub__(self, other: Expression | float) -> Expression:
        return self._apply("SUBTRACT", self, other)

    def __rsub__(self, other: float) -> Expression:
        return self._apply("SUBTRACT", other, self)

    def __mul__(self, other: Expression | float) -> Expression:
        return self._apply("MULTIPLY", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Expression | float) -> Expression:
        return self._apply("DIVIDE", self, other)

    def __lt__(self, other: Expression | float) -> Expression:
        """Returns 1 where this is smaller, else 0."""
        return self._apply("LESS_THAN", self, other)

    def __gt__(self, other: Expression | float) -> Expression:
        return self._apply("GREATER_THAN", self, other)

    def __abs__(self) -> Expression:
        return self._apply("ABSOLUTE", self)

    def fraction(self) -> Expression:
        """Returns what is left above the next lower whole number."""
        return self._apply("FRACT", self)

    def floor(self) -> Expression:
        return self._apply("FLOOR", self)

    def modulo(self, other: float) -> Expression:
        return self._apply("FLOORED_MODULO", self, other)

    def sine(self) -> Expression:
        """Returns the sine; this is an angle in radians."""
        return self._apply("SINE", self)

    def cosine(self) -> Expression:
        return self._apply("COSINE", self)

    def hypotenuse(self, other: Expression) -> Expression:
        squares = self * self + other * other
        return self._apply("SQRT", squares)

    def angle(self, other: Expression) -> Expression:
        """Returns the angle of the point (other, self) in radians."""
        return self._apply("ARCTAN2", self, other)

    def smallest(self, other: Expression | float) -> Expression:
        return self._apply("MINIMUM", self, other)

    def largest(self, other: Expression | float) -> Expression:
        return self._apply("MAXIMUM", self, other)
