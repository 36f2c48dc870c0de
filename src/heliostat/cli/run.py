"""`heliostat run`: continue a prompt and stream the text."""

from __future__ import annotations

import argparse
import json
import sys

from heliostat.cli.model_options import add_model_arguments, add_sampling_arguments, open_model, print_profile, sampling
from heliostat.cli.report import UsageError
from heliostat.settings import settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("-p", "--prompt", metavar="TEXT", help="the text to continue; - reads standard input")
    prompt.add_argument("--prompt-tokens", metavar="1,2,3", help="the prompt as token ids")
    add_sampling_arguments(parser, 0.0)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end instead of the text")


def run(args: argparse.Namespace) -> int:
    """The prompt is echoed before its continuation; speeds go to standard error."""
    if args.max_tokens is not None and args.max_tokens < 0:
        raise UsageError(f"-n must not be negative, got {args.max_tokens}")
    ids = None if args.prompt_tokens is None else _ids(args.prompt_tokens)
    text = sys.stdin.read() if args.prompt == "-" else args.prompt
    model = open_model(args)
    prompt = ids if ids is not None else model.encode(text)
    pieces = model.generate(prompt, **sampling(args))
    if not args.json and ids is None:
        print(text, end="", flush=True)
    tokens: list[int] = []
    parts: list[str] = []
    for piece in pieces:
        tokens.append(piece.token)
        parts.append(piece.text)
        if not args.json:
            print(piece.text, end="", flush=True)
    timing = model.timing
    if args.json:
        row = {
            "tokens": tokens,
            "text": "".join(parts),
            "prompt_tok_s": round(timing.prompt_rate, 2),
            "gen_tok_s": round(timing.generation_rate, 2),
        }
        print(json.dumps(row, ensure_ascii=False))
    else:
        print(flush=True)
        print(
            f"[prompt {timing.prompt_tokens} tokens, {timing.prompt_rate:.0f} tok/s; "
            f"generated {len(tokens)} tokens, {timing.generation_rate:.1f} tok/s]",
            file=sys.stderr,
        )
    if settings().profile:
        print_profile(model)
    return 0


def _ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(" ", "").split(",") if part]
    except ValueError:
        raise UsageError(f"--prompt-tokens takes numbers with commas, got {text!r}") from None
