"""The graph IR: types, graphs, rewriting, verification and text. It knows no op."""
