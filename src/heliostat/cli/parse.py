"""`heliostat parse`: the syntax tree of a `.lum` file, as an outline or as JSON."""

from __future__ import annotations

import argparse
import json
import sys

from heliostat.cli.report import open_source, print_findings
from heliostat.lang.parse import parse
from heliostat.lang.text import outline, source_text, to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="F.lum", help="the source; `-` reads standard input")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--source", action="store_true", help="print `.lum` source again, in its normal form")


def run(args: argparse.Namespace) -> int:
    source = open_source(args.file)
    tree, findings = parse(source)
    if findings:
        print_findings(findings, source, sys.stderr)
        return 1
    if args.json:
        print(json.dumps(to_json(tree, source), indent=1, ensure_ascii=False))
    elif args.source:
        print(source_text(tree), end="")
    else:
        print(outline(tree, source))
    return 0
