"""The `.lum` language: source text to graphs. `check.check(source)` is the way in; `docs/language.md` is the reference.

`source` `lex` `parse` `ast` `text` know only the text; `types` `formats` `calls` `unify` `lower` give it meaning.
"""
