"""What the products are made of: a few nodes around Blender's principled shader each."""

from __future__ import annotations

import math
from collections.abc import Callable

import bpy
from bpy.types import Material, NodeSocket, ShaderNode, ShaderNodeTree

from .designs import Finish
from .expressions import Expression
from .palette import Colour, linear
from .patterns import place, second_colour


class Surface:
    """A material in the making."""

    def __init__(self, tree: ShaderNodeTree, shader: ShaderNode, finish: Finish, girth: float):
        self.tree = tree
        self.shader = shader
        self.colour = self._colour(finish, girth)
        self.u, self.v, self.height = place(tree)

    def _colour(self, finish: Finish, girth: float) -> NodeSocket:
        ground = self.flat(linear(finish.colour))
        if finish.pattern is None:
            return ground
        where = second_colour(self.tree, finish.pattern, girth)
        return self.mixed(ground, self.flat(linear(finish.pattern.colour)), where.socket)

    def flat(self, colour: Colour) -> NodeSocket:
        node = self.tree.nodes.new("ShaderNodeRGB")
        node.outputs[0].default_value = colour
        return node.outputs[0]

    def mixed(self, first: NodeSocket, second: NodeSocket, share: NodeSocket) -> NodeSocket:
        """Returns the first colour where share is 0, the second where it is 1."""
        node = self.tree.nodes.new("ShaderNodeMix")
        node.data_type = "RGBA"
        for place_, socket in (("Factor", share), ("A", first), ("B", second)):
            kind = "VALUE" if place_ == "Factor" else "RGBA"
            target = next(i for i in node.inputs if i.name == place_ and i.type == kind)
            self.tree.links.new(socket, target)
        return next(o for o in node.outputs if o.type == "RGBA")

    def shade(self, share: Expression, strength: float) -> None:
        """Makes the colour darker by `strength` where share is 1."""
        dark = self.tree.nodes.new("ShaderNodeHueSaturation")
        dark.inputs["Value"].default_value = 1 - strength
        self.tree.links.new(self.colour, dark.inputs["Color"])
        self.colour = self.mixed(self.colour, dark.outputs[0], share.socket)

    def noise(
        self, scale: float, *, stretch: tuple[float, float, float] = (1, 1, 1), detail: float = 4
    ) -> Expression:
        """Returns cloudy noise from 0 to 1; `scale` is in clouds a metre."""
        coordinates = self.tree.nodes.new("ShaderNodeTexCoord")
        mapping = self.tree.nodes.new("ShaderNodeMapping")
        mapping.inputs["Scale"].default_value = stretch
        node = self.tree.nodes.new("ShaderNodeTexNoise")
        node.inputs["Scale"].default_value = scale
        node.inputs["Detail"].default_value = detail
        self.tree.links.new(coordinates.outputs["Object"], mapping.inputs[0])
        self.tree.links.new(mapping.outputs[0], node.inputs["Vector"])
        return Expression(self.tree, node.outputs[0])

    def flow(self, scale: float, length: float) -> Expression:
        """Returns noise from 0 to 1 that is drawn out along v, `length` times as long as wide."""
        node = self.tree.nodes.new("ShaderNodeTexNoise")
        node.inputs["Scale"].default_value = scale
        node.inputs["Detail"].default_value = 5
        spot = self.tree.nodes.new("ShaderNodeCombineXYZ")
        self.tree.links.new((self.u * length).socket, spot.inputs[0])
        self.tree.links.new(self.v.socket, spot.inputs[1])
        self.tree.links.new(spot.outputs[0], node.inputs["Vector"])
        return Expression(self.tree, node.outputs[0])

    def specks(self, scale: float, size: float) -> Expression:
        """Returns 1 in scattered grains, `scale` of them a metre, else 0."""
        coordinates = self.tree.nodes.new("ShaderNodeTexCoord")
        node = self.tree.nodes.new("ShaderNodeTexVoronoi")
        node.inputs["Scale"].default_value = scale
        self.tree.links.new(coordinates.outputs["Object"], node.inputs["Vector"])
        return Expression(self.tree, node.outputs["Distance"]) < size

    def bump(self, height: Expression, metres: float) -> None:
        """Lets light see a relief; height goes from 0 to 1."""
        node = self.tree.nodes.new("ShaderNodeBump")
        node.inputs["Distance"].default_value = metres
        self.tree.links.new(height.socket, node.inputs["Height"])
        self.tree.links.new(node.outputs[0], self.shader.inputs["Normal"])

    def set(self, **values: float) -> None:
        """Sets inputs of the shader: coat_weight=1 is "Coat Weight"."""
        for name, value in values.items():
            self.shader.inputs[
                name.replace("_", " ").title().replace("Ior", "IOR")
            ].default_value = value


def material(finish: Finish, girth: float = 0.0) -> Material:
    """Returns the finish as a material; `girth` as for `patterns.second_colour`."""
    made = bpy.data.materials.new(finish.material)
    made.use_nodes = True
    tree = made.node_tree
    surface = Surface(tree, tree.nodes["Principled BSDF"], finish, girth)
    MATERIALS[finish.material](surface)
    tree.links.new(surface.colour, surface.shader.inputs["Base Color"])
    return made


def _seamless(surface: Surface) -> None:
    """The studio's paper."""
    surface.set(roughness=1.0, specular_ior_level=0.0)


def _glazed(surface: Surface) -> None:
    surface.set(roughness=0.18, coat_weight=0.6, coat_roughness=0.08)
    surface.shade(surface.noise(14), 0.12)
    surface.bump(surface.noise(25, detail=1), 0.0015)


def _matt(surface: Surface) -> None:
    surface.set(roughness=0.75)
    surface.shade(surface.noise(30), 0.1)
    surface.bump(surface.noise(300), 0.0006)


def _speckled(surface: Surface) -> None:
    surface.set(roughness=0.4, coat_weight=0.25)
    surface.shade(surface.specks(170, 0.2), 0.65)
    surface.shade(surface.specks(420, 0.16), 0.4)


def _reactive(surface: Surface) -> None:
    """A glaze that ran: dark where it is thin."""
    surface.set(roughness=0.15, coat_weight=0.8)
    surface.shade(surface.noise(22, stretch=(1, 1, 0.25)), 0.75)


def _porcelain(surface: Surface) -> None:
    surface.set(roughness=0.12, coat_weight=1.0, coat_roughness=0.03, subsurface_weight=0.08)


def _clay(surface: Surface) -> None:
    surface.set(roughness=0.95)
    surface.shade(surface.noise(18), 0.22)
    surface.bump(surface.noise(420), 0.001)


def _wood(surface: Surface) -> None:
    surface.set(roughness=0.5, coat_weight=0.1)
    grain = surface.flow(6, 22)
    surface.shade(grain, 0.55)
    surface.shade(abs((surface.flow(2.5, 8) * 14).sine()), 0.3)
    surface.bump(grain, 0.0008)


def _lacquer(surface: Surface) -> None:
    surface.set(roughness=0.35, coat_weight=0.4, coat_roughness=0.15)


def _metal(surface: Surface) -> None:
    surface.set(metallic=1.0, roughness=0.24)


def _brushed(surface: Surface) -> None:
    surface.set(metallic=1.0, roughness=0.38)
    surface.bump(surface.noise(60, stretch=(1, 1, 25), detail=2), 0.0008)


def _glass(surface: Surface) -> None:
    surface.set(transmission_weight=1.0, roughness=0.03, ior=1.45)


def _linen(surface: Surface) -> None:
    surface.set(roughness=0.95, sheen_weight=0.25)
    surface.shade(surface.noise(90, stretch=(6, 1, 1), detail=2), 0.25)
    surface.shade(surface.noise(90, stretch=(1, 1, 6), detail=2), 0.25)
    surface.bump(_weave(surface, 0.0032), 0.0006)


def _canvas(surface: Surface) -> None:
    surface.set(roughness=0.9, sheen_weight=0.15)
    surface.bump(_weave(surface, 0.006), 0.001)
    surface.shade(surface.noise(35), 0.12)


def _wool(surface: Surface) -> None:
    surface.set(roughness=1.0, sheen_weight=0.6, sheen_roughness=0.5)
    surface.bump(surface.noise(240, detail=5), 0.004)
    surface.shade(surface.noise(120), 0.3)


def _velvet(surface: Surface) -> None:
    surface.set(roughness=0.8, sheen_weight=1.0, sheen_roughness=0.3)
    surface.shade(surface.noise(9), 0.35)


def _flatweave(surface: Surface) -> None:
    surface.set(roughness=1.0, sheen_weight=0.2)
    surface.bump(_weave(surface, 0.014), 0.004)
    surface.shade(surface.noise(160), 0.3)


def _knit(surface: Surface) -> None:
    surface.set(roughness=1.0, sheen_weight=0.5)
    u, v = surface.u / 0.016, surface.v / 0.013
    stitch = abs((v + abs(u.fraction() - 0.5)).fraction() - 0.5) * 2
    surface.shade(1 - stitch, 0.45)
    surface.bump(stitch, 0.006)


def _wicker(surface: Surface) -> None:
    surface.set(roughness=0.7)
    weave = _weave(surface, 0.028)
    surface.shade(1 - weave, 0.65)
    surface.shade(surface.noise(60), 0.3)
    surface.bump(weave, 0.012)


def _coiled(surface: Surface) -> None:
    """Seagrass or rope in rounds, one on the other."""
    surface.set(roughness=0.85)
    coil = abs((surface.v / 0.018 * math.pi).sine())
    twist = abs(((surface.u / 0.02 + surface.v / 0.04) * math.pi).sine())
    surface.shade(1 - coil, 0.6)
    surface.shade(twist, 0.25)
    surface.bump(coil, 0.01)


def _leather(surface: Surface) -> None:
    surface.set(roughness=0.45, coat_weight=0.15)
    surface.shade(surface.noise(12), 0.25)
    surface.bump(surface.noise(260, detail=2), 0.001)


def _wax(surface: Surface) -> None:
    surface.set(roughness=0.45, subsurface_weight=0.35)
    surface.shader.inputs["Subsurface Radius"].default_value = (0.02, 0.012, 0.008)


def _marble(surface: Surface) -> None:
    surface.set(roughness=0.15, coat_weight=0.5)
    vein = abs(surface.noise(5, detail=8) - 0.5) * 14
    surface.shade((1 - vein).largest(0.0), 0.55)
    surface.shade(surface.noise(3), 0.12)


def _terrazzo(surface: Surface) -> None:
    surface.set(roughness=0.3, coat_weight=0.3)
    surface.shade(surface.specks(45, 0.33), 0.55)
    surface.shade(surface.specks(75, 0.25), 0.3)


def _paper(surface: Surface) -> None:
    """Of lampshades: lit from within."""
    surface.set(roughness=0.95, transmission_weight=0.0, emission_strength=0.22)
    surface.tree.links.new(surface.colour, surface.shader.inputs["Emission Color"])
    surface.bump(_weave(surface, 0.004), 0.0005)


def _cork(surface: Surface) -> None:
    surface.set(roughness=0.95)
    surface.shade(surface.noise(130, detail=3), 0.7)


def _weave(surface: Surface, spacing: float) -> Expression:
    """Returns the height of plainly woven threads, from 0 to 1."""
    u, v = surface.u / spacing, surface.v / spacing
    warp, weft = abs((u * math.pi).sine()), abs((v * math.pi).sine())
    over = (u.floor() + v.floor()).modulo(2.0)
    return warp * over + weft * (1 - over)


MATERIALS: dict[str, Callable[[Surface], None]] = {
    "seamless": _seamless,
    "glazed": _glazed,
    "matt": _matt,
    "speckled": _speckled,
    "reactive": _reactive,
    "porcelain": _porcelain,
    "clay": _clay,
    "wood": _wood,
    "lacquer": _lacquer,
    "metal": _metal,
    "brushed": _brushed,
    "glass": _glass,
    "linen": _linen,
    "canvas": _canvas,
    "wool": _wool,
    "velvet": _velvet,
    "flatweave": _flatweave,
    "knit": _knit,
    "wicker": _wicker,
    "coiled": _coiled,
    "leather": _leather,
    "wax": _wax,
    "marble": _marble,
    "terrazzo": _terrazzo,
    "paper": _paper,
    "cork": _cork,
}
