"""The commands on `.lum` files: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from heliostat.cli import main as cli
from heliostat.cli.main import COMMANDS, main
from heliostat.ir.types import f32, tensor
from heliostat.lang.check import check
from heliostat.lang.source import Source

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MATMUL = EXAMPLES / "matmul.lum"

Captured = pytest.CaptureFixture[str]


def command(*words: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}
    return subprocess.run(
        [sys.executable, "-m", "heliostat.cli.main", *words], input=stdin, capture_output=True, env=env, timeout=60
    )


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.lum"
    path.write_text(MATMUL.read_text(encoding="utf-8").replace("[128, 32]", "[127, 32]"), encoding="utf-8")
    return path


# -- check


def test_check_says_ok(capsys: Captured) -> None:
    assert main(["check", str(MATMUL)]) == 0
    assert capsys.readouterr().out == f"ok: {MATMUL} type-checked\n"


def test_check_shows_the_error(wrong: Path, capsys: Captured) -> None:
    assert main(["check", str(MATMUL), str(wrong)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"ok: {MATMUL} type-checked\n{wrong}:6:12: error: ")
    assert "  return a @ b;\n" in out
    assert "| " + " " * 9 + "~ ^ ~ tensor<f32, [127, 32]>" in out
    assert "tensor<f32, [64, 128]>" in out
    assert "b is declared [127, 32] at 5:38; its first dimension must be 128" in out


def test_check_reads_standard_input_and_prints_json(wrong: Path) -> None:
    done = command("check", "--json", "-", stdin=wrong.read_bytes())
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)
    assert (finding["at"]["path"], finding["at"]["line"], finding["severity"]) == ("<stdin>", 6, "error")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fn f\xff", "line 1, byte 5: 0xff is not valid UTF-8"),
        (b"a" * (2 << 20), "a source may have at most 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_source_is_bad_input(tmp_path: Path, capsys: Captured, content: bytes, message: str) -> None:
    path = tmp_path / "bad.lum"
    path.write_bytes(content)
    assert main(["check", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {path}: {message}")
    assert captured.out == ""


def test_a_missing_file_does_not_stop_the_others(capsys: Captured) -> None:
    assert main(["check", "nowhere.lum", str(MATMUL)]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: nowhere.lum: No such file or directory\n"
    assert captured.out == f"ok: {MATMUL} type-checked\n"


def test_a_directory_is_bad_input(tmp_path: Path, capsys: Captured) -> None:
    assert main(["parse", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}: Is a directory\n"


def test_zero_bytes_are_an_error_in_the_source(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "zero.lum"
    path.write_bytes(b"fn f() -> \0")
    assert main(["check", str(path)]) == 1
    assert "unexpected character U+0000" in capsys.readouterr().out


# -- parse


def test_parse_prints_the_tree(capsys: Captured) -> None:
    assert main(["parse", str(MATMUL)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "File  @1:1"
    assert "      Binary @  @6:10" in rows


def test_parse_prints_json_and_source(capsys: Captured) -> None:
    assert main(["parse", "--json", str(MATMUL)]) == 0
    assert json.loads(capsys.readouterr().out)["declarations"][0]["name"] == "matmul"
    assert main(["parse", "--source", str(MATMUL)]) == 0
    assert capsys.readouterr().out.startswith("fn matmul(a: tensor<f32, [64, 128]>")


def test_parse_reports_syntax_errors_on_standard_error(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "f.lum"
    path.write_text("fn f( -> {}", encoding="utf-8")
    assert main(["parse", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"{path}:1:7: error: expected a parameter's name, found `->`")


# -- compile


def test_compile_prints_the_graph(capsys: Captured) -> None:
    assert main(["compile", str(MATMUL)]) == 0
    out = capsys.readouterr().out
    assert "matmul" in out
    assert "tensor<f32, [64, 32]>" in out


@pytest.mark.parametrize(
    ("stage", "target", "word"),
    [
        ("kernel", "host", "kernel "),
        ("llvm", "x86-64", 'target triple = "x86_64'),
        ("llvm", "aarch64", 'target triple = "aarch64'),
        ("asm", "x86-64", ".globl"),
        ("asm", "aarch64", "fmla"),
        ("llvm", "cuda", "define ptx_kernel void @simt_matmul"),
        ("asm", "cuda", ".visible .entry simt_matmul"),
    ],
)
def test_compile_prints_every_stage(stage: str, target: str, word: str, capsys: Captured) -> None:
    assert main(["compile", str(MATMUL), "--emit", stage, "--target", target]) == 0
    assert word in capsys.readouterr().out


def test_compile_explains(tmp_path: Path, capsys: Captured) -> None:
    assert main(["compile", str(EXAMPLES / "mlp.lum"), "-o", str(tmp_path / "graph"), "--explain"]) == 0
    assert "linear + silu" in capsys.readouterr().out


def test_compile_writes_a_file(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "graph.txt"
    assert main(["compile", str(MATMUL), "--emit", "graph", "-o", str(path)]) == 0
    assert capsys.readouterr().out == ""
    assert "matmul" in path.read_text(encoding="utf-8")


def test_compile_picks_a_function(capsys: Captured) -> None:
    path = str(EXAMPLES / "attention.lum")
    assert main(["compile", path, "--fn", "scores"]) == 0
    assert "attend" not in capsys.readouterr().out
    assert main(["compile", path, "--fn", "score"]) == 2
    assert capsys.readouterr().err == f"error: {path} has no function `score`\n  help: did you mean `scores`?\n"


def test_compile_of_a_wrong_program_prints_its_errors(wrong: Path, capsys: Captured) -> None:
    assert main(["compile", str(wrong)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("error:") == 1


# -- exec


def test_exec_needs_input(capsys: Captured) -> None:
    assert main(["exec", str(MATMUL)]) == 2
    assert capsys.readouterr().err == "error: there is no input\n  help: --random makes one up\n"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("N=3", "`project` has no shape parameter `N`"),
        ("M=x", "expected an integer behind `M=`"),
        ("M", "expected an integer behind `M=`"),
        ("M=65", "`M` is 1 to 64"),
        ("M=0", "`M` is 1 to 64"),
    ],
)
def test_exec_checks_shape_parameters(setting: str, message: str, capsys: Captured) -> None:
    assert main(["exec", str(EXAMPLES / "custom_format.lum"), "--random", "--set", setting]) == 2
    assert f"error: --set {setting}: {message}" in capsys.readouterr().err


def test_exec_runs_and_compares(capsys: Captured) -> None:
    assert main(["exec", str(MATMUL), "--random", "--repeat", "2"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "matmul -> tensor<f32, [64, 32]>"
    assert [row.split()[0] for row in rows[1:]] == ["time", "rate", "difference"]


def test_exec_of_a_format_of_ones_own(capsys: Captured) -> None:
    words = ["exec", str(EXAMPLES / "custom_format.lum"), "--fn", "project", "--random", "--set", "M=17", "--json"]
    assert main([*words, "--repeat", "1", "--threads", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["symbols"] == {"M": 17}
    assert report["flop"] == 2 * 17 * 512 * 256
    assert 0 < report["rel_diff"] < 0.02  # int8 activations: 1 / 254 of a row's largest element, on average less
    assert report["seconds"] >= report["best_s"] > 0


def test_random_input_is_repeatable_and_of_the_declared_types() -> None:
    from heliostat.cli.exec import random_inputs

    text = "fn f<M <= 8>(a: tensor<bf16, [M, 2]>, b: tensor<i8, [3]>, c: tensor<bool, []>, d: tensor<q8_0, [M, 64]>, "
    graph = check(Source(text + "e: tensor<f16, [0, M]>) -> tensor<i8, [3]> { return b; }")).functions["f"]
    first, second = (random_inputs(graph, {"M": 5}, seed=3) for _ in range(2))
    assert {n: (str(a.dtype), a.shape) for n, a in first.items()} == {
        "a": ("uint16", (5, 2)),
        "b": ("int8", (3,)),
        "c": ("bool", ()),
        "d": ("uint8", (5, 68)),
        "e": ("float16", (0, 5)),
    }
    assert all(np.array_equal(first[n], second[n]) for n in first)


def test_too_much_input_is_refused(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "f.lum"
    path.write_text("fn f(x: tensor<f32, [1000000, 1000000]>) -> tensor<f32, []> { return sum(x); }", encoding="utf-8")
    assert main(["exec", str(path), "--random"]) == 2
    assert capsys.readouterr().err.startswith("error: the input needs 4000.0 GB")


def test_difference_counts_equal_infinities_as_equal() -> None:
    from heliostat.cli.exec import difference

    a, b = np.array([1.0, np.inf, np.nan, 4.0]), np.array([1.0, np.inf, np.nan, 3.0])
    assert difference([a], [b], [tensor(f32, 4)]) == {"max_abs_diff": 1.0, "rel_diff": pytest.approx(10**-0.5)}
    assert difference([a], [b * -1], [tensor(f32, 4)])["max_abs_diff"] == np.inf


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("x @ transpose(w)", 2 * 5 * 64 * 32),
        ("x + x * 2.0", 2 * 5 * 64),
        ("sum(x)", 5 * 64),
        ("reshape(cast(x, f16), [64, M])", 0),
        ("softmax(x)", 3 * 5 * 64 + 2 * 5 * 64 + 5),  # one reciprocal a row
    ],
)
def test_operations_are_counted(body: str, count: int) -> None:
    from heliostat.compiler.flops import flops

    text = f"fn f<M <= 8>(x: tensor<f32, [M, 64]>, w: tensor<f32, [32, 64]>) -> tensor<i8, []> {{ let y = {body}; "
    for shape in ("f32, [M, 32]", "f32, [M, 64]", "f32, []", "f16, [64, M]"):
        module = check(Source(text.replace("i8, []", shape) + "return y; }"))
        if not module.findings:
            assert flops(module.functions["f"], {"M": 5}) == count
            return
    raise AssertionError("no type fits")


# -- the frame around the commands


def test_help_and_version_answer_at_once() -> None:
    command("--help")  # compiled files exist from now on
    for words in (["--help"], ["--version"]):
        begin = time.perf_counter()
        done = command(*words)
        assert done.returncode == 0
        assert time.perf_counter() - begin < 5  # the interpreter's own start varies; what is imported is tested below


def test_help_imports_no_command() -> None:
    program = "import sys; from heliostat.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=env, text=True, timeout=60)
    modules = done.stdout.splitlines()[-1]
    for heavy in ("numpy", "llvmlite", "heliostat.ops", "heliostat.lang.check", "hypothesis"):
        assert f"'{heavy}'" not in modules
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    "words", [[], ["chek"], ["check"], ["check", "--what", "f.lum"], ["compile", "f", "--emit", "x"]]
)
def test_bad_usage(words: list[str], capsys: Captured) -> None:
    assert main(words) == 2
    assert "usage: heliostat" in capsys.readouterr().err


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def run(args: object) -> int:
        raise error

    monkeypatch.setattr("heliostat.cli.parse.run", run)
    return main(["parse", "f.lum"])


def test_an_unexpected_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert failing(monkeypatch, RuntimeError("a\nb")) == 70
    expected = "internal error: RuntimeError: a b (set HELIOSTAT_DEBUG=1 for the traceback)\n"
    assert capsys.readouterr().err == expected


def test_the_traceback_is_shown_on_demand(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(cli, "_debug", lambda: True)
    assert failing(monkeypatch, RuntimeError("oops")) == 70
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("internal error: RuntimeError: oops\n")


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert failing(monkeypatch, KeyboardInterrupt()) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of a shell")
def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    path = tmp_path / "large.lum"
    path.write_text("fn f(x: tensor<f32, [4]>) -> tensor<f32, [4]> { return " + "x; } fn g(" * 3000, encoding="utf-8")
    text = f"{sys.executable} -m heliostat.cli.main parse {MATMUL} | true; echo ${{PIPESTATUS[0]}}"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(["bash", "-c", text], capture_output=True, env=env, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")


def test_no_color_without_a_terminal(wrong: Path) -> None:
    assert b"\x1b" not in command("check", str(wrong)).stdout


class Terminal:
    def isatty(self) -> bool:
        return True


def test_color_only_on_a_terminal_and_never_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    from heliostat.cli.report import color

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert color(Terminal())
    assert not color(object())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not color(Terminal())


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.lum")), ids=lambda p: p.stem)
def test_c_of_all_functions_is_one_module(path: Path, tmp_path: Path) -> None:
    """Functions of a file share kernels and helpers: nothing is defined twice."""
    source = tmp_path / "module.c"
    assert main(["compile", str(path), "--emit", "c", "--target", "x86-64", "-o", str(source)]) == 0
    command = ["cc", "-std=c11", "-w", "-O0", "-c", str(source), "-o", str(tmp_path / "module.o")]
    subprocess.run(command, check=True)
