"""`heliostat chat`: talk with a model by its chat template. `/reset` forgets, `/exit` or the end of input leaves."""

from __future__ import annotations

import argparse
import sys

from heliostat.cli.model_options import (
    add_model_arguments,
    add_sampling_arguments,
    open_model,
    print_profile,
    sampling,
)
from heliostat.cli.report import UsageError
from heliostat.diagnostics import ContextLengthError
from heliostat.llm.template import chat_template
from heliostat.settings import settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--system", metavar="TEXT", help="a system message")
    parser.add_argument("--template", metavar="NAME", help='overrule the file\'s template; "chatml" is built in')
    add_sampling_arguments(parser, 0.7)


def run(args: argparse.Namespace) -> int:
    """Reads a line per turn from standard input; only answers go to standard output."""
    model = open_model(args)
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise UsageError("this model has no tokenizer, so it cannot chat", help="heliostat run --prompt-tokens works")
    template = chat_template(tokenizer.chat_template, args.template)
    opening = [{"role": "system", "content": args.system}] if args.system else []
    messages = list(opening)
    interactive = sys.stdin.isatty()
    while True:
        if interactive:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line or line.strip() in ("/exit", "/quit"):
            if settings().profile and messages != opening:
                print_profile(model)
            return 0
        if not line.strip():
            continue
        if line.strip() == "/reset":
            messages = list(opening)
            continue
        messages.append({"role": "user", "content": line.rstrip("\n")})
        ids = tokenizer.encode(template.render(messages, add_generation_prompt=True), add_special=True)
        answer = ""
        try:
            for piece in model.generate(ids, **sampling(args)):
                answer += piece.text
                print(piece.text, end="", flush=True)
        except ContextLengthError as error:
            print(f"error: {error.message} (/reset starts anew)", file=sys.stderr)
            messages.pop()
            continue
        except KeyboardInterrupt:
            if not interactive:
                raise
        print(flush=True)
        messages.append({"role": "assistant", "content": answer})
