"""Processes of ours, files that appear whole, and the disk that they lie on.

    parent: spawn.py ─► child.py ──── letters, framed (frames.py) ────► parent.py :child
                                 ◄──────────────────────────────────

A child is a session of its own, so that Ctrl-C is its parent's business and it ends with all that it started; it has
none of its parent's secrets in its environment; what libraries print there gets between no letters; and it does not
outlive its parent. What is said is each child's own business: Structs, which both sides know.
"""
