"""Scorers of one's own: each gives its numbers, is asked once, and costs what it fails on and nothing else."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqtutor.domain import Domain, Rule, UsageError
from seqtutor.objective import Objective
from seqtutor.rewards import Rewarder
from seqtutor.scorers.cached import Cached
from seqtutor.scoring import score_table

FUNCTIONS = '''
import numpy
from pathlib import Path

def length(texts):
    with open(Path(__file__).with_suffix(".log"), "a") as log:
        log.write(" ".join(texts) + "\\n")
    return numpy.array([len(text) for text in texts], dtype=numpy.float32)

def odd(texts):
    return [{"W": "1", "Y": float("inf"), "C": None}.get(text, 2.0) for text in texts]

def few(texts):
    return [1.0] * (len(texts) // 2)

def cross(texts):
    if "W" in texts:
        raise ValueError("no W")
    return [1.0] * len(texts)
'''

# Answers with the length; with some texts it misbehaves as real programs do.
PROGRAM = '''
import json, os, sys, time
print("Loading, please wait", flush=True)
for line in sys.stdin:
    task = json.loads(line)
    text = task["text"]
    with open(sys.argv[1], "a") as log:
        log.write(text + "\\n")
    answer = {"id": task["id"], "score": len(text)}
    if text == "W":
        os._exit(3)
    if text == "Y":
        time.sleep(60)
    if text == "C":
        answer["score"] = float("inf")
    if text == "D":
        answer["score"] = "high"
    if text == "E":
        print("3.5")
        print(json.dumps({"id": task["id"] - 1, "score": 99}))
        print(json.dumps({"score": 98}))
    if text == "F":
        print(json.dumps(answer))
    print(json.dumps(answer), flush=True)
'''

DOCK = '''
import sys, time
text = sys.argv[1]
print("docking", text)
if text == "W": sys.exit(4)
if text == "Y": time.sleep(60)
if text == "C": print("no pose")
elif text == "D": print("inf")
else: print("affinity:", -len(text), "kcal/mol"); print(len(text))
'''


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQTUTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command line of the program above."""
    (tmp_path / "dock.py").write_text(PROGRAM)
    return [sys.executable, str(tmp_path / "dock.py"), str(tmp_path / "program.log")]


def named(kind: str, what: Any, **settings: Any) -> str:
    return f"{kind}({json.dumps({kind: what, **settings})})"


def values(rule: Rule, texts: list[str]) -> list[float]:
    return [float(x) for x in rule(texts)]


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(np.asarray(a, float), np.asarray(b, float), equal_nan=True))


# -- functions --------------------------------------------------------------------------------------------------------

def test_a_function(peptides: Domain, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    rule = peptides.rule("score(mine.py:length)")
    assert values(rule, ["A", "AC", "A", "ACD"]) == [1, 2, 1, 3]
    assert values(peptides.rule("score(mine.py:length)"), ["AC", "ACDE"]) == [2, 4]  # another run, the same cache
    assert (tmp_path / "mine.log").read_text().splitlines() == ["A AC ACD", "ACDE"]
    assert values(peptides.rule(named("score", "mine.py:length", batch=2, cache=False)), ["A", "C", "D"]) == [1, 1, 1]
    assert (tmp_path / "mine.log").read_text().splitlines()[2:] == ["A C", "D"]
    (tmp_path / "mine.py").write_text(FUNCTIONS.replace("len(text) for", "-len(text) for"))
    assert values(peptides.rule("score(mine.py:length)"), ["A"]) == [-1]  # another file, another scorer


def test_what_a_function_may_do_wrong(peptides: Domain, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    for name, bad in (("odd", "WYC"), ("few", "AWYC"), ("cross", "W")):
        rewarder = Rewarder(peptides, Objective.parse(f"score(mine.py:{name}),charge:1e-9", peptides))
        found = rewarder([["A"], ["W"], ["Y"], ["C"], ["W", "X"]])
        assert [text for text, nan in zip("AWYC", np.isnan(found.end), strict=False) if nan] == list(bad)
        assert found.end[4] == 0
        assert rewarder.warnings


@pytest.mark.parametrize(("argument", "message"), [
    ("gone.py:f", "there is no file gone.py"), ("mine.py", "score must be like my_scores.py:potency, not 'mine.py'"),
    ("mine.py:lenght", "unknown function in mine.py 'lenght'; did you mean 'length'"),
    ("bad.py:f", "the scorer's file bad.py does not load: NameError: name 'x' is not defined"),
    ('{"score": "mine.py:length", "tiemout": 3}', "unknown setting of a scorer 'tiemout'; did you mean 'timeout'"),
    ('{"score": "mine.py:length", "timeout": 0}', "timeout of a scorer must be a number of 0.001 or more, not 0"),
    ('{"score": "mine.py:length", "batch": 2.5}', "batch of a scorer must be a whole number of 1 or more, not 2.5"),
    ('{"score": "mine.py:length", "cache": 1}', "cache of a scorer must be true or false, not 1"),
    ('{"score": 3}', "score must be a text, not 3"), ('{"program": "x"}', "has no 'score'"), ("{", "not JSON"),
])
def test_bad_functions(peptides: Domain, tmp_path: Path, argument: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    (tmp_path / "bad.py").write_text("x")
    with pytest.raises(UsageError) as caught:
        peptides.rule(f"score({argument})")
    assert message in str(caught.value)


# -- programs ---------------------------------------------------------------------------------------------------------

def test_a_program(peptides: Domain, words: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rule = peptides.rule(named("program", words, timeout=20, retries=0))
    assert same(values(rule, ["A", "AC", "C", "D", "E", "F", "ACDF"]), [1, 2, math.nan, math.nan, 1, 1, 4])
    assert same(values(rule, ["A", "AAA"]), [1, 3])  # what was printed beside the answers shifted nothing
    assert (tmp_path / "program.log").read_text().split() == ["A", "AC", "C", "D", "E", "F", "ACDF", "AAA"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{sys.executable}: passed over b'Loading, please wait\\n', which is no answer (this is said once)"]


def test_a_program_that_dies(peptides: Domain, words: list[str], caplog: pytest.LogCaptureFixture) -> None:
    rule = peptides.rule(named("program", words, timeout=30, retries=1))
    assert same(values(rule, ["A", "W", "AC", "ACD"]), [1, math.nan, 2, 3])
    assert f"{sys.executable}: no score for 'W'; counted as nan" in caplog.messages
    assert f"{sys.executable}: ended; started again" in caplog.messages


def test_a_program_that_hangs(peptides: Domain, words: list[str], caplog: pytest.LogCaptureFixture) -> None:
    start = time.monotonic()
    rule = peptides.rule(named("program", words, timeout=3, retries=0))
    assert same(values(rule, ["A", "Y", "AC"]), [1, math.nan, 2])
    assert time.monotonic() - start < 40
    assert f"{sys.executable}: no answer for 3 s; started again" in caplog.messages


def test_a_program_that_only_talks(peptides: Domain, caplog: pytest.LogCaptureFixture) -> None:
    rule = peptides.rule(named("program", [sys.executable, "-c", "while True: print('busy')"], timeout=1, retries=0))
    assert same(values(rule, ["A"]), [math.nan])
    assert len(caplog.messages) == 3  # rubbish, said once; silence; no score


def test_big_batches_do_not_block(peptides: Domain) -> None:
    echo = "import sys, json\nfor line in sys.stdin:\n    d = json.loads(line)\n    d['score'] = len(d['text'])\n" \
        "    print(json.dumps(d), flush=True)"
    rule = peptides.rule(named("program", [sys.executable, "-c", echo], batch=1000))
    texts = ["A" * (1000 + i) for i in range(300)]  # far more than a pipe holds, both ways
    assert values(rule, texts) == [1000 + i for i in range(300)]


@pytest.mark.parametrize(("spec", "message"), [
    ('program(["no-such-program"])', "there is no program 'no-such-program' on this machine"),
    ("program(dock.sh)", "program 'dock.sh' must be a list of words"),
    ("program([])", "must be a list of texts, not []"),
    ("program([1])", "not [1]"), ('command(["python3"])', "has no word with {text}"),
    ('command({"command": ["python3", "{text}"], "pattern": "("})', "is no regular expression"),
    ('command({"command": ["python3", "{text}"], "pattern": "a"})', "has no group"),
    ("url(ftp://host/x)", "url must be an address like http://127.0.0.1:8000/score, not 'ftp://host/x'"),
])
def test_bad_scorers(peptides: Domain, spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        peptides.rule(spec)
    assert message in str(caught.value)


# -- commands ---------------------------------------------------------------------------------------------------------

def test_a_command(peptides: Domain, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "dock.py").write_text(DOCK)
    words = [sys.executable, str(tmp_path / "dock.py"), "{text}"]
    rule = peptides.rule(named("command", words, timeout=5, retries=0))
    assert same(values(rule, ["A", "W", "C", "D", "AC", "$(touch x); `y`"]), [1, math.nan, math.nan, math.nan, 2, 15])
    assert same(values(rule, ["Y"]), [math.nan])
    reasons = [message.split(": ", 1)[1] for message in caplog.messages]
    assert reasons == ["ended with status 4 on 'W'; counted as nan",
                       "printed 'no pose' where a number belongs on 'C'; counted as nan",
                       "printed 'inf' on 'D'; counted as nan", "took over 5 s on 'Y'; counted as nan"]
    assert not (tmp_path / "x").exists()
    pattern = peptides.rule(named("command", words, pattern=r"affinity: (\S+)"))
    assert values(pattern, ["A", "AC"]) == [-1, -2]


# -- services ---------------------------------------------------------------------------------------------------------

class Service(BaseHTTPRequestHandler):
    asked: list[list[str]] = []  # noqa: RUF012
    failures = 0

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["texts"]
        type(self).asked.append(texts)
        type(self).failures -= 1
        if "W" in texts or type(self).failures >= 0:
            self.send_error(500)
            return
        scores = [None if text == "C" else len(text) for text in texts][:len(texts) - ("Y" in texts)]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"scores": scores}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    Service.asked, Service.failures = [], 0
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/score"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_service(peptides: Domain, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    rule = peptides.rule(named("url", service, retries=0))
    assert Service.asked == []  # only when asked
    assert same(values(rule, ["A", "C", "AC"]), [1, math.nan, 2])
    assert same(values(rule, ["A", "W", "Y", "AAA"]), [1, math.nan, math.nan, 3])
    assert Service.asked[1:] == [["W", "Y", "AAA"], ["W"], ["Y"], ["AAA"]]
    Service.failures = 1
    assert values(peptides.rule(named("url", service, retries=1)), ["AAAA"]) == [4]


def test_a_service_that_is_not_there(peptides: Domain, monkeypatch: pytest.MonkeyPatch,
                                     caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    rule = peptides.rule(named("url", "http://127.0.0.1:9/", retries=0))
    assert same(values(rule, ["A", "C"]), [math.nan, math.nan])
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("http://127.0.0.1:9/: no scores for 2 texts (URLError")


# -- cache, objectives, commands of the line --------------------------------------------------------------------------

def test_the_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[list[str]] = []

    def score(texts: list[str]) -> list[float]:
        calls.append(list(texts))
        return [math.nan if text == "bad" else float(len(text)) for text in texts]

    texts = [f"text {i}" for i in range(1200)]
    one, other = Cached(score, "one"), Cached(score, "other")
    assert one(texts) == [float(len(text)) for text in texts]
    assert Cached(score, "one")(texts[::-1]) == [float(len(text)) for text in texts[::-1]]
    assert len(calls) == 1
    assert other(["text 1", "\ud800"]) == [6, 1]
    assert same(one(["bad", "text 1"]), [math.nan, 6])
    assert same(one(["bad"]), [math.nan])
    assert calls[2:] == [["bad"], ["bad"]]  # what failed is tried again
    one.close()
    other.close()
    (tmp_path / "cache" / "scores.sqlite").write_text("no database, " * 100)
    broken = Cached(score, "one")
    assert broken(["text 1"]) == [6]
    assert broken(["text 1"]) == [6]
    assert len(caplog.messages) == 1
    assert "scores are not kept" in caplog.messages[0]
    broken.close()


def test_in_an_objective_file(peptides: Domain, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    path = tmp_path / "objective.toml"
    path.write_text('[[terms]]\nscore = "mine.py:length"\ndirection = "maximise"\nlow = 0\nhigh = 10\n'
                    f'[[terms]]\nprogram = {json.dumps(words)}\ntimeout = 20\nweight = 3\n'
                    f'transform = {{type = "gaussian", mean = 2, sd = 1}}\n')
    objective = Objective.parse(path, peptides)
    assert [term.rule for term in objective.terms] == ["score(mine.py:length)", named("program", words, timeout=20)]
    assert Objective.from_dict(objective.to_dict(), peptides) == objective
    serial = Rewarder(peptides, objective)
    batch = [["A", "C"], ["D"] * 5, ["A", "X"]]
    found = serial(batch)
    assert found.end == pytest.approx([(0.2 + 3) / 4, (0.5 + 3 * math.exp(-4.5)) / 4, 0])
    other = Rewarder(peptides, objective, executor="processes:1", spec=sys.modules[type(peptides).__module__].__file__)
    try:
        assert same(other(batch).end, found.end)
    finally:
        other.close()
    path.write_text('[[terms]]\nscore = "mine.py:length"\nrule = "charge"\n')
    with pytest.raises(UsageError, match="names more than one rule"):
        Objective.parse(path, peptides)


def test_in_a_table(peptides: Domain, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    table = score_table(peptides, "", ["ACD", "X"], ["score(mine.py:length)"])
    assert table.columns["score(mine.py:length)"] == pytest.approx([3, math.nan], nan_ok=True)
