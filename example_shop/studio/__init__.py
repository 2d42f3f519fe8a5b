"""The studio that rendered the pictures of Cardigan Home: a tool for those who change the range.

Needs Blender's Python package, which neither the shop nor the demo does:

    pip install bpy==5.0.1
    python -m example_shop.studio
"""
