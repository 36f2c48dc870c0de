"""`heliostat check`: every error of `.lum` files."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from heliostat.cli.report import open_source, print_error, print_findings
from heliostat.diagnostics import Diagnostic, HeliostatError
from heliostat.lang.check import check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="F.lum", nargs="+", help="sources; `-` reads standard input")
    parser.add_argument("--json", action="store_true", help="print all findings as one JSON list")


def run(args: argparse.Namespace) -> int:
    """Findings go to standard output, as they are what was asked for; unreadable files are errors."""
    code = 0
    found: list[Diagnostic] = []
    for path in args.files:
        try:
            source = open_source(path)
        except (HeliostatError, OSError) as error:
            print_error(error)
            code = 2
            continue
        module = check(source)
        found += module.findings
        if module.findings:
            code = max(code, 1)
        if args.json:
            continue
        if module.findings:
            print_findings(module.findings, source, sys.stdout)
        else:
            print(f"ok: {source.path} type-checked")
    if args.json:
        print(json.dumps([asdict(f) for f in found], ensure_ascii=False))
    return code
